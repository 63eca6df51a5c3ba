"""Maps in any of their forms as {method: {task: [B, ...]}}, and the scale of their colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from explain.names import unknown
from explain.outputs import SINGLE

SCALES = {
    "row": "the tasks of an example share a colour scale (for each method)",
    "own": "each map has a colour scale of its own",
    "all": "all examples and tasks of a method share a colour scale",
}
Values = dict[str, dict[str, np.ndarray]]  # {method: {task: [B, ...]}}; a lone method is called ""


def nested(maps: object) -> dict[str, dict[str, Tensor]]:
    """{method: {task: map}} of a map, of {task: map}, or of {method: {task: map}}.

    Keys that are tuples (pairs of tasks) are joined.

    >>> nested({"gradient": {("a", "b"): torch.zeros(1, 2)}})
    {'gradient': {'a × b': tensor([[0., 0.]])}}
    """
    if isinstance(maps, Tensor):
        maps = {SINGLE: maps}
    if not isinstance(maps, Mapping) or not maps:
        got = "none" if isinstance(maps, Mapping) else type(maps).__name__
        raise TypeError(f"maps must be a tensor, {{task: map}} or {{method: {{task: map}}}}, got {got}")
    deep = [isinstance(value, Mapping) for value in maps.values()]
    if any(deep) and not all(deep):
        raise TypeError("maps must be {task: map} or {method: {task: map}}, not a mixture of both")
    if not all(deep):
        maps = {"": maps}
    found: dict[str, dict[str, Tensor]] = {}
    for method, of in maps.items():
        if not of:
            raise TypeError(f"the maps of method '{method}' are empty")
        for task, value in of.items():
            name = named(task)
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"the map of task '{name}' must be a tensor like the inputs, got {type(value).__name__}; "
                    "of a model with several inputs show one input's maps at a time"
                )
            if not torch.isfinite(value).all():
                raise ValueError(f"the map of task '{name}' holds NaN or infinite values")
            found.setdefault(named(method), {})[name] = value.detach().cpu()
    return found


def named(key: object) -> str:
    """What a key is called; a pair of tasks by both."""
    return " × ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def tasks_of(values: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Every task of any method, in order."""
    return list(dict.fromkeys(task for of in values.values() for task in of))


@dataclass(frozen=True)
class Scale:
    """Limits of the colours.

    Args:
        scale: one of `SCALES`.
        percentile: of the absolute values, where the colours end; 100: the largest.
        meaning: of red and blue.
    """

    scale: str
    percentile: float
    meaning: str

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise unknown("scale", self.scale, SCALES)
        if not 0 < self.percentile <= 100:
            raise ValueError(f"percentile must be in 0..100, got {self.percentile}")

    def limit(self, values: Mapping[str, np.ndarray], task: str, example: int) -> float:
        """The largest value shown in full colour, for one map of a method; 0 where all are zero."""
        shown = {
            "own": [values[task][example]],
            "row": [value[example] for value in values.values()],
            "all": list(values.values()),
        }[self.scale]
        amounts = np.concatenate([np.abs(value).ravel() for value in shown])
        amounts = amounts[~np.isnan(amounts)]  # padding
        return (
            (float(np.percentile(amounts, self.percentile)) or float(amounts.max())) if len(amounts) else 0.0
        )

    def words(self, tasks: int) -> str:
        """What a reader must know of the colours."""
        beyond = f", which ends at the {self.percentile:g}th percentile of the absolute values"
        which = SCALES["own" if tasks == 1 and self.scale == "row" else self.scale]
        return f"{self.meaning}; {which}{beyond if self.percentile < 100 else ''}."
