"""Hints for names that are not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def nearest(name: str, known: Iterable[str], most: int | None = None) -> str:
    """``did you mean 'x'? known: ...`` for a name that is not there; of the known ones ``most`` are listed.

    >>> nearest("step", ["steps", "seeds"]), nearest("step", ["steps", "seeds", "out"], most=1)
    ("did you mean 'steps'? known: steps, seeds", "did you mean 'steps'? known: steps, ... (3 in all)")
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return (f"did you mean '{near[0]}'? " if near else "") + f"known: {listed(known, most)}"


def listed(names: Sequence[str], most: int | None = None) -> str:
    """Names with commas, after ``most`` of them their number.

    >>> listed(["a", "b", "c"], most=2)
    'a, b, ... (3 in all)'
    """
    more = "" if most is None or len(names) <= most else f", ... ({len(names)} in all)"
    return f"{', '.join(names[:most])}{more}"
