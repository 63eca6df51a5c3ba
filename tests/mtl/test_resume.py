"""A resumed training is the uninterrupted one, bit for bit on a CPU, whenever it was ended."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler

import mtl
from mtl.training.checkpoint import load_state, save_checkpoint, whole
from tests.mtl.resumed import PRECISIONS, STEPS, TASKS, CutError, contents, cut_at, fit, jitter, model, same, table

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before, handler = torch.get_num_threads(), signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    signal.signal(signal.SIGINT, handler)


def fail() -> None:
    raise CutError


def crash(folder: Path, step: int, balancer: str = "equal", **changes: Any) -> None:
    """A session that ends with an exception in its step ``step``; the checkpoint is of an earlier one."""
    with pytest.raises(CutError):
        fit(folder, balancer, augment=cut_at(step, fail), **changes)


@pytest.mark.parametrize("balancer", mtl.BALANCERS)
def test_every_balancer_goes_on_as_if_nothing_had_happened(balancer: str, tmp_path: Path) -> None:
    """Ended by an error in the second epoch, by Ctrl-C in the third: neither is at the end of an epoch."""
    whole_run = contents(fit(None, balancer))
    crash(tmp_path, 10, balancer)
    assert load_state(tmp_path / "last")["step"] == 7
    with pytest.raises(mtl.Interrupted):
        fit(tmp_path, balancer, augment=cut_at(11, lambda: signal.raise_signal(signal.SIGINT)))
    assert load_state(tmp_path / "last")["step"] == 18
    result = fit(tmp_path, balancer)
    assert same(contents(result), whole_run)
    assert len(result.records) == len(
        {(r["step"], r["split"], r["task"], r["metric"]) for r in result.records}
    )


def test_the_comparison_can_fail() -> None:
    assert not same(contents(fit(None)), contents(fit(None, seed=4)))
    assert not same(torch.tensor([1.0]), torch.tensor([1.0 + 1e-7]))
