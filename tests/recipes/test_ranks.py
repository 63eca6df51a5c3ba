"""Recipes under torchrun."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import reports
from recipes.linear_regression import train
from tests.mtl.distributed.processes import ROOT, started
from tests.recipes.together import jobs, refused, work


def info(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def test_processes_do_one_run_after_another_and_one_that_fails_for_all_stops_none(tmp_path: Path) -> None:
    ends = started(work, 2, str(tmp_path / "two"))
    assert [(end.status, end.err) for end in ends] == [(0, ""), (0, "")]
    assert [end.out.strip() for end in ends] == ["1 3 1", "1 3 1"]
    alone = jobs(tmp_path / "one")
    train(alone[0])
    for number, status in enumerate(("done", "failed", "done")):
        assert info(tmp_path / "two" / str(number))["status"] == status
    assert info(tmp_path / "two" / "0")["hardware"]["processes"] == 2
    assert "processes" not in info(tmp_path / "one" / "0")["hardware"]
    one, two = (
        json.loads((tmp_path / name / "0" / "summary.json").read_text())["test"] for name in ("one", "two")
    )
    for metric, value in one["progression"].items():
        assert two["progression"][metric] == pytest.approx(value, rel=1e-4, abs=1e-3), metric


def test_a_folder_that_is_not_empty_is_refused_once(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    first, second = started(refused, 2, str(tmp_path))
    assert first.status == 1
    assert first.err.startswith("usage: ")
    assert "is not empty" in first.err
    assert (second.status, second.err) == (2, "")


@pytest.mark.slow
def test_torchrun_runs_a_recipe(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "recipes",
    ]
    command += ["multimnist", "--out", str(tmp_path / "out"), "--steps", "6", "--train", "64", "--seeds", "0"]
    command += ["--variants", "upgrad", "--methods", "gradient", "--scored", "2", "--examples", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        "1 runs (1 variants x 1 seeds), each by all processes",
        "[1/1] upgrad, seed 0",
        "report",
    ]
    run = reports.read_run(tmp_path / "out" / "upgrad--s0")
    assert run.info["status"] == "done"
    assert (tmp_path / "out" / "report.html").is_file()
