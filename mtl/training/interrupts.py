"""Ctrl-C and SIGTERM at a moment that suits."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

HELD = (signal.SIGINT, signal.SIGTERM)
Handler = Callable[[int, FrameType | None], object]


class Stopped(BaseException):
    """Leaves a block of `Signals.at_once`; never leaves `mtl.fit`."""


class Signals:
    """Holds SIGINT and SIGTERM back while something is done that belongs together.

    Inside `holding` a signal is noted in ``held`` (the first one; a person who presses Ctrl-C twice means the same)
    until `obey` does what it would have done. A signal that was ignored before stays ignored. Outside the main
    thread, which alone gets signals, nothing is changed.

    >>> signals = Signals()
    >>> with signals.holding():
    ...     signal.raise_signal(signal.SIGTERM)
    ...     signals.held is signal.SIGTERM
    True
    """

    def __init__(self) -> None:
        self.held: signal.Signals | None = None
        self.last: signal.Signals | None = None  # the last one obeyed
        self._before: dict[int, Handler | None] = {}
        self._at_once = False

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Signals are noted inside, and the handlers are as before after."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        for number in HELD:
            before = signal.getsignal(number)
            if callable(before) or before is signal.SIG_DFL:
                self._before[number] = before if callable(before) else None
                signal.signal(number, self._note)
        try:
            yield
        finally:
            for held, handler in self._before.items():
                if signal.getsignal(held) == self._note:  # else a handler of before has set another
                    signal.signal(held, handler or signal.SIG_DFL)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside `holding`: a signal, also one noted before, ends this block with `Stopped`."""
        self._at_once = True
        try:
            if self.held is not None:
                raise Stopped
            yield
        finally:
            self._at_once = False

    def obey(self) -> None:
        """Do what the noted signal would have done; SIGTERM, which would have ended the process, interrupts.

        Raises:
            KeyboardInterrupt: and whatever the handler of before raises. One that returns has dealt with it.
        """
        number, self.held = self.held, None
        if number is not None:
            self.last = number
            handler = self._before[number]
            if handler is None:
                raise KeyboardInterrupt
            handler(number, None)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.held is None:
            self.held = signal.Signals(number)
        if self._at_once:
            self._at_once = False
            raise Stopped
