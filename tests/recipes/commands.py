"""``python -m recipes`` in a process that need not import torch anew: for tests that send a command real signals.

It is forked from the server that the runs are forked from. `test_resume.py` and `test_workers.py` start a real one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from multiprocessing import forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from types import TracebackType

from recipes.__main__ import main
from recipes.signals import shielded
from recipes.workers import Pool


class Command:
    """A command that has been started; as a context manager it is killed at the end, should it still run."""

    def __init__(self, *arguments: str) -> None:
        handle, name = tempfile.mkstemp()
        os.close(handle)
        self._said = Path(name)
        Pool()  # says what the server imports, should this be its first process
        self._process: BaseProcess = multiprocessing.get_context("forkserver").Process(
            target=_inside, args=(arguments, name)
        )
        with shielded():
            self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def runs(self) -> bool:
        return self._process.is_alive()

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self, timeout: float = 240) -> tuple[int, str]:
        """Its exit status, negative for a signal, and all it printed; fails where it does not end in time."""
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"runs after {timeout} s: {self._said.read_text()}"
        return self._process.exitcode, self._said.read_text()

    def __enter__(self) -> Command:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()
        self._said.unlink()


class RealCommand:
    """The same by ``python -m recipes``, whose output is that of all its processes."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "recipes", *arguments]
        self._process = Popen(command, stdout=PIPE, stderr=STDOUT, text=True)

    def runs(self) -> bool:
        return self._process.poll() is None

    def end(self, timeout: float = 240) -> tuple[int, str]:
        said, _ = self._process.communicate(timeout=timeout)
        return self._process.returncode, said

    def __enter__(self) -> RealCommand:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()


def _inside(arguments: tuple[str, ...], said: str) -> None:
    file = os.open(said, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(file, stream)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # which the server holds back
    # the runs are forked from the server that is there; left alone, Python 3.11 starts another in each process
    forkserver._forkserver.ensure_running = resource_tracker.ensure_running  # type: ignore[method-assign]
    sys.exit(main(arguments))
