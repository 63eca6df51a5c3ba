"""KernelSHAP: Shapley values as the solution of a weighted least squares problem."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import torch
from torch import Tensor

from explain.baselines import Baseline
from explain.batching import generator
from explain.coalitions import Game, check_efficiency, check_size, over_features
from explain.features import Features
from explain.options import check_count, check_positive
from explain.scorer import Scorer


@dataclass(frozen=True, kw_only=True)
class KernelShap:
    """The additive model of the features that fits the scores of coalitions best, under Shapley's kernel.

    Sizes of coalitions are scored whole, from the outside (one feature, all but one) inwards, while a size holds no
    more coalitions than it would get by chance; the rest is drawn from the kernel's distribution of sizes, each with
    its complement. With 2^M - 2 <= samples every coalition is scored, and the values are Shapley's. The constraint,
    that values sum to score(x) - score(baseline), holds exactly and is checked.
    Source: Lundberg and Lee 2017, theorem 2; the pairs: Covert and Lee 2021, section 4. Cost: ``samples`` forwards,
    whatever the number of tasks.

    Args:
        samples: coalitions of each example, at least 2 M; None: 2 M + 512.
        features: what is one feature: "each", "grid", "superpixels", or ids; see `explain.features.named_features`.
        size: cells along each side of a grid, or superpixels an image.
        baseline: what stands for an absent feature: a number, [*S], [B, *S], "zero", "mean" or "blur".
        divided: whether a feature's elements share its value, so that the map too sums to score(x) - score(baseline);
            if not, each of them carries all of it, as in Captum.
        tolerance: the largest gap of that sum, as a fraction of the sum of absolute values.
    """

    samples: int | None = None
    features: Features = None
    size: int | None = None
    baseline: Baseline = 0.0
    divided: bool = True
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        if self.samples is not None:
            check_count("kernel_shap", "samples", self.samples, 2)
        check_positive("kernel_shap", "tolerance", self.tolerance)

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        def solve(game: Game) -> Tensor:
            if game.features == 1:
                return (game.full - game.empty)[:, None]
            check_size("kernel_shap", game.features)
            samples = 2 * game.features + 512 if self.samples is None else self.samples
            return check_efficiency(game, _fitted(game, samples, seed), self.tolerance)

        return over_features("kernel_shap", self, scorer, inputs, first, solve)


def _fitted(game: Game, samples: int, seed: int) -> Tensor:
    """[b, M, K]."""
    whole, left, sizes = whole_sizes(game.features, samples)
    drawn = [_pairs(game.features, sizes, left // 2, generator(seed, place)) for place in game.places]
    coalitions = torch.cat(
        [whole[:, None].expand(-1, len(drawn), -1), torch.stack(drawn, dim=1)]
    )  # [n, b, M]
    weights = torch.cat(
        [_kernel(game.features)[whole.sum(1) - 1], torch.zeros(len(drawn[0]), dtype=torch.float64)]
    )
    if len(drawn[0]):
        weights[len(whole) :] = sum(_mass(game.features, size) for size in sizes) / len(drawn[0])
    scores = game.values(len(coalitions), lambda chunk: coalitions[chunk.start : chunk.stop])
    rises, total = (scores - game.empty).cpu(), (game.full - game.empty).cpu()
    return torch.stack(
        [_constrained(coalitions[:, i].double(), weights, rises[:, i], total[i]) for i in range(len(total))]
    )


def _constrained(coalitions: Tensor, weights: Tensor, rises: Tensor, total: Tensor) -> Tensor:
    """argmin sum_n w_n (rises_n - z_n phi)^2 with sum(phi) = total, by a Lagrange multiplier: [M, K].

    Args:
        coalitions: Z [n, M], with every single feature among them, so that Z' W Z is positive definite.
        weights: w [n].
        rises: v(z) - v(empty), [n, K].
        total: v(full) - v(empty), [K].
    """
    weighted = coalitions.T * weights
    one = torch.ones(coalitions.shape[1], 1, dtype=torch.float64)
    solved = torch.linalg.solve(weighted @ coalitions, torch.cat([weighted @ rises, one], dim=1))
    free, direction = solved[:, :-1], solved[:, -1:]
    return free - direction * (free.sum(dim=0) - total) / direction.sum()


def _mass(features: int, size: int) -> float:
    """The kernel's weight of all coalitions of a size together."""
    return (features - 1) / (size * (features - size))


def _kernel(features: int) -> Tensor:
    """Its weight of one coalition of each size 1..M-1: float64 [M - 1]."""
    return torch.tensor(
        [_mass(features, size) / comb(features, size) for size in range(1, features)], dtype=torch.float64
    )


def whole_sizes(features: int, samples: int) -> tuple[Tensor, int, list[int]]:
    """Coalitions of the sizes that are scored whole, how many samples are left, and the sizes left for them.

    >>> whole, left, sizes = whole_sizes(6, 20)
    >>> whole.shape, left, sizes
    (torch.Size([12, 6]), 8, [2, 3, 4])
    """
    if samples < 2 * features and samples < 2**features - 2:
        raise ValueError(
            f"kernel_shap: samples must be >= 2 M = {2 * features} for {features} features, got {samples}"
        )
    rows: list[Tensor] = []
    left, size = samples, 1
    while size <= features // 2:
        pair = {size, features - size}
        number = sum(comb(features, s) for s in pair)
        share = sum(_mass(features, s) for s in pair) / sum(
            _mass(features, s) for s in range(size, features - size + 1)
        )
        if size > 1 and number > left * share * (1 + 1e-9):
            break
        for chosen in combinations(range(features), size):
            row = torch.zeros(features, dtype=torch.bool)
            row[list(chosen)] = True
            rows += [row, ~row] if len(pair) == 2 else [row]
        left -= number
        size += 1
    return torch.stack(rows), left, list(range(size, features - size + 1))


def _pairs(features: int, sizes: list[int], pairs: int, stream: torch.Generator) -> Tensor:
    """Coalitions drawn by the kernel's distribution over these sizes, each with its complement: bool [2 pairs, M]."""
    if not sizes or not pairs:
        return torch.zeros(0, features, dtype=torch.bool)
    mass = torch.tensor([_mass(features, size) for size in sizes], dtype=torch.float64)
    drawn = torch.tensor(sizes)[torch.multinomial(mass, pairs, replacement=True, generator=stream)]
    ranks = torch.rand(pairs, features, generator=stream).argsort(dim=1).argsort(dim=1)
    chosen = ranks < drawn[:, None]
    return torch.stack([chosen, ~chosen], dim=1).flatten(0, 1)
