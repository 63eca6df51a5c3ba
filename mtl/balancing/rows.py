"""The [T, P] buffer of per-task gradients: allocated once, filled from ``.grad``, read as views of the parameters."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

Parameters = Sequence[nn.Parameter]


class Rows:
    """Per-task gradients of some parameters as rows of one buffer, kept from step to step.

    The buffer is float64 if a parameter is, else float32 (also for half-precision parameters), and its columns
    follow the parameters' order, each in the order of its memory.
    """

    def __init__(self) -> None:
        self._layout: tuple[object, ...]
        self._buffer: Tensor
        self._views: list[list[Tensor]]
        self._extra: list[Tensor]
        self.forget()
        self._parameters: Parameters = ()
        self.reached: list[bool] = []

    def open(
        self,
        tasks: int,
        parameters: Parameters,
        extra: Sequence[tuple[int, int]] = (),
        like: Sequence[Tensor] = (),
    ) -> None:
        """Make room for the gradients of ``tasks`` losses by ``parameters``; forgets what the buffer held.

        Behind them come ``extra`` matrices of these shapes a task (see `extra`), whose own precision and device are
        those of ``like``.
        """
        kinds = [*parameters, *like]
        dtype, device = rows_dtype(kinds), kinds[0].device if kinds else torch.device("cpu")
        layout = (dtype, device, *extra, *((p.shape, p.stride()) for p in parameters))
        self._parameters, self.reached = tuple(parameters), [False] * (len(parameters) + len(extra))
        if layout == self._layout and tasks <= self._buffer.shape[0]:
            return
        self.forget()
        self._layout = layout
        starts = self._starts = list(itertools.accumulate((p.numel() for p in parameters), initial=0))
        ends = list(itertools.accumulate((n * m for n, m in extra), initial=starts[-1]))
        self._buffer = torch.empty(tasks, ends[-1], dtype=dtype, device=device)
        self._extra = [
            self._buffer[:, start:end].unflatten(1, shape)
            for shape, (start, end) in zip(extra, itertools.pairwise(ends), strict=True)
        ]
        self._views = [
            [_view(row, start, p) for start, p in zip(starts, parameters, strict=False)]
            + [matrices[k] for matrices in self._extra]
            for k, row in enumerate(self._buffer)
        ]

    def forget(self) -> None:
        """Let go of the memory."""
        self._layout, self._buffer, self._views, self._extra = (), torch.empty(0, 0), [], []
        self._starts = [0]  # the first column of each parameter, and at the end the number of columns

    def __getitem__(self, rows: slice | list[int]) -> Tensor:
        return self._buffer[rows, : self._starts[-1]]

    def whole(self, tasks: int) -> Tensor:
        """The rows [T, N] with the extra matrices in them."""
        return self._buffer[:tasks]

    def extra(self, tasks: int) -> list[Tensor]:
        """The extra matrices, [T, n, m] each."""
        return [matrices[:tasks] for matrices in self._extra]

    @contextmanager
    def receive(self, *, add: bool = False) -> Iterator[Callable[[int], AbstractContextManager[None]]]:
        """Inside, ``with into(row):`` moves each gradient that a backward pass finishes into the row (or adds it).

        At once, layer by layer: while it is in the cache, and so that no second copy of all gradients ever exists.
        ``.grad`` of the parameters must be None, and stays so.
        """
        row, filled = 0, set[int]()

        def hook(place: int) -> Callable[[Tensor], None]:
            def move(parameter: Tensor) -> None:
                gradient, parameter.grad = parameter.grad, None
                if gradient is None:
                    return
                if gradient.layout != torch.strided:
                    gradient = gradient.to_dense()
                view = self._views[row][place]
                if add or place in filled:  # a re-entrant checkpoint finishes a parameter more than once
                    view.add_(gradient)
                else:
                    view.copy_(gradient)
                filled.add(place)

            return move

        @contextmanager
        def into(chosen: int) -> Iterator[None]:
            nonlocal row
            row = chosen
            filled.clear()
            yield
            for place, view in enumerate(self._views[row]):
                if place in filled:
                    self.reached[place] = True
                elif not add:
                    view.zero_()

        handles = [
            parameter.register_post_accumulate_grad_hook(hook(place))
            for place, parameter in enumerate(self._parameters)
        ]
        try:
            yield into
        finally:
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def put(self, row: int, gradients: Sequence[Tensor | None]) -> None:
        """Copy gradients, one a parameter (and one an extra matrix), into the row; None is zero."""
        for place, (gradient, view) in enumerate(zip(gradients, self._views[row], strict=True)):
            if gradient is None:
                view.zero_()
            else:
                self.reached[place] = True
                view.copy_(gradient)

    def clear(self) -> None:
        """Set all rows to zero."""
        self._buffer.zero_()

    @torch.no_grad()
    def write(self, direction: Tensor) -> None:
        """Add ``direction`` [P] to ``.grad``; a parameter that no loss reached keeps its own."""
        for parameter, start, reached in zip(self._parameters, self._starts, self.reached, strict=False):
            if reached:
                part = _view(direction, start, parameter)
                accumulate(parameter, part.to(device=parameter.device, dtype=parameter.dtype))


def rows_dtype(parameters: Sequence[Tensor]) -> torch.dtype:
    """That of rows of the gradients of ``parameters``: float64 if one is, else float32."""
    return torch.float64 if any(p.dtype == torch.float64 for p in parameters) else torch.float32


def accumulate(parameter: nn.Parameter, gradient: Tensor) -> None:
    """Add to ``.grad`` as a backward pass does: in the parameter's own memory format."""
    if parameter.grad is None:
        same = gradient.stride() == parameter.stride()
        parameter.grad = gradient if same else torch.empty_like(parameter).copy_(gradient)
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
