"""Dense predictions beside their labels: what was saved is shown, of all variants on the same pictures."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reports
from reports.document import Picture
from reports.sections.predictions import MAX_CARDS, predictions
from reports.tables import Experiment
from reports.wording import Say
from tests.reports.make import describe

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)


def write(root: Path, variant: str, images: np.ndarray = IMAGES) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    drawn = {task: (255 - images, images // (2 + k)) for k, task in enumerate(("depth", "<normals>"))}
    with reports.RunWriter(
        root / f"{variant}--s0", experiment={"name": "toy", "question": "?", "baseline": None, "reference": None},
        variant=variant, seed=0, tasks=[describe(task) for task in drawn], config={}, command=[], data={},
        selection="", tuning_budget="",
    ) as run:  # fmt: skip
        run.save_predictions(images, drawn)
        run.finish(summary={})
    return drawn


def pixels(picture: Picture) -> np.ndarray:
    stream = io.BytesIO(base64.b64decode(picture.src.partition(",")[2]))
    return np.asarray(Image.open(stream).convert("RGB"))


def test_predictions_stand_beside_labels(tmp_path: Path) -> None:
    drawn = write(tmp_path, "a")
    write(tmp_path, "b")
    section = predictions(Experiment(reports.read_runs(tmp_path)), Say())
    (group,) = section.groups
    assert len(group.cards) == 3
    card = group.cards[2]
    assert np.array_equal(pixels(card.image), IMAGES[2])
    assert [strip.heading for strip in card.strips] == ["labels", "a", "b"]
    for k, (prediction, label) in enumerate(drawn.values()):
        assert np.array_equal(pixels(card.strips[0].pictures[k]), label[2])
        assert np.array_equal(pixels(card.strips[1].pictures[k]), prediction[2])
    assert card.strips[2].pictures[1].alt == "prediction of <normals> by b, example 2"
    page = reports.build(tmp_path, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "prediction of &lt;normals&gt; by b, example 2" in page


def test_other_and_too_many_pictures_are_told(tmp_path: Path) -> None:
    many = np.repeat(IMAGES, MAX_CARDS, axis=0)
    write(tmp_path, "a", many)
    write(tmp_path, "b")
    section = predictions(Experiment(reports.read_runs(tmp_path)), Say())
    assert section.notes == [
        "b: left out, for it predicted other pictures",
        f"{MAX_CARDS} of {3 * MAX_CARDS} pictures are shown",
    ]
    assert len(section.groups[0].cards) == MAX_CARDS


@pytest.mark.parametrize("fault", ["shape", "type", "missing", "torn"])
def test_what_does_not_fit_is_left_out_with_a_remark(tmp_path: Path, fault: str) -> None:
    write(tmp_path, "a")
    file = tmp_path / "a--s0" / "predictions.npz"
    arrays = dict(np.load(file))
    if fault == "shape":
        arrays["label_1"] = arrays["label_1"][:2]
    elif fault == "type":
        arrays["label_1"] = arrays["label_1"].astype(float)
    elif fault == "missing":
        del arrays["label_1"]
    np.savez(file, **arrays)
    if fault == "torn":
        file.write_bytes(file.read_bytes()[:100])
    experiment = Experiment(reports.read_runs(tmp_path))
    section = predictions(experiment, Say())
    assert section.missing == "no finished run saved predictions of dense tasks"
    (remark,) = experiment.runs[0].problems
    told = (
        "predictions.npz cannot be read"
        if fault == "torn"
        else "predictions.npz: label_1 must be images uint8"
    )
    assert told in str(remark)
