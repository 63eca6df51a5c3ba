"""The way from losses to gradients: per-task gradients of the shared parameters, and back into ``.grad``.

Why plain ``backward`` calls with ``.grad`` set aside, and not ``torch.autograd.grad``: a backward pass reaches
everything that ``loss.backward()`` reaches (heads, loss parameters, leaves that nobody listed), works through
re-entrant checkpointing, and gives the heads their gradients on the way through to the trunk.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mtl.balancing.gramian import weighted_sum

Parameters = Sequence[nn.Parameter]


def backward_weighted(losses: Sequence[Tensor], weights: Tensor) -> None:
    """Add the gradient of sum_t weights[t] losses[t] to ``.grad``, in one backward pass.

    With weights of one this is ``sum(losses).backward()`` to the bit: the same graph, entered with the same ones.
    """
    seeds = [weight.to(loss) for weight, loss in zip(weights, losses, strict=True)]
    torch.autograd.backward(list(losses), seeds)


class TaskGradients:
    """Per-task gradients of the shared parameters as rows of one [T, P] buffer, allocated once.

    The buffer is float64 if a parameter is, else float32 (also for half-precision parameters), and its columns
    follow the parameters' order, each in the order of its memory. ``collect`` fills it and leaves every ``.grad``
    as it was; ``write`` then adds a direction and the collected gradients of the heads. Between the two a caller
    may fail without a trace.
    """

    def __init__(self) -> None:
        self._layout: tuple[object, ...] = ()
        self._buffer = torch.empty(0, 0)
        self._views: list[list[Tensor]] = []
        self._shared: Parameters = ()
        self._heads: Parameters = ()
        self._reached: list[bool] = []
        self._head_gradients: list[Tensor | None] = []

    def collect(
        self,
        losses: Sequence[Tensor],
        shared: Parameters,
        heads: Parameters | None,
        *,
        retain_graph: bool = False,
    ) -> Tensor:
        """Gradients of the losses with respect to the shared parameters: rows [T, P], valid until the next call.

        T backward passes; only the last frees the graph. ``heads`` are the other parameters, whose gradients are
        kept for ``write``; with ``heads=None`` nothing but the shared parameters is differentiated.
        """
        _refuse_hooks([*shared, *(heads or ())])
        self._allocate(len(losses), shared)
        self._shared, self._heads = tuple(shared), tuple(heads or ())
        self._reached = [False] * len(shared)
        inputs = list(shared) if heads is None else None
        with _gradients_set_aside([*self._shared, *self._heads]):
            for row, loss in enumerate(losses):
                loss.backward(retain_graph=retain_graph or row + 1 < len(losses), inputs=inputs)
                self._store(row)
            self._head_gradients = [parameter.grad for parameter in self._heads]
        return self._buffer[: len(losses)]

    @torch.no_grad()
    def write(self, direction: Tensor) -> None:
        """Add ``direction`` [P] and the heads' gradients to ``.grad``; parameters that no loss reached keep theirs."""
        parts = [_view(direction, start, p) for start, p in zip(self._starts(), self._shared, strict=True)]
        for parameter, part, reached in zip(self._shared, parts, self._reached, strict=True):
            if reached:
                _accumulate(parameter, part.to(device=parameter.device, dtype=parameter.dtype))
        for parameter, gradient in zip(self._heads, self._head_gradients, strict=True):
            if gradient is not None:
                _accumulate(parameter, gradient)
        self._head_gradients = [None] * len(self._heads)

    def _allocate(self, tasks: int, shared: Parameters) -> None:
        layout = tuple((p.shape, p.stride(), p.dtype, p.device) for p in shared)
        if layout == self._layout and tasks <= self._buffer.shape[0]:
            return
        self._layout, self._shared = layout, tuple(shared)
        dtype = torch.float64 if any(p.dtype == torch.float64 for p in shared) else torch.float32
        device = shared[0].device if shared else torch.device("cpu")
        self._buffer = torch.empty(tasks, sum(p.numel() for p in shared), dtype=dtype, device=device)
        starts = self._starts()
        self._views = [
            [_view(row, start, p) for start, p in zip(starts, shared, strict=True)] for row in self._buffer
        ]

    def _starts(self) -> list[int]:
        starts, at = [], 0
        for parameter in self._shared:
            starts.append(at)
            at += parameter.numel()
        return starts

    def _store(self, row: int) -> None:
        targets, gradients = [], []
        for place, (parameter, view) in enumerate(zip(self._shared, self._views[row], strict=True)):
            gradient = parameter.grad
            if gradient is None:
                view.zero_()
                continue
            self._reached[place] = True
            targets.append(view)
            gradients.append(gradient.to_dense() if gradient.layout != torch.strided else gradient)
            parameter.grad = None
        if targets:
            torch._foreach_copy_(targets, gradients)


def _view(row: Tensor, start: int, parameter: Tensor) -> Tensor:
    """The part of ``row`` [P] from ``start``, with the parameter's shape and, where it is dense, its strides."""
    part = row[start : start + parameter.numel()]
    if parameter.numel() and torch.empty_like(parameter, device="meta").stride() == parameter.stride():
        return part.as_strided(parameter.shape, parameter.stride(), part.storage_offset())
    return part.view(parameter.shape)


def _accumulate(parameter: nn.Parameter, gradient: Tensor) -> None:
    if parameter.grad is None:
        parameter.grad = gradient
    else:
        parameter.grad += gradient


@contextmanager
def _gradients_set_aside(parameters: Parameters) -> Iterator[None]:
    before = [parameter.grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in zip(parameters, before, strict=True):
            parameter.grad = gradient


def _refuse_hooks(parameters: Parameters) -> None:
    """An optimizer that steps inside backward would step once a task, with the gradient of that task alone."""
    if any(getattr(parameter, "_post_accumulate_grad_hooks", None) for parameter in parameters):
        raise ValueError(
            "a parameter has a post-accumulate-grad hook (an optimizer that steps inside backward?); "
            "balancing by gradients would fire it once a task: remove it, or use a balancer that needs only losses"
        )


def combine_rows(weights: Tensor | None, direction: Tensor | None, rows: Tensor) -> Tensor:
    """The direction [P] of an answer: its own, or its weights times the rows."""
    return weighted_sum(weights, rows) if weights is not None else _given(direction, rows)


def _given(direction: Tensor | None, rows: Tensor) -> Tensor:
    if direction is None or direction.shape != rows.shape[1:]:
        got = None if direction is None else tuple(direction.shape)
        raise ValueError(
            f"a balancing method must answer weights, or a direction of shape {tuple(rows.shape[1:])}; got {got}"
        )
    return direction.to(rows)
