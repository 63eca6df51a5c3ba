"""The recipe of rendered scenes, small; and (slow) that one backbone learns the dense tasks."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import mtl
import reports
from recipes.__main__ import main
from recipes.dense import constant, constant_scores, painted
from tests.mtl.dense.models import TASKS, data

SMALL = [
    "--steps", "2", "--train", "32", "--batch-size", "8", "--image-size", "32", "--examples", "2", "--scored", "4",
    "--methods", "gradient", "--seeds", "0",
]  # fmt: skip
NAMES = {"segmentation", "depth", "normals", "boundary", "counts", "relation"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "scenes"
    assert main(["scenes", "--out", str(out), "--variants", "constant", "single", "upgrad", *SMALL]) == 0
    return out


def test_every_variant_is_scored_and_models_are_explained(finished: Path) -> None:
    runs = {run.variant: run for run in reports.read_runs(finished)}
    assert set(runs) == {"constant", "single", "upgrad"}
    for name, run in runs.items():
        assert run.status == "done"
        assert not run.problems
        assert set(run.metrics[run.metrics["split"] == "test"]["task"]) == NAMES
        if name == "constant":
            continue
        assert {a.task for a in run.attributions()} == NAMES
        assert all(np.abs(a.maps).max() > 0 for a in run.attributions())
        assert set(run.scores["task"]) == NAMES
        assert {part.shape for pair in run.predictions.values() for part in pair} == {(2, 32, 32, 3)}
        assert set(run.predictions) == {"", "segmentation", "depth", "normals", "boundary"}
    parameters = {name: run.info["cost"]["parameters"] for name, run in runs.items() if name != "constant"}
    assert parameters["single"] > 2 * parameters["upgrad"]
    assert "upgrad" in (finished / "report.html").read_text(encoding="utf-8")


def test_some_of_the_tasks(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    line = ["--variants", "equal", "--tasks", "depth", "relation", "--backbone", "pyramid/timm/resnet10t"]
    assert main(["scenes", "--out", str(out), *line, *SMALL]) == 0
    (run,) = reports.read_runs(out)
    assert [task["name"] for task in run.info["tasks"]] == ["depth", "relation"]


def test_no_other_constant_is_better() -> None:
    """Nudged either way, each constant's loss on the labels it was chosen by is larger."""
    given = data(12)
    for task in TASKS:
        target = given.targets[task.name]
        value = constant(task, target).double()
        places = target.shape[-2:] if getattr(task, "dense", False) else ()

        def loss(
            output: torch.Tensor, task: mtl.Task = task, target: torch.Tensor = target, places=places
        ) -> float:
            whole = output.reshape(-1, *[1] * len(places)).expand(len(target), task.output_size, *places)
            total, count = task.loss_sum(whole, target)
            return float(total) / count

        for channel in range(task.output_size):
            for nudge in (-0.3, 0.3):
                changed = value.clone()
                changed[channel] += nudge
                assert loss(changed) > loss(value), task.name


def test_constants_are_scored_on_the_test_split() -> None:
    splits = mtl.dataset("scenes", train=8, validation=1, test=6, image_size=16)
    found = constant_scores(splits)
    labels = splits.test.targets["segmentation"]
    most = splits.train.targets["segmentation"].flatten().long().bincount().argmax()
    assert found["segmentation"]["pixel_accuracy"] == pytest.approx(float((labels == most).double().mean()))
    assert found["boundary"]["f1"] == 0
    assert all(math.isfinite(value) for scores in found.values() for value in scores.values())


def test_pictures_of_predictions_by_hand() -> None:
    depth, label = torch.tensor([[[[1.0, 4.0]]]]), torch.tensor([[[2.0, math.nan]]])
    prediction, truth = painted(mtl.Depth("d"), depth, label)
    assert prediction[0, 0, :, 0].tolist() == [128, 0]  # nearer is brighter; the label's farthest is black
    assert truth[0, 0, :, 0].tolist() == [0, 0]
    kinds = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    prediction, truth = painted(mtl.Segmentation("s", classes=2), kinds, torch.tensor([[[0, -1]]]))
    assert prediction[0, 0, 0].tolist() == truth[0, 0, 0].tolist() != prediction[0, 0, 1].tolist()
    assert truth[0, 0, 1].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("arguments", "message"), [
    (["--variants", "sngle"], "no 'sngle' there; did you mean 'single'"),
    (["--tasks", "dept"], "no 'dept' there; did you mean 'depth'"),
    (["--backbone", "convnet"], "backbone must be pyramid/convnet or pyramid/timm/MODEL, got 'convnet'"),
    (["--backbone", "pyramid/timm/resnet81"], "no timm model 'resnet81'; did you mean"),
    (["--image-size", "16"], "image_size must be at least 32"),
])  # fmt: skip
def test_mistakes_are_one_line_and_status_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    assert main(["scenes", *arguments, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.slow
def test_one_backbone_learns_the_dense_tasks(tmp_path: Path) -> None:
    """In 500 steps; counts and relations take longer."""
    out = tmp_path / "runs"
    line = ["--variants", "constant", "equal", "--seeds", "0", "--steps", "500", "--train", "1500"]
    assert main(["scenes", "--out", str(out), *line, "--scored", "5", "--examples", "2"]) == 0
    constant_, equal = (
        reports.read_run(out / f"{name}--s0").summary["test"] for name in ("constant", "equal")
    )
    assert equal["segmentation"]["miou"] > 3 * constant_["segmentation"]["miou"]
    assert equal["depth"]["abs_error"] < 0.5 * constant_["depth"]["abs_error"]
    assert equal["normals"]["mean_angle"] < 0.8 * constant_["normals"]["mean_angle"]
    assert equal["boundary"]["ods_f"] > 2 * constant_["boundary"]["ods_f"]
