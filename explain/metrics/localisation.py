"""Localisation: how much of a map lies where the evidence is known to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor


def relevance(maps: Tensor) -> Tensor:
    """|sum over channels| [B, *P] of maps [B, C, *P] (two or more sides), else |maps|: for and against count alike.

    >>> relevance(torch.tensor([[[[1.0]], [[-3.0]]]])).item()
    2.0
    """
    return (maps.sum(dim=1) if maps.dim() >= 4 else maps).abs()


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


def relevance_rank(maps: Tensor, mask: Tensor) -> Tensor:
    """The fraction of the K largest relevances that lies in the mask of K pixels, [B]; NaN where the mask is empty.

    Ties count by expectation over their orders, so a constant map gets the mask's share of the image.
    Source: Arras et al. 2022, equation 8.

    Args:
        maps: [B, C, H, W] or [B, H, W].
        mask: bool [B, H, W].

    >>> relevance_rank(torch.tensor([[[4.0, -3.0, 1.0, 0.0]]]), torch.tensor([[[True, False, True, False]]])).item()
    0.5
    """
    return _share_of_largest(relevance(maps).flatten(1), mask.flatten(1), mask.flatten(1).sum(1))


def topk_intersection(maps: Tensor, mask: Tensor, k: int | None = None) -> Tensor:
    """The fraction of the ``k`` largest relevances that lies in the mask, [B]; NaN where the mask is empty.

    Where the mask has fewer than ``k`` pixels it cannot reach 1. Ties count by expectation over their orders.
    Source: Theiner et al. 2022; Quantus takes k = 1000 by default.

    Args:
        maps: [B, C, H, W] or [B, H, W].
        mask: bool [B, H, W].
        k: 1..H W; None: a tenth of the pixels.

    Raises:
        ValueError: ``k`` out of range.

    >>> topk_intersection(torch.tensor([[[4.0, -3.0, 1.0]]]), torch.tensor([[[True, False, True]]]), k=2).item()
    0.5
    """
    amounts, inside = relevance(maps).flatten(1), mask.flatten(1)
    pixels = amounts.shape[1]
    if k is None:
        k = max(1, round(pixels / 10))
    if not 1 <= k <= pixels:
        raise ValueError(f"topk_intersection: k must be in 1..{pixels}, the pixels of an image, got {k}")
    return _share_of_largest(amounts, inside, torch.full_like(inside[:, 0], k, dtype=torch.long))


def _share_of_largest(amounts: Tensor, inside: Tensor, k: Tensor) -> Tensor:
    """The expected share of each row's k [B] largest amounts [B, N] that are ``inside`` [B, N]; ties in any order."""
    amounts = (
        amounts.double()
    )  # which NumPy knows; its sort moves no indices along and is several times as fast
    ordered = torch.from_numpy(np.sort(amounts.cpu().numpy(), axis=1)).to(amounts.device)
    last = ordered.gather(
        1, (amounts.shape[1] - k.clamp(min=1))[:, None]
    )  # the smallest amount that is taken
    above, tied = amounts > last, amounts == last
    left = k - above.sum(1)  # how many of the tied ones are taken
    chance = left.double() / tied.sum(1)
    share = ((above & inside).sum(1) + chance * (tied & inside).sum(1)) / k
    return torch.where(inside.any(1), share, torch.nan)


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


@dataclass(frozen=True, kw_only=True)
class RelevanceRank:
    """`relevance_rank`: the share of the K largest relevances that lies in the mask of K pixels."""

    kind: ClassVar[str] = "mask"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def values(self, maps: Tensor, mask: Tensor) -> Tensor:
        return relevance_rank(maps, mask)


@dataclass(frozen=True, kw_only=True)
class TopKIntersection:
    """`topk_intersection`: the share of the k largest relevances that lies in the mask.

    Args:
        k: pixels; None: a tenth of the image's.
    """

    k: int | None = None
    kind: ClassVar[str] = "mask"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def values(self, maps: Tensor, mask: Tensor) -> Tensor:
        return topk_intersection(maps, mask, self.k)
