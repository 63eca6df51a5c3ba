"""A recipe under torchrun: the processes do each run together, one run after another, and the first one writes.

`torchrun --nproc-per-node 2 -m recipes multimnist ...` shares every batch between two processes, where
`python -m recipes` gives every run a process of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib import import_module
from typing import Any

from recipes.config import UsageError
from recipes.signals import GRACE_S, end_with_parent, ending, exit_status

_AGREE_S = 30.0  # a run that fails for all fails for all within that time


def under_torchrun() -> bool:
    """Whether this process is one of several that torchrun started.

    >>> under_torchrun()
    False
    """
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first() -> bool:
    """Whether this process writes: it is alone, or the first."""
    return not under_torchrun() or os.environ.get("RANK", "0") == "0"


def local_processes() -> int:
    """How many processes torchrun started on this machine.

    >>> local_processes()
    1
    """
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


class Silent:
    """Stands in for `reports.RunWriter` where another process writes: takes every call, and does nothing.

    >>> Silent().log([]) is None
    True
    """

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *_, **__: None


def in_processes(function: Callable[[Any], None], job: Any, count: int) -> None:
    """``function(job)`` by ``count`` new processes of this machine together, which share the job's threads.

    Args:
        function: of a module; every process calls it inside `mtl.distributed.start`.
        job: a `recipes.runner.Job`.
        count: at least two.

    Raises:
        RuntimeError: a process has failed; the run directory, or standard error, says why.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_one_of, args=(function, job, rank, count, port)) for rank in range(count)
    ]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    except KeyboardInterrupt:
        for process in processes:
            if process.is_alive():
                process.terminate()  # it ends in order, with its checkpoint
        for process in processes:
            process.join(GRACE_S)
        raise
    codes = {rank: process.exitcode for rank, process in enumerate(processes) if process.exitcode}
    if codes:  # of a killed one the others only see that it is gone
        rank = min(codes, key=lambda rank: codes[rank] or 0)
        raise RuntimeError(f"process {rank} of the {count} of {job.variant}: {ending(codes[rank])}")


def _one_of(function: Callable[[Any], None], job: Any, rank: int, count: int, port: int) -> None:
    """The inside of one of `in_processes`."""
    end_with_parent()
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ |= {name: str(value) for name, value in place.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    import torch

    import mtl.distributed

    torch.set_num_threads(max(1, job.threads // count))
    try:
        with mtl.distributed.start():
            function(job)
    except KeyboardInterrupt as interrupt:
        sys.exit(exit_status(interrupt))
    except Exception:  # `start` has said whose mistake it was, the run directory holds the whole of it
        sys.exit(1)


def run_together(jobs: Sequence[Any], prepare: Callable[[], None], say: Callable[[str], None]) -> int:
    """Do the jobs one after another, each by all processes; 1 where one failed.

    Args:
        jobs: `recipes.runner.Job`s, the same on every process.
        prepare: what the first process does before; where it refuses, all end.
        say: gets one line for each finished run, on the first process.

    Raises:
        UsageError: what ``prepare`` refuses, on every process.
        Exception: of a run that failed on some processes and not on all: they cannot go on together.
    """
    import torch

    import mtl.distributed

    failed, refusal = 0, None
    with mtl.distributed.start() as together:
        assert together is not None
        if together.rank == 0:
            try:
                prepare()
            except UsageError as error:
                refusal = str(error)
        refusal = together.first_object(refusal)
        for number, job in enumerate(jobs if refusal is None else (), start=1):
            torch.set_num_threads(job.threads)
            begin, outcome = time.monotonic(), "done"
            try:
                import_module(f"recipes.{job.recipe}").train(job)
            except Exception as error:  # the run directory holds the whole traceback
                if not all_failed(number, together):
                    raise
                failed, outcome = failed + 1, f"FAILED: {type(error).__name__}: {str(error).splitlines()[0]}"
            else:
                together.wait()
            seconds = time.monotonic() - begin
            say(f"[{number}/{len(jobs)}] {job.variant}, seed {job.seed}: {outcome}, {seconds:.0f} s")
    if refusal is not None:
        if is_first():
            raise UsageError(refusal)
        sys.exit(2)  # the first one says why
    return int(failed > 0)


def all_failed(number: int, together: Any) -> bool:
    """Whether run ``number`` has failed on every process, so that they are still in step."""
    store = together.store
    store.set(f"failed/{number}/{together.rank}", "")
    try:
        store.wait([f"failed/{number}/{rank}" for rank in range(together.world)], timedelta(seconds=_AGREE_S))
    except RuntimeError:  # some have not, or are gone
        return False
    return True
