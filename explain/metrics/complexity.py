"""Complexity: over how many pixels (or features) a map spreads. A map can be simple and wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from explain.metrics.localisation import relevance


def gini(maps: Tensor) -> Tensor:
    """The Gini index of the relevance, [B]: 0 where all pixels count alike, 1 - 1/N where one of N is everything.

    With the N amounts in rising order, the sum of (2 i - N - 1) |a|_i over N times their sum. NaN where the map is
    zero. Source: Chalasani et al. 2020, after Hurley and Rickard 2009.

    Args:
        maps: [B, *S]; the channels of images [B, C, H, W] are added up first.

    >>> gini(torch.tensor([[0.0, 0.0, 0.0, -2.0], [1.0, -1.0, 1.0, 1.0]])).tolist()
    [0.75, 0.0]
    """
    amounts = _amounts(maps).sort(dim=1).values
    count = amounts.shape[1]
    place = torch.arange(1, count + 1, dtype=amounts.dtype, device=amounts.device)
    return ((2 * place - count - 1) * amounts).sum(1) / (count * amounts.sum(1))  # 0 / 0 is NaN


def entropy(maps: Tensor) -> Tensor:
    """The entropy in nats of the shares |a| / sum |a|, [B]: 0 where one pixel is everything, ln N where all are alike.

    NaN where the map is zero. Source: Bhatt et al. 2020 ("complexity").

    Args:
        maps: [B, *S]; the channels of images [B, C, H, W] are added up first.

    >>> entropy(torch.tensor([[0.0, 0.0, 0.0, -2.0], [1.0, -1.0, 1.0, 1.0]])).tolist()
    [0.0, 1.38629436]
    """
    amounts = _amounts(maps)
    shares = amounts / amounts.sum(1, keepdim=True)  # 0 / 0 is NaN
    return -torch.special.xlogy(shares, shares).sum(1).clamp(max=0)


def effective_complexity(maps: Tensor, eps: float = 0.01) -> Tensor:
    """How many relevances exceed ``eps`` times the largest, [B]: 1..N; NaN where the map is zero.

    Source: after Nguyen and Martinez 2020 ("effective complexity"), who count the features that are needed to keep the
    model's loss within a tolerance; here, as in Quantus, the features with more than a negligible attribution are
    counted, with the threshold relative to the map's maximum so that a map's scale does not matter.

    Args:
        maps: [B, *S]; the channels of images [B, C, H, W] are added up first.
        eps: 0 <= eps < 1.

    Raises:
        ValueError: ``eps`` out of range.

    >>> effective_complexity(torch.tensor([[5.0, -1.0, 0.01, 0.0]])).item()
    2.0
    """
    if not 0 <= eps < 1:
        raise ValueError(f"effective_complexity: eps must be in [0, 1), got {eps}")
    amounts = _amounts(maps)
    largest = amounts.amax(1, keepdim=True)
    return torch.where(largest[:, 0] > 0, (amounts > eps * largest).sum(1).double(), torch.nan)


def _amounts(maps: Tensor) -> Tensor:
    """The relevances [B, N] in float64."""
    return relevance(maps).flatten(1).double()


@dataclass(frozen=True, kw_only=True)
class Gini:
    """`gini`: the Gini index of the relevance; 0 where all pixels count alike."""

    kind: ClassVar[str] = "maps"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def values(self, maps: Tensor) -> Tensor:
        return gini(maps)


@dataclass(frozen=True, kw_only=True)
class Entropy:
    """`entropy`: of the relevance's shares, in nats; ln N where all N pixels count alike."""

    kind: ClassVar[str] = "maps"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    def values(self, maps: Tensor) -> Tensor:
        return entropy(maps)


@dataclass(frozen=True, kw_only=True)
class EffectiveComplexity:
    """`effective_complexity`: how many pixels have more than a negligible relevance.

    Args:
        eps: what is negligible, as a fraction of the largest.
    """

    eps: float = 0.01
    kind: ClassVar[str] = "maps"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (1.0, float("inf"))

    def values(self, maps: Tensor) -> Tensor:
        return effective_complexity(maps, self.eps)
