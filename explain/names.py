"""The error for a name that is not there, with the nearest valid one."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

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


def made(kind: str, name: str, registry: Mapping[str, type[V]], options: Mapping[str, Any]) -> V:
    """An entry of a registry of dataclasses with its options, or an error that gives the nearest valid name.

    >>> @dataclasses.dataclass
    ... class Dot:
    ...     size: int = 1
    >>> made("shape", "dot", {"dot": Dot}, {"sise": 2})
    Traceback (most recent call last):
    ValueError: no option of shape 'dot' 'sise'; did you mean 'size'? known: size
    """
    entry = lookup(kind, name, registry)
    known = [field.name for field in dataclasses.fields(entry)]  # type: ignore[arg-type]  # of dataclasses
    for option in options:
        if option not in known:
            raise unknown(f"option of {kind} '{name}'", option, known)
    try:
        return entry(**options)
    except TypeError as error:  # a value of another type than the option's, in the options' own checks
        raise TypeError(f"{name}: an option has a wrong type: {error}") from error
