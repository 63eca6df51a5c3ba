"""The error for a name that is not there, with the nearest valid one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

V = TypeVar("V")


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """``no KIND 'NAME'; did you mean ...? known: ...``

    >>> str(unknown("method", "gradent", ["gradient"]))
    "no method 'gradent'; did you mean 'gradient'? known: gradient"
    """
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return ValueError(f"no {kind} '{name}'; {hint}known: {', '.join(known) or '(none)'}")


def lookup(kind: str, name: str, registry: Mapping[str, V]) -> V:
    """``registry[name]``, or the error above.

    >>> lookup("method", "gradient", {"gradient": 1})
    1
    """
    if name not in registry:
        raise unknown(kind, name, registry)
    return registry[name]
