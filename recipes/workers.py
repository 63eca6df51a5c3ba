"""Runs in processes of their own: one that fails, or is killed, takes nothing else down.

The run directory is the only channel between a run and whoever started it: what a run wrote is what happened.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from recipes.config import UsageError
from recipes.signals import GRACE_S, end_with_parent, ending, exit_status, shielded

Say = Callable[[str], None]
START_ATTEMPTS = 5  # over three seconds


@dataclass(frozen=True)
class Job:
    """One run: a recipe's variant with one seed, written to ``folder``."""

    recipe: str
    options: Any  # the recipe's own Options
    variant: str
    seed: int
    folder: Path
    threads: int
    """Of torch; 0, until it is known how many runs share the cores."""
    command: tuple[str, ...]
    label: str = ""
    """The variant's name in the report, where it is not ``variant``."""
    tuning: str = ""
    """The tuning budget, in words, where it is not the recipe's own."""
    resume: bool = False
    """Go on in a folder with an unfinished run."""
    allow_change: tuple[str, ...] = ()
    """What `mtl.fit` may do in another way than before."""


@dataclass(eq=False)
class Running:
    """A job and its process."""

    job: Job
    process: BaseProcess
    start: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    def outcome(self) -> str:
        """``done``, or why the run ended early, as its own directory tells it; for a process that has ended."""
        code = self.process.exitcode
        return "done" if code == 0 else f"FAILED: {_failure(self.job.folder, code)}"


class Pool:
    """Processes of runs. As a context manager it ends those that are left: by what ended it, after 30 s by force."""

    def __init__(self) -> None:
        self.running: list[Running] = []
        kind = "forkserver" if sys.platform != "win32" else "spawn"
        self._context: Any = multiprocessing.get_context(kind)
        if sys.platform != "win32":
            # the server imports torch once; each run is then a fork of it, with a memory peak of its own
            self._context.set_forkserver_preload(["torch", "mtl", "explain", "reports"])

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.end(error)

    def end(self, error: BaseException | None = None) -> None:
        """End the runs that are left, by SIGTERM where that was what interrupted this process, else as Ctrl-C does."""
        number = exit_status(error) - 128 if isinstance(error, KeyboardInterrupt) else signal.SIGINT
        for run in self.running:
            self.interrupt(run, number)
        deadline = time.monotonic() + GRACE_S
        for run in self.running:
            run.process.join(timeout=max(0.0, deadline - time.monotonic()))
            run.process.kill()
            run.process.join()
        self.running = []

    def start(self, job: Job) -> Running:
        """Start a run; at once, however many are running.

        Raises:
            UsageError: the operating system gives no process.
        """
        for attempt in range(START_ATTEMPTS):
            process = self._context.Process(target=_work, args=(job,))
            try:
                with shielded():  # the first one starts the server, too
                    process.start()
                break
            except (EOFError, OSError) as error:  # the server was killed: the next attempt starts another
                if attempt == START_ATTEMPTS - 1:
                    raise UsageError(f"cannot start a process for {job.variant}: {error}") from error
                time.sleep(0.2 * 2**attempt)
        run = Running(job, process)
        self.running.append(run)
        return run

    def ended(self, timeout: float | None = None) -> list[Running]:
        """The runs that have ended since, after waiting for one at most ``timeout`` seconds (None: until one ends)."""
        wait([run.process.sentinel for run in self.running], timeout)
        ended = [run for run in self.running if not run.process.is_alive()]
        self.running = [run for run in self.running if run not in ended]
        return ended

    def interrupt(self, run: Running, number: int = signal.SIGINT) -> None:
        """Ctrl-C (or SIGTERM) for one run: it writes what it has, and ends."""
        if run.process.pid is not None and run.process.is_alive():
            os.kill(run.process.pid, number)


def run_all(jobs: Sequence[Job], workers: int, say: Say) -> int:
    """Keep ``workers`` processes busy until the jobs are done; 1 where one failed, else 0.

    Args:
        jobs: the runs.
        workers: processes at a time.
        say: gets one line for each run that ended.
    """
    waiting, failed, done = list(jobs), 0, 0
    with Pool() as pool:
        while waiting or pool.running:
            while waiting and len(pool.running) < workers:
                pool.start(waiting.pop(0))
            for run in pool.ended():
                done += 1
                failed += run.process.exitcode != 0
                name = f"{run.job.variant}, seed {run.job.seed}"
                say(f"[{done}/{len(jobs)}] {name}: {run.outcome()}, {run.seconds:.0f} s")
    return int(failed > 0)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _failure(folder: Path, code: int | None) -> str:
    import reports

    try:
        error = reports.read_run(folder).info.get("error")
    except ValueError:
        error = None
    return error or ending(code)


def _work(job: Job) -> None:
    """The inside of a run's process."""
    end_with_parent()
    import torch

    torch.set_num_threads(job.threads)
    try:
        import_module(f"recipes.{job.recipe}").train(job)
    except KeyboardInterrupt as interrupt:
        sys.exit(exit_status(interrupt))
    except Exception as error:  # the run directory holds the whole traceback; the runner shows its last line
        if not _told(job.folder):
            sys.stderr.write(f"{job.variant}, seed {job.seed}: {error}\n")
        sys.exit(1)


def _told(folder: Path) -> bool:
    """Whether the run directory says that the run failed."""
    import reports

    try:
        return reports.read_run(folder).status == "failed"
    except ValueError:  # it failed before there was one
        return False
