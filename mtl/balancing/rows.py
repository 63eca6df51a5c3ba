"""The [T, P] buffer of per-task gradients: allocated once, filled from ``.grad``, read as views of the parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Parameters = Sequence[nn.Parameter]


class Rows:
    """Per-task gradients of some parameters as rows of one buffer, kept from step to step.

    The buffer is float64 if a parameter is, else float32 (also for half-precision parameters), and its columns
    follow the parameters' order, each in the order of its memory.
    """

    def __init__(self) -> None:
        self._layout: tuple[object, ...] = ()
        self._buffer = torch.empty(0, 0)
        self._views: list[list[Tensor]] = []
        self._parameters: Parameters = ()
        self._reached: list[bool] = []

    def open(self, tasks: int, parameters: Parameters) -> None:
        """Make room for the gradients of ``tasks`` losses by ``parameters``; forgets what the buffer held."""
        layout = tuple((p.shape, p.stride(), p.dtype, p.device) for p in parameters)
        self._parameters, self._reached = tuple(parameters), [False] * len(parameters)
        if layout == self._layout and tasks <= self._buffer.shape[0]:
            return
        self._layout = layout
        dtype = torch.float64 if any(p.dtype == torch.float64 for p in parameters) else torch.float32
        device = parameters[0].device if parameters else torch.device("cpu")
        self._buffer = torch.empty(tasks, sum(p.numel() for p in parameters), dtype=dtype, device=device)
        starts = self.starts()
        self._views = [
            [_view(row, start, p) for start, p in zip(starts, parameters, strict=False)]
            for row in self._buffer
        ]

    def __getitem__(self, rows: slice | list[int]) -> Tensor:
        return self._buffer[rows]

    def starts(self) -> list[int]:
        """The first column of each parameter, and at the end the number of columns."""
        starts = [0]
        for parameter in self._parameters:
            starts.append(starts[-1] + parameter.numel())
        return starts

    @torch.no_grad()
    def take_gradients(self, row: int, *, add: bool = False) -> None:
        """Move every ``.grad`` of the parameters into the row (or add it), and set it to None."""
        self.put(row, [parameter.grad for parameter in self._parameters], add=add)
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def put(self, row: int, gradients: Sequence[Tensor | None], *, add: bool = False) -> None:
        """Copy (or add) gradients, one a parameter, into the row; None is zero."""
        targets, sources = [], []
        for place, (gradient, view) in enumerate(zip(gradients, self._views[row], strict=True)):
            if gradient is None:
                if not add:
                    view.zero_()
                continue
            self._reached[place] = True
            targets.append(view)
            sources.append(gradient.to_dense() if gradient.layout != torch.strided else gradient)
        if targets and add:
            torch._foreach_add_(targets, [s.to(t.dtype) for s, t in zip(sources, targets, strict=True)])
        elif targets:
            torch._foreach_copy_(targets, sources)

    def clear(self) -> None:
        """Set all rows to zero."""
        self._buffer.zero_()

    @torch.no_grad()
    def write(self, direction: Tensor) -> None:
        """Add ``direction`` [P] to ``.grad``; a parameter that no loss reached keeps its own."""
        starts = self.starts()
        for parameter, start, reached in zip(self._parameters, starts, self._reached, strict=False):
            if reached:
                part = _view(direction, start, parameter)
                accumulate(parameter, part.to(device=parameter.device, dtype=parameter.dtype))


def accumulate(parameter: nn.Parameter, gradient: Tensor) -> None:
    """Add to ``.grad`` as a backward pass does."""
    if parameter.grad is None:
        parameter.grad = gradient
    else:
        parameter.grad += gradient


@contextmanager
def gradients_set_aside(parameters: Parameters) -> Iterator[None]:
    """``.grad`` is None inside, and afterwards what it was."""
    before = [parameter.grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in zip(parameters, before, strict=True):
            parameter.grad = gradient


def _view(row: Tensor, start: int, parameter: Tensor) -> Tensor:
    """The part of ``row`` [P] from ``start``, with the parameter's shape and, where it is dense, its strides."""
    part = row[start : start + parameter.numel()]
    if parameter.numel() and torch.empty_like(parameter, device="meta").stride() == parameter.stride():
        return part.as_strided(parameter.shape, parameter.stride(), part.storage_offset())
    return part.view(parameter.shape)
