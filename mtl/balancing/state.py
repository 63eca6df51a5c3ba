"""States of balancing methods as data: the rows of some tasks, plain containers, devices.

A state is a named tuple (or None) whose fields are tensors, numbers or named tuples. Fields annotated
``PerTask`` or ``PerPair`` have that many leading task axes.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, get_type_hints

import torch
from torch import Tensor


@cache
def _task_axes(kind: type) -> dict[str, int]:
    hints = get_type_hints(kind, include_extras=True)
    return {name: getattr(hint, "__metadata__", (0,))[0] for name, hint in hints.items()}


def is_state(value: object) -> bool:
    """Whether the value is a named tuple."""
    return isinstance(value, tuple) and hasattr(value, "_fields")


def take(state: Any, places: Tensor) -> Any:
    """The state of the tasks at ``places`` alone.

    >>> from typing import NamedTuple
    >>> from mtl.balancing.method import PerTask
    >>> class Example(NamedTuple):
    ...     scale: PerTask
    ...     step: int
    >>> take(Example(torch.tensor([1., 2., 3.]), 7), torch.tensor([0, 2]))
    Example(scale=tensor([1., 3.]), step=7)
    """

    def rows(value: Any, axes: int) -> Any:
        if axes and _everyone(places, len(value)):
            return value  # methods write to no state, so nothing needs to be copied
        for axis in range(axes):
            value = value.index_select(axis, places.to(value.device))
        return value

    return _each(state, rows)


def put(state: Any, places: Tensor, new: Any) -> Any:
    """``new`` (the state of the tasks at ``places``) written into a copy of the whole state."""
    if not is_state(state):
        return new
    fields = []
    for name, old, value in zip(state._fields, state, new, strict=True):
        axes = _task_axes(type(state)).get(name, 0)  # type: ignore[arg-type]  # mypy: a class is no Hashable
        if is_state(old):
            value = put(old, places, value)
        elif axes and not _everyone(places, len(old)):
            at = places.to(old.device)
            where = (at,) if axes == 1 else (at[:, None], at)
            value = old.to(value.dtype, copy=True).index_put_(where, value.to(old.device))
        fields.append(value)
    return type(state)._make(fields)


def shares(weights: Tensor) -> Tensor:
    """Weights [T] >= 0 of the tasks that take part, as shares of one; equal where all the weight is with absent tasks.

    >>> shares(torch.tensor([1.0, 3.0])), shares(torch.tensor([0.0, 0.0]))
    (tensor([0.2500, 0.7500]), tensor([0.5000, 0.5000]))
    """
    total = weights.sum()
    return weights / total if total > 0 else torch.full_like(weights, 1 / len(weights))


def move(state: Any, device: torch.device) -> Any:
    """The state with its tensors on ``device``."""
    return _each(state, lambda value, _: value.to(device) if isinstance(value, Tensor) else value)


def to_plain(state: Any) -> Any:
    """The state as dictionaries of tensors (copies) and numbers, which ``torch.load`` reads without pickled code."""
    if is_state(state):
        return {name: to_plain(value) for name, value in zip(state._fields, state, strict=True)}
    return state.detach().clone() if isinstance(state, Tensor) else state


def from_plain(template: Any, plain: Any, where: str) -> Any:
    """The inverse of :func:`to_plain`; ``template`` is a fresh state, which gives the structure and the shapes."""
    if is_state(template):
        names = set(plain) if isinstance(plain, dict) else set()
        if names != set(template._fields):
            raise ValueError(f"{where} must have the fields {list(template._fields)}, got {sorted(names)}")
        fields = (
            from_plain(old, plain[name], f"{where}.{name}")
            for name, old in zip(template._fields, template, strict=True)
        )
        return type(template)._make(fields)
    if isinstance(template, Tensor):
        if not isinstance(plain, Tensor) or plain.shape != template.shape:
            got = tuple(plain.shape) if isinstance(plain, Tensor) else type(plain).__name__
            raise ValueError(f"{where} must have the shape {tuple(template.shape)}, got {got}")
        return plain.detach().clone()
    if type(plain) is not type(template):
        raise ValueError(f"{where} must be of type {type(template).__name__}, got {type(plain).__name__}")
    return plain


def _everyone(places: Tensor, total: int) -> bool:
    """Whether all tasks take part: places are in order."""
    return len(places) == total


def _each(state: Any, change: Callable[[Any, int], Any]) -> Any:
    if not is_state(state):
        return state
    axes = _task_axes(type(state))  # type: ignore[arg-type]  # as above
    return type(state)._make(
        _each(value, change) if is_state(value) else change(value, axes.get(name, 0))
        for name, value in zip(state._fields, state, strict=True)
    )
