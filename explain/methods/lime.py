"""LIME: a linear model of the features, fitted to the scores of coalitions near the input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from explain.baselines import Baseline
from explain.batching import generator
from explain.coalitions import Game, all_coalitions, check_size, over_features
from explain.features import Features
from explain.options import check_count, check_positive
from explain.scorer import Scorer


@dataclass(frozen=True, kw_only=True)
class Lime:
    """The coefficients of a weighted ridge regression of the score on which features are present.

    Each feature is present with probability 1/2; a coalition z weighs sqrt(exp(-d^2 / width^2)), d the cosine distance
    of z to all features, as in the authors' code for images. All features are kept. With 2^M <= samples every coalition
    is scored once, with the weight of all its draws. Source: Ribeiro et al. 2016, equation 2 and algorithm 1. Cost:
    ``samples`` forwards, whatever the number of tasks.

    Args:
        samples: coalitions of each example, the full one among them, at least 2 M; None: 1000, or 4 M if more.
        width: of the kernel.
        ridge: penalty on the squared coefficients. Nearly none by default; the authors' code has 1.0, which with 1000
            samples makes each coefficient about 1% smaller.
        features: what is one feature: "each", "grid", "superpixels", or ids; see `explain.features.named_features`.
        size: cells along each side of a grid, or superpixels an image.
        baseline: what stands for an absent feature: a number, [*S], [B, *S], "zero", "mean" or "blur".
        divided: whether a feature's elements share its value, so that sums over a map are sums over features; if not,
            each of them carries all of it, as in Captum.
    """

    samples: int | None = None
    width: float = 0.25
    ridge: float = 1e-6
    features: Features = None
    size: int | None = None
    baseline: Baseline = 0.0
    divided: bool = True

    def __post_init__(self) -> None:
        if self.samples is not None:
            check_count("lime", "samples", self.samples, 2)
        check_positive("lime", "width", self.width)
        check_positive("lime", "ridge", self.ridge, zero=True)

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        return over_features("lime", self, scorer, inputs, first, lambda game: self._fitted(game, seed))

    def _fitted(self, game: Game, seed: int) -> Tensor:
        """[b, M, K]."""
        players = game.features
        check_size("lime", players)
        samples = max(1000, 4 * players) if self.samples is None else self.samples
        times = 1.0
        if players < 32 and 2**players <= samples:
            coalitions = all_coalitions(players)[:, None]  # [n, 1, M]
            times = samples / len(coalitions)
        elif samples < 2 * players:
            raise ValueError(
                f"lime: samples must be >= 2 M = {2 * players} for {players} features, got {samples}"
            )
        else:
            coalitions = torch.stack(
                [_drawn(samples, players, generator(seed, p)) for p in game.places], dim=1
            )
        scores = game.values(len(coalitions), lambda chunk: coalitions[chunk.start : chunk.stop]).cpu()
        found = []
        for i in range(len(game.inputs)):
            z = coalitions[:, i % coalitions.shape[1]].double()
            distance = 1 - (z.sum(dim=1) / players).sqrt()
            found.append(
                _ridge(z, times * (-0.5 * (distance / self.width).square()).exp(), scores[:, i], self.ridge)
            )
        return torch.stack(found)


def _drawn(samples: int, players: int, stream: torch.Generator) -> Tensor:
    """bool [n, M], the full coalition first."""
    coalitions = torch.rand(samples, players, generator=stream) < 0.5
    coalitions[0] = True
    return coalitions


def _ridge(z: Tensor, weights: Tensor, scores: Tensor, ridge: float) -> Tensor:
    """argmin sum_n w_n (scores_n - intercept - z_n phi)^2 + ridge |phi|^2, the intercept not penalised: phi [M, K]."""
    mean = weights / weights.sum()
    z, scores = z - mean @ z, scores - mean @ scores
    system = (z.T * weights) @ z
    worth = float(system.diagonal().mean())
    found, info = torch.linalg.solve_ex(
        system + ridge * torch.eye(z.shape[1], dtype=z.dtype), (z.T * weights) @ scores
    )
    if int(info) or not worth > ridge:  # a map of nearly zeros would read as "nothing matters"
        raise ValueError(
            f"lime: the samples weigh too little to determine the coefficients ({worth:.1e} a feature, beside a "
            f"penalty of {ridge:.1e}); raise width or samples, or lower ridge"
        )
    return found
