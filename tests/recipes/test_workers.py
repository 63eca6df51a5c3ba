"""Processes of runs: what happens when one of those around them is killed."""

import json
import multiprocessing.forkserver
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import reports
from recipes.balancers_toy import Options
from recipes.workers import Job, Pool

ROOT = Path(__file__).parents[2]
LONG = Options(steps=1_000_000, problems=("quadratic",))


def job(folder: Path, options: Options) -> Job:
    return Job("balancers_toy", options, "equal", 0, folder, 1, ())


def status(folder: Path) -> str:
    file = folder / "run.json"
    return str(json.loads(file.read_text())["status"]) if file.exists() else ""


def until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not true():
        time.sleep(0.05)
    return true()


@pytest.mark.slow
def test_the_server_that_forks_the_runs_is_killed(tmp_path: Path) -> None:
    """The parent believes the run has ended, so it must end; and the next one starts with a new server."""
    with Pool() as pool:
        first = pool.start(job(tmp_path / "first", LONG))
        assert until(lambda: status(tmp_path / "first") == "running")
        server = multiprocessing.forkserver._forkserver._forkserver_pid
        os.kill(server, signal.SIGKILL)
        [ended] = pool.ended()
        assert ended is first
        assert ended.process.exitcode != 0
        assert until(lambda: status(tmp_path / "first") == "interrupted")
        pool.start(job(tmp_path / "second", Options(steps=2, problems=("quadratic",))))
        [ended] = pool.ended()
        assert ended.outcome() == "done"
    assert reports.read_run(tmp_path / "second").status == "done"


@pytest.mark.slow
def test_runs_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = ["balancers_toy", "--variants", "equal", "--problems", "quadratic", "--steps", "1000000"]
    parent = subprocess.Popen([sys.executable, "-m", "recipes", *line, "--out", str(out)], cwd=ROOT)
    assert until(lambda: status(out / "equal--s0") == "running")
    parent.kill()
    parent.wait()
    assert until(lambda: status(out / "equal--s0") == "interrupted")
