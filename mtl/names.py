"""Looking names up, with the nearest valid one in the error, and checking the names that users choose."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

V = TypeVar("V")


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for a name that is not there.

    >>> str(unknown("balancer", "mgad", ["mgda", "equal"]))
    "no balancer 'mgad'; did you mean 'mgda'? known: mgda, equal"
    """
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    listed = ", ".join(known) if len(known) <= 60 else f"{len(known)} names, from {known[0]} to {known[-1]}"
    return ValueError(f"no {kind} '{name}'; {hint}known: {listed}")


def lookup(kind: str, name: str, registry: Mapping[str, V]) -> V:
    """``registry[name]``, or a ValueError with the nearest valid name.

    >>> lookup("optimizer", "sgd", {"sgd": 1})
    1
    """
    if name not in registry:
        raise unknown(kind, name, registry)
    return registry[name]


def check_name(what: str, name: str) -> None:
    """Raise unless ``name`` is a non-empty string without control characters."""
    if not isinstance(name, str) or not name.strip() or any(ord(c) < 32 for c in name):
        raise ValueError(f"{what}.name must be a non-empty string without control characters, got {name!r}")


def check_options(what: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise unless ``function`` takes every name in ``options``, with the nearest one it does take.

    >>> check_options("backbone 'cnn'", lambda in_channels: None, {"in_channel": 1})
    Traceback (most recent call last):
    ValueError: no option of backbone 'cnn' 'in_channel'; did you mean 'in_channels'? known: in_channels
    """
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return  # what the library below takes is checked there
    for name in options:
        known = [p.name for p in parameters]
        if name not in known:
            raise unknown(f"option of {what}", name, known)
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in options]
    if missing:
        raise ValueError(f"{what} needs {', '.join(missing)}")
