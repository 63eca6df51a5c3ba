"""The recipe `automation`: branches, the front and what mattered, in a run small enough to mean nothing."""

from pathlib import Path

import pytest
import torch

import mtl
import reports
from recipes.__main__ import main
from recipes.branches import branched

TASKS = [mtl.Classification("left", classes=10), mtl.Classification("right", classes=10)]


@pytest.mark.parametrize("branches", [[1, 1], [1, 4], [2, 3], [4, 4]])
def test_a_task_shares_the_layers_up_to_its_branch_point_and_no_more(branches: list[int]) -> None:
    with mtl.seeded(0):
        model = branched(TASKS, branches=branches, widths=[0, 8], image_size=16)
    outputs = model(torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)))
    outputs["left"].sum().backward()
    touched = [
        all(p.grad is not None and bool((p.grad != 0).any()) for p in part.parameters())
        for part in model.backbone.layers
    ]
    assert len(touched) == max(branches)
    assert touched == [depth <= branches[0] for depth in range(1, max(branches) + 1)]
    assert all(p.grad is None for p in model.head_parameters("right"))


def test_four_everywhere_is_the_cnn_with_hard_sharing() -> None:
    count = lambda model: sum(p.numel() for p in model.parameters())  # noqa: E731
    plain = mtl.MultiTaskModel(mtl.backbone("cnn", image_size=36), TASKS)
    assert count(branched(TASKS, branches=[4, 4], widths=[0, 0], image_size=36)) == count(plain)


@pytest.mark.slow
def test_a_small_search_is_written_and_reported(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    out = tmp_path / "out"
    line = ["automation", "--trials", "6", "--steps", "2", "--train", "64", "--seeds", "0", "--out", str(out)]
    assert main([*line, "--variants", "default", "tpe"]) == 0
    runs = {run.variant: run for run in reports.read_runs(out)}
    trials = runs["tpe"].summary["trials"]
    assert len(trials) == 6
    assert {name: trials[0][name] for name in ("head_left", "branch_right", "lr")} == {
        "head_left": 0, "branch_right": 4, "lr": 6e-3,
    }  # fmt: skip
    assert len(runs["default"].summary["trials"]) == 1
    left = runs["tpe"].summary["test"]["left"]
    shares = [value for name, value in left.items() if name.startswith("importance_")]
    assert len(shares) == 5
    assert sum(shares) == pytest.approx(1.0)
    best = max(trials, key=lambda trial: trial["left"] + trial["right"])
    assert left["chosen_lr"] == best["lr"]
    assert runs["tpe"].info["cost"]["train_s"] > 4 * runs["default"].info["cost"]["train_s"]  # of all six
    assert len(list((runs["tpe"].path / "checkpoints").iterdir())) == 1  # the chosen one
    assert "importance_lr" in (out / "report.html").read_text(encoding="utf-8")
