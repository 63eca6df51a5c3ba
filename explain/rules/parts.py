"""Softmax, normalisation, attention and the like, taken apart into the functions they are made of.

Each is a rule (`explain.rules.intercept.Rule`) that gives the function's value by sums, products and functions of
single elements, which are intercepted in their turn. So a set of rules for those covers these too, and what holds of
each step exactly (summation to delta) holds of the whole.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from explain.rules.functions import quotient
from explain.rules.intercept import Call, Rule
from explain.rules.recurrent import recurrent


def softmax(call: Call) -> Any:
    """exp(x - logsumexp(x)), or without the exponential for log_softmax: no sum of exponentials can overflow."""
    x, dim = call.args[0], call.argument(1, "dim")
    if dim is None:  # F.softmax's habit, of which it warns
        dim = 0 if x.dim() in (0, 1, 3) else 1

    def parts(x: Tensor) -> Tensor:
        dtype = call.kwargs.get("dtype")
        x = x if dtype is None else x.to(dtype)
        below = x - torch.logsumexp(x, dim, keepdim=True)
        return below if call.name == "log_softmax" else below.exp()

    return call.inside(parts, x)


def divide(call: Call) -> Any:
    """x / y as x * (1 / y)."""
    above, below = quotient(call.name, call.args, call.kwargs)
    return call.inside(lambda: below.reciprocal() * above)


def larger(call: Call) -> Any:
    """The larger of two tensors, as a maximum over a new dimension."""

    def parts(one: Tensor, other: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(one.shape, other.shape)
        return torch.stack([one.expand(shape), other.expand(shape)], dim=-1).amax(-1)

    return call.inside(parts, call.args[0], call.argument(1, "other"))


def smaller(call: Call) -> Any:
    """Minima, as maxima of what is negated."""
    x, other = call.args[0], call.argument(1, "other")

    def parts(x: Tensor) -> Any:
        if isinstance(other, Tensor):
            return -torch.maximum(-x, -other)
        if call.name == "amin":
            return -(-x).amax(call.argument(1, "dim", ()), call.argument(2, "keepdim", False))
        if call.argument(1, "dim") is None:
            return -(-x).max()
        value, place = (-x).max(call.argument(1, "dim"), call.argument(2, "keepdim", False))
        return torch.return_types.min((-value, place))

    return call.inside(parts, x)


def similarity(call: Call) -> Any:
    """The cosine of two vectors, and their Euclidean distance."""
    if call.name == "cosine_similarity":
        dim, eps = call.argument(2, "dim", 1), call.argument(3, "eps", 1e-8)

        def cosine(one: Tensor, other: Tensor) -> Tensor:
            lengths = [(x * x).sum(dim).sqrt().clamp_min(eps) for x in (one, other)]
            return (one * other).sum(dim) / (lengths[0] * lengths[1])

        return call.inside(cosine, call.argument(0, "x1"), call.argument(1, "x2"))
    if call.argument(2, "p", 2.0) != 2:
        return call.refused()
    eps, keep = call.argument(3, "eps", 1e-6), call.argument(4, "keepdim", False)

    def distance(one: Tensor, other: Tensor) -> Tensor:
        step = one - other + eps
        return (step * step).sum(-1, keepdim=keep).sqrt()

    return call.inside(distance, call.argument(0, "x1"), call.argument(1, "x2"))


def gated(call: Call) -> Any:
    """GLU: one half times the sigmoid of the other."""

    def parts(x: Tensor) -> Tensor:
        value, gate = x.chunk(2, call.argument(1, "dim", -1))
        return value * gate.sigmoid()

    return call.inside(parts, call.args[0])


def attention(call: Call) -> Any:
    """Scaled dot products: softmax(q k^T scale + mask) v."""
    mask, drop, causal = (
        call.argument(*a) for a in ((3, "attn_mask"), (4, "dropout_p", 0.0), (5, "is_causal", False))
    )
    if drop:
        return call.refused()

    def parts(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if call.kwargs.get("enable_gqa"):
            groups = query.shape[-3] // key.shape[-3]
            key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
        scale = call.kwargs.get("scale")
        scores = query * (query.shape[-1] ** -0.5 if scale is None else scale) @ key.transpose(-2, -1)
        if causal:
            allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            scores = scores.masked_fill(~allowed, -torch.inf)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        return torch.softmax(scores, -1) @ value

    return call.inside(parts, *(call.argument(i, name) for i, name in enumerate(("query", "key", "value"))))


def normalised(call: Call) -> Any:
    """Layer, group, instance and RMS norm: centred (but for RMS), divided by the root of the mean square, affine."""
    x = call.args[0]
    if call.name == "instance_norm":
        weight, bias, eps = (
            call.argument(3, "weight"),
            call.argument(4, "bias"),
            call.argument(7, "eps", 1e-5),
        )
        shape, dims = x.shape, tuple(range(2, x.dim()))
    elif call.name == "group_norm":
        weight, bias, eps = (
            call.argument(2, "weight"),
            call.argument(3, "bias"),
            call.argument(4, "eps", 1e-5),
        )
        shape, dims = (x.shape[0], call.argument(1, "num_groups"), -1), (2,)
    else:
        rms = call.name == "rms_norm"
        weight, bias = call.argument(2, "weight"), None if rms else call.argument(3, "bias")
        eps = call.argument(3 if rms else 4, "eps", None if rms else 1e-5)
        dims = tuple(range(x.dim() - len(call.argument(1, "normalized_shape")), x.dim()))
        shape = x.shape
    eps = torch.finfo(x.dtype).eps if eps is None else eps

    def parts(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        grouped = x.reshape(shape)
        if call.name != "rms_norm":
            grouped = grouped - grouped.mean(dims, keepdim=True)
        size = (grouped * grouped).mean(dims, keepdim=True)
        out = (grouped / (size + eps).sqrt()).reshape(x.shape)
        if call.name in {"group_norm", "instance_norm"}:  # one weight a channel, dimension 1
            channels = (-1, *[1] * (x.dim() - 2))
            weight, bias = (None if p is None else p.reshape(channels) for p in (weight, bias))
        out = out if weight is None else out * weight
        return out if bias is None else out + bias

    return call.inside(parts, x, weight, bias)


def moment(call: Call) -> Any:
    """Euclidean and absolute norms, standard deviation and variance."""
    x = call.args[0]
    if call.name != "norm":
        return _spread(call, x)
    order, dim, keep = (
        call.argument(1, "p", call.kwargs.get("ord", 2)),
        call.argument(2, "dim"),
        call.argument(3, "keepdim", False),
    )
    matrix = call.func is torch.linalg.norm and order is not None
    if matrix or order not in (1, 2, "fro", None):
        return call.refused()
    dims = tuple(range(x.dim())) if dim is None else dim

    def parts(x: Tensor) -> Tensor:
        if order == 1:
            return x.abs().sum(dims, keepdim=keep)
        return (x * x).sum(dims, keepdim=keep).sqrt()

    return call.inside(parts, x)


def _spread(call: Call, x: Tensor) -> Any:
    dim, unbiased = call.argument(1, "dim"), call.argument(2, "unbiased", True)
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    correction, keep = call.kwargs.get("correction", int(unbiased)), call.argument(3, "keepdim", False)
    dims = tuple(range(x.dim())) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)

    def parts(x: Tensor) -> Any:
        mean = x.mean(dims, keepdim=True)
        centred = x - mean
        count = x.numel() // mean.numel()
        spread = (centred * centred).sum(dims, keepdim=keep) / (count - correction)
        if call.name.startswith("std"):
            spread = spread.sqrt()
        return (spread, mean if keep else x.mean(dims)) if call.name.endswith("_mean") else spread

    return call.inside(parts, x)


PARTS: dict[str, Rule] = {
    "softmax": softmax,
    "divide": divide,
    "maximum": larger,
    "min": smaller,
    "similarity": similarity,
    "gated": gated,
    "attention": attention,
    "norm": normalised,
    "recurrent": recurrent,
    "moment": moment,
}
