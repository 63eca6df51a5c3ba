"""Scarce labels: the same few for every variant, all images for the shared ones."""

from pathlib import Path
from typing import Any

import pytest
import torch

import mtl
import reports
from recipes.__main__ import main
from recipes.few_labels import Options, labelled, name_of
from recipes.workers import Job


def job(variant: str, seed: int = 0, **options: Any) -> Job:
    given = Options(train=100, shares=(0.1, 1.0), **options)
    return Job("few_labels", given, variant, seed, Path("unused"), 1, ())


def test_every_variant_of_a_seed_keeps_the_same_labels() -> None:
    from dataclasses import replace

    data = mtl.dataset("multimnist", train=100, validation=2, test=2)
    column = replace(data.tasks[0], name=name_of(0.1))
    alone, few = labelled(data, column, 0.1, job("single"))
    both, all_ = labelled(data, column, 0.1, job("shared"))
    assert [task.name for task in alone] == ["10% of labels"]
    assert [task.name for task in both] == ["10% of labels", "right"]
    assert len(few) == 10
    assert len(all_) == 100
    there = all_.targets[column.name] >= 0
    assert int(there.sum()) == 10
    assert torch.equal(all_.inputs[there], few.inputs)
    assert torch.equal(all_.targets[column.name][there], few.targets[column.name])
    assert int((all_.targets["right"] >= 0).sum()) == 100
    other = labelled(data, column, 0.1, job("single", 1))[1]
    assert not torch.equal(other.inputs, few.inputs)


def test_shares_are_the_columns_of_the_report(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    small = ["--shares", "0.5", "1.0", "--train", "40", "--steps", "3", "--batch-size", "16", "--seeds", "0"]
    assert main(["few_labels", "--out", str(out), *small]) == 0
    runs = {run.variant: run for run in reports.read_runs(out)}
    assert set(runs) == {"single", "single_augmented", "shared", "shared_augmented"}
    for run in runs.values():
        assert run.status == "done"
        assert set(run.metrics["task"]) == {"50% of labels", "100% of labels"}
        assert set(run.summary["test"]) == {"50% of labels", "100% of labels"}
        assert [task["at"]["value"] for task in run.info["tasks"]] == [0.5, 1.0]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "50% of labels: accuracy" in page
    assert "accuracy over the share of labels" in page  # the curve


@pytest.mark.parametrize(("arguments", "message"), [
    (["--shares", "0"], "each of shares must be above 0 and at most 1"),
    (["--shares", "0.5", "0.5"], "shares must be different"),
    (["--shares", "0.001", "--train", "100"], "give a label at least, got 0.001"),
])  # fmt: skip
def test_mistakes_are_named(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["few_labels", "--out", str(tmp_path / "runs"), *arguments]) == 2
    assert message in capsys.readouterr().err
