"""Feature ablation: the fall of the score when one feature is taken away."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from explain.baselines import Baseline
from explain.coalitions import Game, over_features
from explain.features import Features
from explain.scorer import Scorer


@dataclass(frozen=True, kw_only=True)
class FeatureAblation:
    """Score(x) - score(x with one feature replaced by its baseline), for each feature.

    Equal to Captum's module; here many copies of a small batch share a forward pass and all tasks share them, and
    examples may differ in their features (superpixels). Cost: one forward a feature, whatever the number of tasks.

    Args:
        features: what is one feature: "each", "grid", "superpixels", or ids; see `explain.features.named_features`.
        size: cells along each side of a grid, or superpixels an image.
        baseline: what stands for an absent feature: a number, [*S], [B, *S], "zero", "mean" or "blur".
        divided: whether a feature's elements share its value; if not, each of them carries all of
            it, as in Captum and in occlusion.
    """

    features: Features = None
    size: int | None = None
    baseline: Baseline = 0.0
    divided: bool = False

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del seed
        return over_features("feature_ablation", self, scorer, inputs, first, _falls)


def _falls(game: Game) -> Tensor:
    """[b, M, K]."""
    others = ~torch.eye(game.features, dtype=torch.bool)  # all but one
    scores = game.values(game.features, lambda chunk: others[chunk.start : chunk.stop, None])
    return (game.full - scores).transpose(0, 1)
