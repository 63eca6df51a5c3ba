"""Controls: maps that know nothing of the model; a method that scores no better than these shows nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from explain.batching import noise_like
from explain.scorer import Scorer


@dataclass(frozen=True, kw_only=True)
class Random:
    """Independent normal numbers, the same for every task."""

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        return [noise_like(inputs, seed, first)] * _tasks(scorer, inputs)


@dataclass(frozen=True, kw_only=True)
class Image:
    """The input itself, as an attribution."""

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del first, seed
        return [inputs] * _tasks(scorer, inputs)


@dataclass(frozen=True, kw_only=True)
class Edges:
    """The strength of edges in an image, by Sobel's filters; zeros for inputs that are no image.

    Source: Adebayo et al. 2018, section 5, who ask whether a map is more than an edge detector.
    """

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del first, seed
        parts = scorer.split(inputs)
        if not any(part.dim() == 4 for part in parts):
            raise ValueError(f"edges needs an image [B, C, H, W], got {[list(part.shape) for part in parts]}")
        edges = scorer.join([sobel(p) if p.dim() == 4 else torch.zeros_like(p) for p in parts])
        return [edges] * _tasks(scorer, inputs)


def sobel(images: Tensor) -> Tensor:
    """sqrt(gx^2 + gy^2) of each channel of images [B, C, H, W], the border repeated.

    >>> sobel(torch.tensor([[[[0.0, 0.0, 1.0, 1.0]] * 3]]))[0, 0, 1].tolist()
    [0.0, 4.0, 4.0, 0.0]
    """
    slope = images.new_tensor([-1.0, 0.0, 1.0])
    across = torch.outer(images.new_tensor([1.0, 2.0, 1.0]), slope)
    filters = torch.stack([across, across.T])[:, None]  # [2, 1, 3, 3]
    flat = F.pad(images.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
    return F.conv2d(flat, filters).square().sum(dim=1).sqrt().reshape(images.shape)


@torch.no_grad()
def _tasks(scorer: Scorer, inputs: Tensor) -> int:
    return scorer(inputs).shape[1]
