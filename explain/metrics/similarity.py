"""Similarity of two maps, one number an example."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def spearman(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's rank correlation of the maps [B, *S], in [-1, 1], [B]; NaN where one is constant or not finite.

    Ties share their mean rank. A map with many equal values (zeros) has few ranks that differ.

    >>> a = torch.tensor([[1.0, 2.0, 4.0]])
    >>> spearman(a, a.exp()).item(), spearman(a, -a).item()
    (1.0, -1.0)
    """
    one, other = one.flatten(1), other.flatten(1)
    finite = torch.isfinite(one).all(1) & torch.isfinite(other).all(1)
    return torch.where(finite, _correlation(_ranks(one), _ranks(other)), torch.nan)


def cosine(one: Tensor, other: Tensor) -> Tensor:
    """The cosine between the maps [B, *S], in [-1, 1], [B]; NaN where one is zero or not finite.

    >>> cosine(torch.tensor([[3.0, 4.0]]), torch.tensor([[-6.0, -8.0]])).item()
    -1.0
    """
    one, other = one.flatten(1).double(), other.flatten(1).double()
    # scaled first, so that squares of tiny values do not vanish
    one, other = (m / m.abs().amax(1, keepdim=True) for m in (one, other))
    return ((one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))).clamp(-1, 1)


def _ranks(values: Tensor) -> Tensor:
    """Ranks 1..N of each row [B, N] in float64; equal values share their mean rank."""
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values.contiguous(), right=False)
    up_to = torch.searchsorted(ordered, values.contiguous(), right=True)
    return (below + up_to + 1).double() / 2


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    one, other = one - one.mean(1, keepdim=True), other - other.mean(1, keepdim=True)
    return ((one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))).clamp(-1, 1)


SIMILARITIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"spearman": spearman, "cosine": cosine}
