"""Recipes that are ended by real signals and continued: every number as in a run that was never stopped."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reports
from mtl.training.checkpoint import weights_step
from recipes.__main__ import main
from tests.recipes.commands import Command, RealCommand

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="sends signals"),
]
EVERY = ["--seeds", "0", "--workers", "1"]
LINES = {
    "cnn": ["cnn", "--variants", "sound", "--steps", "120", "--examples", "2", "--scored", "4"],
    "vqa": ["vqa", "--variants", "image_and_text", "majority", "--steps", "120", "--train", "400",
            "--image-size", "16", "--examples", "1", "--scored", "5"],
    "attributions": ["attributions", "--variants", "multimnist", "--steps", "120", "--train", "400", "--methods",
                     "gradient", "grad_cam", "--metrics", "deletion", "max_sensitivity", "--scored", "4",
                     "--checked", "2"],
    "automation": ["automation", "--variants", "tpe", "--trials", "7", "--steps", "24", "--train", "200"],
    "compute": ["compute", "--variants", "fp32", "bf16", "--steps", "120", "--train", "400"],
    "compute, two processes": ["compute", "--variants", "two_processes", "--steps", "120", "--train", "400"],
}  # fmt: skip


def wait_for(what: Callable[[], Any], command: Command | RealCommand) -> Any:
    deadline = time.monotonic() + 240
    while not (found := what()) and time.monotonic() < deadline and command.runs():
        time.sleep(0.005)
    assert found, "too slow" if command.runs() else command.end()[1]
    return found


def reached(run: Path) -> int:
    """How many steps the checkpoints of a run have, together."""
    steps = 0
    with suppress(OSError):  # folders come and go
        for last in run.rglob("last"):
            with suppress(OSError, ValueError):  # it is being replaced
                steps += weights_step(last) or 0
    return steps


def status(run: Path) -> str:
    return str(json.loads((run / "run.json").read_text(encoding="utf-8"))["status"])


@pytest.mark.parametrize("name", LINES)
def test_terminated_then_killed_then_resumed_equals_uninterrupted(name: str, tmp_path: Path) -> None:
    """SIGTERM to the command; later SIGKILL to the process that writes the run, as when memory is out."""
    if name == "vqa":
        pytest.importorskip("easy_vqa")
    if name == "automation":
        pytest.importorskip("optuna")
    line, cut, whole = [*LINES[name], *EVERY], tmp_path / "cut", tmp_path / "whole"
    first = cut / f"{line[2]}--s0"
    with Command(*line, "--out", str(cut)) as command:
        wait_for(lambda: reached(first), command)
        command.send(signal.SIGTERM)
        ended, output = command.end()
        assert ended == 128 + signal.SIGTERM, output
    assert status(first) == "interrupted"
    before = reached(first)
    # of two processes the one above them says it, to a stderr that of forked commands is the server's
    with (RealCommand if "two processes" in name else Command)("resume", str(cut)) as command:
        wait_for(lambda: reached(first) > before, command)
        os.kill(json.loads((first / "run.json").read_text(encoding="utf-8"))["pid"], signal.SIGKILL)
        ended, output = command.end()
        assert ended == 1, output
        assert "killed by signal 9" in output
    assert status(first) == "running"  # it could not tell
    assert main(["resume", str(cut)]) == 0
    assert main([*line, "--out", str(whole)]) == 0
    for run in reports.read_runs(whole):
        assert_same(reports.read_run(cut / run.path.name), run)
    assert [s["status"] for s in reports.read_run(first).info["sessions"]] == [
        "interrupted",
        "killed",
        "done",
    ]


def assert_same(cut: reports.Run, whole: reports.Run) -> None:
    assert cut.status == whole.status == "done"
    assert not cut.problems
    assert cut.metrics.equals(whole.metrics)
    assert cut.summary == whole.summary
    assert cut.info["cost"].get("steps") == whole.info["cost"].get("steps")  # the majority trains nothing
    assert cut.scores.equals(whole.scores)
    assert cut.sanity.equals(whole.sanity)
    for ours, theirs in zip(cut.attributions(), whole.attributions(), strict=True):
        assert (ours.method, ours.task) == (theirs.method, theirs.task)
        assert np.array_equal(ours.maps, theirs.maps, equal_nan=True)
