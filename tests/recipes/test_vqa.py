"""The recipe of image and question: small, and (slow) as its defaults promise."""

import sys
from pathlib import Path

import numpy as np
import pytest

import mtl
import reports
from recipes.__main__ import main

pytest.importorskip("easy_vqa", reason="needs the vqa extra")
SMALL = [
    "--train",
    "60",
    "--steps",
    "4",
    "--batch-size",
    "16",
    "--image-size",
    "16",
    "--examples",
    "1",
    "--scored",
    "5",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "vqa"
    assert main(["vqa", "--out", str(out), "--seeds", "0", *SMALL]) == 0
    return out


def test_every_variant_is_explained_by_what_it_reads(finished: Path) -> None:
    runs = {run.variant: run for run in reports.read_runs(finished)}
    assert set(runs) == {"image_and_text", "image_only", "text_only", "majority"}
    for name, run in runs.items():
        assert not run.problems
        assert set(run.metrics[run.metrics["split"] == "test"]["task"]) == {"shape", "colour", "yes_no"}
        for a in run.attributions():
            pixels = np.nan_to_num(a.maps).any()
            words = np.nan_to_num(a.words).any()
            assert pixels == (name != "text_only")
            assert words == (name != "image_only")
            asked = a.label >= 0
            assert np.array_equal(asked, np.isfinite(a.maps).any(axis=(1, 2)))
            assert asked.sum() == 1
    scored = {name: set(run.scores["method"]) for name, run in runs.items() if len(run.scores)}
    pixels, words = {"gradient", "integrated_gradients"}, {"gradient, words", "integrated_gradients, words"}
    assert scored == {"image_and_text": pixels | words, "image_only": pixels, "text_only": words}
    of_words = runs["text_only"].scores
    assert set(of_words["task"]) == {"yes_no"}


def test_the_question_stands_over_its_words(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    run = reports.read_run(finished / "text_only--s0")
    assert run.examples is not None
    for words in run.examples.words:
        assert f": {' '.join(words)}" in page
    assert page.count('<p class="words">') == 3 * 3 * 2  # variants, examples, methods


def test_the_majority_is_the_commonest_training_answer(finished: Path) -> None:
    data = mtl.dataset("easy_vqa", train=60, image_size=16)
    found = reports.read_run(finished / "majority--s0").summary["test"]
    for task, targets in data.train.targets.items():
        answer = targets[targets >= 0].bincount().argmax()
        test = data.test.targets[task]
        assert found[task]["accuracy"] == pytest.approx(float((test[test >= 0] == answer).float().mean()))


@pytest.mark.parametrize(("arguments", "message"), [
    (["--image-size", "48"], "image_size must be 8, 16, 32 or 64, got 48"),
    (["--variants", "text"], "no 'text' there; did you mean 'text_only'"),
    (["--scored", "0"], "scored must be at least 1"),
])  # fmt: skip
def test_mistakes_are_one_line_and_status_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["vqa", *arguments, "--out", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_without_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.modules["mtl.data.easy_vqa"], "is_there", lambda: False)
    assert main(["vqa", "--out", str(tmp_path / "runs")]) == 2
    assert "pip install 'candelabra[vqa]'" in capsys.readouterr().err


@pytest.mark.slow
def test_yes_or_no_needs_both_and_colour_the_image(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    assert main(["vqa", "--out", str(out), "--seeds", "0", "--scored", "50"]) == 0
    runs = {run.variant: run for run in reports.read_runs(out)}
    accuracy = {
        name: {task: values["accuracy"] for task, values in run.summary["test"].items()}
        for name, run in runs.items()
    }
    assert accuracy["image_and_text"]["yes_no"] > 0.93
    assert max(accuracy[name]["yes_no"] for name in ("image_only", "text_only", "majority")) < 0.9
    assert accuracy["image_only"]["colour"] > 0.95 > 0.3 > accuracy["text_only"]["colour"]
    scores = runs["image_and_text"].scores
    mass = scores[scores["metric"] == "relevance_mass"].groupby(["method", "map"])["value"].mean()
    for method in ("integrated_gradients", "integrated_gradients, words"):
        assert mass[method, "given"] > mass[method, "random"] + 0.1
