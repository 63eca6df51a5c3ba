"""Ctrl-C and SIGTERM in the processes of a recipe: the first ends it in order, and workers end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait

ENDING = (signal.SIGINT, signal.SIGTERM)
GRACE_S = 30.0  # for a worker without a parent to write its checkpoint


class Terminated(KeyboardInterrupt):
    """SIGTERM, as a cluster sends it before it kills; ends a run as Ctrl-C does."""

    signal = signal.SIGTERM


def interrupt_once(number: int, _: object = None) -> None:
    """A handler of Ctrl-C and SIGTERM: the first interrupts, later ones cannot break the clean-up."""
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def exit_status(interrupt: KeyboardInterrupt) -> int:
    """What the shell expects: 128 and the signal's number.

    >>> exit_status(KeyboardInterrupt()), exit_status(Terminated())
    (130, 143)
    """
    return 128 + int(getattr(interrupt, "signal", signal.SIGINT))


@contextmanager
def interruptible() -> Iterator[None]:
    """`interrupt_once` inside; afterwards the handlers are as before, unless the process was interrupted and ends."""
    # one thread pool a run: set before torch is imported, in this process and its children
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    before = {number: signal.signal(number, interrupt_once) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is interrupt_once:
                signal.signal(number, handler)


@contextmanager
def shielded() -> Iterator[None]:
    """Processes that are started inside hold SIGTERM back until they call `end_with_parent`.

    A cluster sends SIGTERM to every process. The server that workers are forked from must not end before them, for
    it tells how they ended.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """For the start of a worker: Ctrl-C and SIGTERM end it in order, and so does the end of its parent.

    So does the end of the server that forked it, for the parent then believes that the worker has ended. A worker that
    has not ended 30 seconds later is ended at once.
    """
    for number in ENDING:
        signal.signal(number, interrupt_once)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    parent, server = multiprocessing.parent_process(), os.getppid()
    if parent is None:
        return

    def watch() -> None:
        while not wait([parent.sentinel], timeout=1) and os.getppid() == server:
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        if not ended.wait(GRACE_S):
            os._exit(128 + signal.SIGTERM)

    ended = threading.Event()  # never set: the process ends with it
    threading.Thread(target=watch, name="watch parent", daemon=True).start()


def ending(code: int | None) -> str:
    """How a process ended that left no word.

    >>> ending(-9)
    'the process was killed by signal 9 (SIGKILL), as the kernel does when memory is out'
    >>> ending(3)
    'the process ended with status 3'
    """
    if code is None or code >= 0:
        return f"the process ended with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    hint = ", as the kernel does when memory is out" if name == "SIGKILL" else ""
    return f"the process was killed by signal {-code} ({name}){hint}"
