"""Localisation: how much of a map lies where the evidence is known to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


def relevance(maps: Tensor) -> Tensor:
    """|sum over channels| [B, H, W] of maps [B, C, H, W] or [B, H, W]: evidence for and against counts alike.

    >>> relevance(torch.tensor([[[[1.0]], [[-3.0]]]])).item()
    2.0
    """
    return (maps.sum(dim=1) if maps.dim() == 4 else maps).abs()


def relevance_mass(maps: Tensor, mask: Tensor) -> Tensor:
    """The fraction of the relevance that lies in the mask, [B]; NaN where the mask is empty or the map is zero.

    Source: Arras et al. 2022, equation 7.

    >>> relevance_mass(torch.tensor([[[1.0, -3.0]]]), torch.tensor([[[False, True]]])).item()
    0.75
    """
    amounts = relevance(maps).double()
    inside, whole = (amounts * mask).sum(dim=(1, 2)), amounts.sum(dim=(1, 2))
    return torch.where(mask.any(dim=2).any(dim=1), inside / whole, torch.nan)


def pointing_game(maps: Tensor, mask: Tensor) -> Tensor:
    """1 where the largest relevance lies in the mask, [B]; ties count by their share, an empty mask is NaN.

    Source: Zhang et al. 2018, section 4.1, without their tolerance of 15 pixels.

    >>> pointing_game(torch.tensor([[[2.0, 2.0, 1.0]]]), torch.tensor([[[True, False, True]]])).item()
    0.5
    """
    amounts = relevance(maps)
    largest = amounts == amounts.amax(dim=(1, 2), keepdim=True)
    share = (largest & mask).sum(dim=(1, 2)).double() / largest.sum(dim=(1, 2))
    return torch.where(mask.any(dim=2).any(dim=1), share, torch.nan)


@dataclass(frozen=True, kw_only=True)
class RelevanceMass:
    """`relevance_mass`: the share of the absolute relevance in the mask."""

    kind: ClassVar[str] = "mask"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def values(self, maps: Tensor, mask: Tensor) -> Tensor:
        return relevance_mass(maps, mask)


@dataclass(frozen=True, kw_only=True)
class PointingGame:
    """`pointing_game`: whether the largest relevance lies in the mask."""

    kind: ClassVar[str] = "mask"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def values(self, maps: Tensor, mask: Tensor) -> Tensor:
        return pointing_game(maps, mask)
