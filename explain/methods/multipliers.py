"""DeepLIFT's multipliers: how a change of a function's output is shared among its operands, by kind of function.

Each rule gets a call of the pass that goes back, at the baseline, and the operands of the same call at the input. It
gives the value at the baseline with a backward pass by multipliers m, such that sum(m * change of operand) = change of
output for each output element: what adds up in each step adds up in the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from explain.rules.functions import quotient, tensors_in
from explain.rules.intercept import Call

Multiplier = Callable[[Call, list[Tensor]], Any]


class _Through(torch.autograd.Function):
    """Another value forward, the gradient as it is backward. The value comes in a list, to be no operand."""

    @staticmethod
    def forward(_ctx: Any, _operand: Tensor, value: list[Tensor]) -> Tensor:
        return value[0]

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class _Times(torch.autograd.Function):
    """A value forward, the gradient times a multiplier backward."""

    @staticmethod
    def forward(ctx: Any, _operand: Tensor, value: list[Tensor], multiplier: Tensor) -> Tensor:
        ctx.multiplier = multiplier
        return value[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0] * ctx.multiplier, None, None


class _Shared(torch.autograd.Function):
    """A value of two operands forward; backward the gradient times a multiplier for each."""

    @staticmethod
    def forward(
        ctx: Any, one: Tensor, other: Tensor, value: list[Tensor], multipliers: list[Tensor]
    ) -> Tensor:
        ctx.shapes, ctx.multipliers = (one.shape, other.shape), multipliers
        return value[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        one, other = (
            (gradients[0] * m).sum_to_size(shape)
            for m, shape in zip(ctx.multipliers, ctx.shapes, strict=True)
        )
        return one, other, None, None


class _Given(torch.autograd.Function):
    """A value forward; backward the gradient times a multiplier, to the place in the last dimension that won."""

    @staticmethod
    def forward(ctx: Any, operand: Tensor, value: list[Tensor], multiplier: Tensor, place: Tensor) -> Tensor:
        ctx.multiplier, ctx.place, ctx.shape = multiplier, place, operand.shape
        return value[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        shares = (gradients[0].reshape(ctx.place.shape) * ctx.multiplier).contiguous()
        out = shares.new_zeros(ctx.shape).scatter_add_(-1, ctx.place, shares)
        return out, None, None, None


def rescale(call: Call, others: list[Tensor]) -> Tensor:
    """The Rescale rule, (f(x) - f(b)) / (x - b), for functions of single elements.

    Where x and b are near each other, their difference has lost its digits; the slope at both lies then near the
    quotient, and bounds it. ReLU needs no such care: its quotient is exact wherever it is defined.
    """
    low, high = call.active[0].detach(), others[0]
    with torch.no_grad():
        at_low, at_high = call.run(low), call.run(high)
        multiplier = (at_high - at_low) / (high - low)
        if call.kind == "relu":
            near = high == low
        else:
            digits = torch.finfo(low.dtype).eps ** (1 / 3)
            near = ~(
                (high - low).abs() > digits * torch.maximum(high.abs(), low.abs())
            )  # NaN (inf - inf) is near
    if near.any():
        multiplier = _bounded(call, low, high, multiplier, near)
    return _Times.apply(call.active[0], [at_low], multiplier)


def _bounded(call: Call, low: Tensor, high: Tensor, multiplier: Tensor, near: Tensor) -> Tensor:
    """The multiplier, between the slopes at both ends where they are near."""
    alone = (
        sum(1 for _ in tensors_in((call.args, call.kwargs))) == 1
    )  # no slope for each channel, as PReLU has
    ends = (low[near], high[near]) if alone else (low, high)
    first, second = (_slope(call, end) for end in ends)
    quotient = multiplier[near] if alone else multiplier
    between = torch.minimum(
        torch.maximum(quotient, torch.minimum(first, second)), torch.maximum(first, second)
    )
    between = torch.where(quotient.isfinite(), between, (first + second) / 2)
    return multiplier.masked_scatter(near, between) if alone else torch.where(near, between, multiplier)


def _slope(call: Call, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        found = torch.autograd.grad(call.run(x).sum(), x)[0]
    return found.nan_to_num(0.0, 0.0, 0.0)  # a root at zero: nothing changes there


def share(call: Call, others: list[Tensor]) -> Tensor:
    """A bilinear function of two activations: each passes the other's mean of input and baseline.

    a b - a0 b0 = (a - a0) (b + b0) / 2 + (b - b0) (a + a0) / 2, the Shapley values of two factors. That is the
    function's own backward pass at the means.
    """
    means = [
        _Through.apply(low, [(low.detach() + high) / 2])
        for low, high in zip(call.active, others, strict=True)
    ]
    with torch.enable_grad():
        out = call.run(*means)
    with torch.no_grad():
        value = call.run(*(low.detach() for low in call.active))
    return _Through.apply(out, [value])


def divide(call: Call, others: list[Tensor]) -> Tensor:
    """q = x / y, as the inverse of the product x = q y, which is shared evenly.

    x - x0 = (q - q0) (y + y0) / 2 + (y - y0) (q + q0) / 2, solved for q - q0. The even share of x * (1 / y) would be
    exact too, but grows without bound where y0 is near zero: where what is normalised is constant at the baseline. It
    is used where y changes its sign. A constant divided by y is a function of y alone.
    """
    if len(call.active) == 1:
        return rescale(call, others)
    pair = [tensor.detach() for tensor in call.active]
    with torch.no_grad():
        (x0, y0), (x, y) = (quotient(call.name, *call.arguments(*operands)) for operands in (pair, others))
        value, same = call.run(*pair), y * y0 > 0
        to_x = torch.where(same, 2 / (y + y0), (1 / y + 1 / y0) / 2)
        to_y = torch.where(same, -(x / y + x0 / y0) / (y + y0), -(x + x0) / (2 * y * y0))
    return _Shared.apply(*call.active, [value], [to_y, to_x] if call.name == "rdiv" else [to_x, to_y])


def winner(call: Call, others: list[Tensor]) -> Any:
    """Max pooling and maxima: the change goes to one place.

    If the maximum rises, to the place that holds it at the input; if it falls, to the one that held it at the baseline.
    So 0 <= multiplier <= 1, and the change of the output is all given away.
    """
    operand = call.active[0]
    with torch.no_grad():
        low, at_low, first = _maxima(call, operand.detach())
        high, at_high, second = _maxima(call, others[0])
        rises = at_high >= at_low
        place = torch.where(rises, second, first)
        step = torch.where(rises, at_high - low.gather(-1, second), high.gather(-1, first) - at_low)
        multiplier = torch.where(step == 0, 1.0, (at_high - at_low) / step)
        value = call.run(operand.detach())
    whole = isinstance(value, Tensor)
    out = _Given.apply(_windows(call, operand), [value if whole else value[0]], multiplier, place)
    return out if whole else (out, value[1]) if "pool" in call.name else type(value)((out, value[1]))


def _maxima(call: Call, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(x with all places in the last dimension, maxima, their places there)."""
    flat = _windows(call, x)
    if "pool" not in call.name:
        value, place = flat.max(dim=-1, keepdim=True)
        return flat, value, place
    name = call.name.removesuffix("_with_indices")
    options = {key: value for key, value in call.kwargs.items() if key not in {"input", "return_indices"}}
    own = call.args[1 : 2 if name.startswith("adaptive") else 6]  # before return_indices
    value, place = getattr(F, f"{name}_with_indices")(x, *own, **options)
    places = -int(name[-2])
    return flat, value.flatten(places), place.flatten(places)


def _windows(call: Call, x: Tensor) -> Tensor:
    """x with the dimensions that the maximum is taken over as the last one."""
    if "pool" in call.name:
        return x.flatten(-int(call.name.removesuffix("_with_indices")[-2]))
    dim = call.argument(1, "dim", ())
    dims = [dim] if isinstance(dim, int) else list(dim) or list(range(x.dim()))
    return x.movedim(dims, list(range(-len(dims), 0))).flatten(-len(dims))


def log_of_sums(call: Call, others: list[Tensor]) -> Tensor:
    """log(sum(exp(x))): the Rescale rule for exp and for log, of numbers scaled so that none overflows."""
    dim, keep = call.argument(1, "dim"), call.argument(2, "keepdim", False)
    low, high = call.active[0].detach(), others[0]
    with torch.no_grad():
        top = torch.maximum(low.amax(dim, keepdim=True), high.amax(dim, keepdim=True))
        sums = [(x - top).exp().sum(dim, keepdim=True) for x in (low, high)]
        logs = [torch.logsumexp(x, dim, keepdim=True) for x in (low, high)]
        change, largest = sums[1] - sums[0], torch.maximum(*sums)
        near = change.abs() <= torch.finfo(low.dtype).eps ** (1 / 3) * largest
        outer = torch.where(near, 2 / (sums[0] + sums[1]), (logs[1] - logs[0]) / change)
        step = (high - low).abs()
        inner = (torch.maximum(low, high) - top).exp() * torch.where(
            step > 0, -torch.expm1(-step) / step, 1.0
        )
        multiplier = outer * inner.nan_to_num(0.0)  # both -inf, behind a mask
        value = call.run(low)
    out = _Times.apply(call.active[0], [low], multiplier).sum(dim, keepdim=keep)
    return _Through.apply(out, [value])


MULTIPLIERS: dict[str, Multiplier] = {
    "relu": rescale,
    "clipped_relu": rescale,
    "elementwise": rescale,
    "product": share,
    "divide": divide,
    "max": winner,
    "logsumexp": log_of_sums,
}
