"""kill -9 of real processes that train: what is left resumes, bit for bit."""

import os
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from mtl.training.checkpoint import load_state, whole
from tests.mtl.resumed import PRECISIONS, contents, fit, same, start


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def finish(folder: Path, balancer: str, how: dict[str, Any]) -> Any:
    """What a session gives that is left alone."""
    process, steps = start(folder, balancer, how)
    with suppress(EOFError):
        while steps.recv():
            pass
    process.join()
    steps.close()
    assert process.exitcode == 0
    return torch.load(folder / "result.pt", weights_only=True)


@pytest.mark.parametrize("how", PRECISIONS, ids=str)
@pytest.mark.parametrize("balancer", ["pcgrad", "gradnorm"])
def test_killed_and_resumed_equals_uninterrupted(balancer: str, how: dict[str, Any], tmp_path: Path) -> None:
    """Four epochs equal two, kill -9 and a new process."""
    process, steps = start(tmp_path, balancer, how)
    while steps.recv() < 15:
        pass
    process.kill()
    process.join()
    steps.close()
    assert process.exitcode == -signal.SIGKILL
    assert load_state(tmp_path / "last")["step"] >= 14  # or a little later
    assert same(finish(tmp_path, balancer, how), contents(fit(None, balancer, **how)))


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Kills by the clock: KILLS of them, 8 unless the environment says otherwise; no run lost, no file torn."""
    draw, left, how, run = random.Random(7), int(os.environ.get("KILLS", "8")), {"epochs": 12}, 0
    balancers = ["famo", "moco", "nash_mtl", "uncertainty"]
    while left:
        run += 1
        folder, balancer, kills = tmp_path / str(run), balancers[run % len(balancers)], min(left, 4)
        left -= kills
        while kills:
            process, steps = start(folder, balancer, how)
            steps.recv()  # it has begun
            time.sleep(draw.uniform(0.0, 0.3))
            process.kill()
            process.join()
            steps.close()
            if process.exitcode == 0:  # done before it could be killed: once more
                shutil.rmtree(folder)
                continue
            kills -= 1
            if whole(folder / "last").exists():
                print(
                    f"run {run}, {balancer}: killed after the checkpoint of step {load_state(folder / 'last')['step']}"
                )
        assert same(finish(folder, balancer, how), contents(fit(None, balancer, **how)))
        assert not list(folder.glob("*.new")), "a finished run leaves nothing half written"
