"""What the recipes are held to, on one seed each."""

from pathlib import Path

import pytest

import explain
import mtl
import reports
from recipes.__main__ import main


def last(run: reports.Run, metric: str, split: str) -> float:
    rows = run.metrics[(run.metrics["metric"] == metric) & (run.metrics["split"] == split)]
    return float(rows["value"].iloc[-1])


def test_gradient_descent_finds_the_least_squares_solution(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    assert main(["linear_regression", "--out", str(out), "--seeds", "0", "--variants", "full_batch"]) == 0
    run = reports.read_run(out / "full_batch--s0")
    assert last(run, "parameter_error", "train") <= 1e-4
    assert last(run, "attribution_error", "test") <= 1e-3  # of a target that spans 300 points


@pytest.mark.slow
def test_the_sound_cnn_reads_digits_and_the_articles_does_not_yet(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    assert main(["cnn", "--out", str(out), "--seeds", "0", "--scored", "20", "--steps", "500"]) == 0
    runs = {run.variant: run for run in reports.read_runs(out)}
    assert last(runs["sound"], "accuracy", "test") >= 0.975
    assert last(runs["article"], "accuracy", "test") < 0.5
    assert float(runs["sound"].info["cost"]["train_s"]) > 0


@pytest.mark.slow
def test_shared_digits_are_read_and_each_head_looks_at_its_own() -> None:
    data = mtl.dataset("multimnist", train=8000)
    with mtl.seeded(0):
        model = mtl.MultiTaskModel(mtl.backbone("cnn", image_size=36), data.tasks)
    mtl.fit(model, data.train, data.validation, steps=300, batch_size=64, lr=6e-3, dynamics_every=None)
    scores = mtl.evaluate(model, data.test)
    assert sum(scores[task]["accuracy"] for task in scores) / 2 >= 0.93
    images, masks = data.test.inputs[:50], {task: mask[:50] for task, mask in data.test.masks.items()}
    frame = explain.evaluate(
        model, images, explain.saliency(model, images), metrics=["relevance_mass"], masks=masks
    )
    own = frame[frame["task"] == frame["region"]].groupby("map")["value"].mean()
    assert own["given"] > 2 * own["random"]
