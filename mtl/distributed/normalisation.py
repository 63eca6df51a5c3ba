"""Batch normalisation over the joined batch: every process normalises with the statistics of all."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from mtl.distributed.ranks import Ranks, ranks


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) * weight + bias, with mean and var of all processes; and their gradients.

    Gradients of weight and bias are this process's own share, as those of any other parameter.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, box: list[Any]
    ) -> Tensor:
        together: Ranks = box[0]
        axes = [0, *range(2, x.dim())]
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        C, n = x.shape[1], x.numel() // max(x.shape[1], 1)
        mean, square = torch.zeros(2, C, dtype=torch.float64, device=x.device)
        if n:
            var, m = torch.var_mean(wide, axes, correction=0)
            mean, square = m.double(), var.double() + m.double() ** 2  # of sizes close to one another
        size = torch.full((1,), float(n), dtype=torch.float64, device=x.device)
        sums = together.sum(torch.cat([n * mean, n * square, size]))
        N = sums[-1]
        mean, square = sums[:C] / N, sums[C : 2 * C] / N
        var = (square - mean**2).clamp(min=0)
        box += [mean, var, float(N)]
        scale = (var + eps).rsqrt()
        shape = [1, C, *[1] * (x.dim() - 2)]
        hat = (wide - mean.to(wide).view(shape)) * scale.to(wide).view(shape)
        ctx.save_for_backward(hat, weight, scale)
        ctx.together, ctx.size, ctx.axes, ctx.view, ctx.dtype = together, float(N), axes, shape, x.dtype
        found = hat if weight is None else hat * weight.to(hat).view(shape)
        return (found if bias is None else found + bias.to(hat).view(shape)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None, None]:
        hat, weight, scale = ctx.saved_tensors
        gradient = gradient.to(hat.dtype)
        own_bias = gradient.sum(dim=ctx.axes)  # [C]
        own_weight = (gradient * hat).sum(dim=ctx.axes)
        both = ctx.together.sum(torch.stack([own_bias, own_weight]).double()) / ctx.size
        first, second = (part.to(hat).view(ctx.view) for part in both)
        factor = scale.to(hat) if weight is None else scale.to(hat) * weight.to(hat)
        found = ((gradient - first - hat * second) * factor.view(ctx.view)).to(ctx.dtype)
        needs = ctx.needs_input_grad
        return (
            found,
            own_weight.to(weight.dtype) if weight is not None and needs[1] else None,
            own_bias.to(weight.dtype) if weight is not None and needs[2] else None,
            None,
            None,
        )


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    together: Ranks,
) -> Tensor:
    """`torch.nn.functional.batch_norm` of the rows [B, C, *] of all processes."""
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    box: list[Any] = [together]
    found: Tensor = _Normalise.apply(x, weight, bias, eps, box)
    _, mean, var, N = box
    if N <= 1:
        raise ValueError(
            f"batch normalisation needs two values a channel or more over all processes, got {N:.0f}"
        )
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean), momentum)
        if running_var is not None:
            running_var.lerp_((var * N / (N - 1)).to(running_var), momentum)
    return found


class _Joined(TorchFunctionMode):
    """Inside, ``F.batch_norm`` is that of all processes: so any module that calls it keeps all else it does."""

    def __init__(self, together: Ranks) -> None:
        super().__init__()
        self.together = together

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        if function is F.batch_norm:
            with torch._C.DisableTorchFunction():
                return batch_norm(*args, **(kwargs or {}), together=self.together)
        return function(*args, **(kwargs or {}))


@contextmanager
def joined_batch_norm(model: nn.Module) -> Iterator[None]:
    """Inside, the BatchNorm modules of ``model`` normalise a training batch over all processes; alone, as ever.

    Each module's class is exchanged and afterwards put back, so that parameters, hooks and names stay. All processes
    must pass the model in the same order, also those without a row. Cost: one exchange of 2 C + 1 numbers a layer
    forward, 2 C a layer and backward pass. `mtl.fit` does this by itself. Compile a model before, not inside.

    >>> net = nn.BatchNorm1d(3)
    >>> with joined_batch_norm(net):
    ...     type(net).__name__     # nobody to join
    'BatchNorm1d'
    """
    together = ranks()
    before: list[tuple[nn.Module, type[nn.Module]]] = []
    try:
        for module in model.modules() if together is not None else ():
            if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
                before.append((module, type(module)))
                module.__class__ = _joined_class(type(module), together)
        yield
    finally:
        for module, kind in before:
            module.__class__ = kind


def _joined_class(kind: Any, together: Ranks | None) -> Any:
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        assert together is not None
        with _Joined(together):
            return kind.forward(self, *args, **kwargs)

    if (
        "torch._dynamo" in sys.modules
    ):  # a compiled model runs this part as it is: it talks to other processes
        forward = torch.compiler.disable(forward)
    return type(f"Joined{kind.__name__}", (kind,), {"forward": forward})
