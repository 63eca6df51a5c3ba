"""What goes with maps: names, words and captions of examples, labels that are missing, sections that have nothing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import reports
from reports.document import Finding
from reports.pictures import image_png
from reports.reading import Run
from reports.sections.gallery import gallery
from reports.sections.verdict import findings
from reports.tables import Experiment
from reports.wording import Say
from tests.reports.make import describe

WORDS = [["what", "colour"], ["is", "it", "red"]]


def write(root: Path, seed: int = 0, alike: Sequence[tuple[str, float]] = (), **more: object) -> Path:
    """A run of two tasks and two examples, the first of which asks the first task alone."""
    experiment = {"name": "toy", "question": "?", "baseline": None, "reference": None}
    with reports.RunWriter(
        root / f"only--s{seed}", experiment=experiment, variant="only", seed=seed, tasks=[describe("a"), describe("b")],
        config={}, command=[], data={}, selection="none", tuning_budget="none",
    ) as run:  # fmt: skip
        run.log([{"step": 1, "epoch": 0, "split": "test", "task": "a", "metric": "accuracy", "value": 0.5}])
        run.save_examples(
            np.zeros((2, 3, 4, 4), dtype=np.uint8), {}, words=WORDS, names=["first", "<second>"]
        )
        for task in ("a", "b"):
            maps = np.ones((2, 4, 4))
            values = np.array([[0.5, -1.0, np.nan], [0.1, 0.0, 2.0]])
            if task == "b":
                maps[0], values[0] = np.nan, np.nan
            label = np.array([2, 0] if task == "a" else [-1, -1])
            run.save_attribution(
                "gradient", task, maps=maps, prediction=np.array([0, 1]), label=label, words=values
            )
        rows = [
            (0, "a", method, metric, "", "given", value + 0.01 * seed, False)
            for method, value in alike
            for metric in ("parameter_randomisation", "parameter_randomisation_absolute")
        ]
        columns = ["example", "task", "method", "metric", "region", "map", "value", "higher_is_better"]
        run.save_scores(pd.DataFrame(rows, columns=columns))
        run.finish({})
    return root / f"only--s{seed}"


def test_words_and_names_come_back(tmp_path: Path) -> None:
    run = reports.read_run(write(tmp_path))
    assert run.examples is not None
    assert run.examples.words == WORDS
    assert run.examples.names == ["first", "<second>"]
    a = next(run.attributions())
    assert a.captions == []
    assert a.words[1].tolist() == pytest.approx([0.1, 0.0, 2.0])
    assert not run.problems


def shown(run: Run) -> list[list[tuple[str, str, list[tuple[str, str, float]]]]]:
    cards = gallery(Experiment([run]), Say()).groups[0].cards
    return [
        [(p.title, p.caption, p.words) for strip in card.strips for p in strip.pictures] for card in cards
    ]


def test_words_are_shaded_on_one_scale_and_maps_of_nan_left_out(tmp_path: Path) -> None:
    first, second = shown(reports.read_run(write(tmp_path)))
    assert [title for title, _, _ in first] == ["a"]
    assert first[0][2] == [("what", "0.5", 0.5), ("colour", "-1", -1.0)]
    assert [title for title, _, _ in second] == ["a", "b"]
    assert [round(shade, 2) for _, _, shade in second[1][2]] == [0.05, 0.0, 1.0]


def test_a_missing_label_is_not_spoken_of(tmp_path: Path) -> None:
    first, second = shown(reports.read_run(write(tmp_path)))
    assert first[0][1] == "predicted class 0, label class 2"
    assert second[1][1] == "predicted class 1"


def test_the_page_names_examples_and_tells_what_it_leaves_out(tmp_path: Path) -> None:
    write(tmp_path)
    page = reports.build(tmp_path, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Example 1: &lt;second&gt;" in page
    assert '<section id="learning">' not in page
    assert 'href="#learning"' not in page
    assert "<li>Learning curves: no metric was logged" in page
    assert "Words have a scale of their own." in page


def test_texts_that_do_not_fit_are_refused_or_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path)
    file = folder / "attributions" / "examples.npz"
    arrays = dict(np.load(file))
    with file.open("wb") as stream:
        np.savez(stream, **{**arrays, "names": np.array(["one"]), "words": np.array([["one"]])})
    examples = reports.read_run(folder).examples
    assert examples is not None
    assert examples.names == []
    assert examples.words == []
    with (
        pytest.raises(ValueError, match="names must be 2, one for each example, got 1"),
        reports.RunWriter(
            tmp_path / "other", experiment={"name": "toy"}, variant="v", seed=0, tasks=[], config={}, command=[],
            data={}, selection="", tuning_budget="",
        ) as run,
    ):  # fmt: skip
        run.save_examples(np.zeros((2, 3, 4, 4)), {}, names=["one"])


def test_uint8_images_keep_their_colours() -> None:
    import base64
    import io

    from PIL import Image

    def drawn(values: np.ndarray) -> list[int]:
        data = base64.b64decode(image_png(values).partition(",")[2])
        return np.asarray(Image.open(io.BytesIO(data))).reshape(-1).tolist()

    assert drawn(np.array([[100, 150]], dtype=np.uint8)) == [100, 150]
    assert drawn(np.array([[100.0, 150.0]])) == [0, 255]


def learned(root: Path, **methods: float) -> Finding:
    for seed in range(3):
        write(root, seed, list(methods.items()))
    return next(f for f in findings(Experiment(reports.read_runs(root))) if "Random weights" in f.heading)


def test_random_weights_that_change_every_map(tmp_path: Path) -> None:
    found = learned(tmp_path, gradient=0.1, grad_cam=-0.2)
    assert found.heading == "Random weights change the maps of 2 of 2 methods"
    assert found.tone == "good"
    assert "gradient 0.11 [0.09, 0.13]" in found.text


def test_a_map_that_hardly_changes_is_told(tmp_path: Path) -> None:
    found = learned(tmp_path, gradient=0.1, deconvolution=0.9, lrp=0.6)
    assert found.heading == "Random weights change the maps of 1 of 3 methods"
    assert found.tone == "bad"
    assert (
        "deconvolution 0.91" in found.text.partition("hardly changed")[2].lower()
        or "Hardly changed" in found.text
    )
    assert "in doubt: lrp" in found.text.lower()
