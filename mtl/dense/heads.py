"""Heads on a pyramid of feature maps: to full resolution for dense tasks, and pooled for all others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.dense.pyramid import Pyramid


class DenseHead(nn.Module):
    """A light top-down decoder (Lin et al. 2017; Kirillov et al. 2019): `Pyramid` -> [B, O, H, W].

    Each map is brought to ``width`` channels by a 1x1 convolution; from the coarsest on, the sum so far is enlarged
    (bilinearly) and added to the next finer. A 3x3 convolution with ReLU and a 1x1 convolution give the output at the
    finest map's resolution, which is enlarged to the images'.

    >>> maps = [torch.zeros(2, 8, 10, 16), torch.zeros(2, 16, 5, 8)]
    >>> DenseHead((8, 16), outputs=3)(Pyramid(maps, (20, 32))).shape
    torch.Size([2, 3, 20, 32])
    """

    def __init__(self, channels: Sequence[int], outputs: int, width: int = 32) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(count, width, kernel_size=1) for count in channels)
        self.smooth = nn.Sequential(nn.Conv2d(width, width, kernel_size=3, padding=1), nn.ReLU())
        self.last = nn.Conv2d(width, outputs, kernel_size=1)

    def forward(self, pyramid: Pyramid) -> Tensor:
        """`Pyramid` -> [B, O, H, W] of the images' H, W."""
        total: Tensor | None = None
        for lateral, z in zip(reversed(list(self.lateral)), reversed(pyramid.maps), strict=True):
            own = lateral(z)
            total = own if total is None else own + enlarged(total, own.shape[-2:])
        assert total is not None
        return enlarged(self.last(self.smooth(total)), torch.Size(pyramid.size))


class Pooled(nn.Module):
    """The coarsest map averaged in pool x pool cells, for a head that reads [B, F].

    >>> Pooled(nn.Linear(8 * 4, 3), pool=2)(Pyramid([torch.zeros(5, 8, 6, 6)], (6, 6))).shape
    torch.Size([5, 3])
    """

    def __init__(self, head: nn.Module, pool: int) -> None:
        super().__init__()
        self.pool, self.head = pool, head

    def forward(self, pyramid: Pyramid) -> Tensor:
        """`Pyramid` -> what the head gives, [B, O]."""
        return self.head(F.adaptive_avg_pool2d(pyramid.maps[-1], self.pool).flatten(1))


def enlarged(z: Tensor, size: torch.Size) -> Tensor:
    """``z`` [B, C, h, w] at another resolution, bilinearly; itself where it has it."""
    return z if z.shape[-2:] == size else F.interpolate(z, size=size, mode="bilinear", align_corners=False)
