"""Shapley values from random permutations of the features, or exactly where that costs no more."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import torch
from torch import Tensor

from explain.baselines import Baseline
from explain.batching import generator
from explain.coalitions import Game, all_coalitions, check_efficiency, over_features
from explain.features import Features
from explain.options import check_count, check_positive
from explain.scorer import Scorer


@dataclass(frozen=True, kw_only=True)
class ShapleySampling:
    """The mean change of the score when a feature joins those before it in a random order.

    The values of an example's features sum to score(x) - score(baseline), checked. With few features (2^M - 2 forwards
    are no more than the permutations'; M <= 7 by default) all coalitions are scored, and the values are exact.
    Source: Castro et al. 2009, section 3; Strumbelj and Kononenko 2010, algorithm 1. Cost: ``permutations`` (M - 1)
    forwards, whatever the number of tasks.

    Args:
        permutations: orders drawn for each example, a stream for each.
        antithetic: every second order is the one before it reversed (Mitchell et al. 2022, section 4): less variance
            for most models.
        features: what is one feature: "each", "grid", "superpixels", or ids; see `explain.features.named_features`.
        size: cells along each side of a grid, or superpixels an image.
        baseline: what stands for an absent feature: a number, [*S], [B, *S], "zero", "mean" or "blur".
        divided: whether a feature's elements share its value, so that the map too sums to score(x) - score(baseline);
            if not, each of them carries all of it, as in Captum.
        tolerance: the largest gap of that sum, as a fraction of the sum of absolute values.
    """

    permutations: int = 25
    antithetic: bool = False
    features: Features = None
    size: int | None = None
    baseline: Baseline = 0.0
    divided: bool = True
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        check_count("shapley_sampling", "permutations", self.permutations)
        check_positive("shapley_sampling", "tolerance", self.tolerance)

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        def solve(game: Game) -> Tensor:
            exact = game.features < 32 and 2**game.features - 2 <= self.permutations * (game.features - 1)
            found = _exact(game) if exact else self._sampled(game, seed)
            return check_efficiency(game, found, self.tolerance)

        return over_features("shapley_sampling", self, scorer, inputs, first, solve)

    def _sampled(self, game: Game, seed: int) -> Tensor:
        """[b, M, K], from the scores along each order's way from the baseline to the input."""
        players, steps = game.features, game.features - 1
        ranks = torch.stack([self._ranks(players, place, seed) for place in game.places], dim=1)  # [P, b, M]

        def coalitions(chunk: range) -> Tensor:
            at = torch.arange(chunk.start, chunk.stop)
            return ranks[at // steps] <= (at % steps)[:, None, None]

        between = game.values(self.permutations * steps, coalitions)
        between = between.reshape(self.permutations, steps, *between.shape[1:])
        ends = [end.expand(self.permutations, 1, *end.shape) for end in (game.empty, game.full)]
        changes = torch.cat([ends[0], between, ends[1]], dim=1).diff(dim=1)  # [P, M, b, K], by rank
        by_feature = ranks.long().to(changes.device)[..., None].expand(-1, -1, -1, changes.shape[3])
        return changes.transpose(1, 2).gather(2, by_feature).mean(dim=0)

    def _ranks(self, players: int, example: int, seed: int) -> Tensor:
        """The place of each feature in each order: int32 [P, M]."""
        rows: list[Tensor] = []
        for sample in range(self.permutations):
            if self.antithetic and sample % 2:
                rows.append(players - 1 - rows[-1])
            else:
                rows.append(
                    torch.randperm(players, generator=generator(seed, example, sample), dtype=torch.int32)
                )
        return torch.stack(rows)


def _exact(game: Game) -> Tensor:
    """A feature's change of v, averaged over the coalitions of each size, then over sizes (Shapley 1953): [b, M, K]."""
    players = game.features
    every = all_coalitions(players)
    scores = game.values(len(every) - 2, lambda chunk: every[chunk.start + 1 : chunk.stop + 1, None])
    scores = torch.cat([game.empty[None], scores, game.full[None]])  # [2^M, b, K]
    times = torch.tensor([players * comb(players - 1, size) for size in range(players)], dtype=torch.float64)
    others = every.sum(dim=1, keepdim=True) - every.long()  # in the coalition, beside the feature
    weights = torch.where(every, 1.0, -1.0) / times[others]  # [2^M, M]
    return torch.einsum("sm,sbk->bmk", weights.to(scores.device), scores)
