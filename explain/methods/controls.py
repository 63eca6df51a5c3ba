"""Controls: maps that know nothing of the model; a method that scores no better than these shows nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

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


@torch.no_grad()
def _tasks(scorer: Scorer, inputs: Tensor) -> int:
    return scorer(inputs).shape[1]
