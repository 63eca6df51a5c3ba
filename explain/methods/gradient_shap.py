"""GradientSHAP: gradients at random places between the input and random baselines."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from explain.baselines import BaselineSet, expanded_set
from explain.batching import generator, noise_like, stacked
from explain.methods.gradients import input_gradients
from explain.methods.noise import ranges
from explain.scorer import Scorer


@dataclass(frozen=True, kw_only=True)
class GradientShap:
    """The mean of (x - baseline) times the gradient at a random place between them: an estimate of SHAP values.

    Each sample draws a baseline and a place on the line, the same for every task; the places of n samples are drawn
    from n equal pieces of the line, which lowers the variance and leaves the mean. In expectation the map sums to
    score(x) - mean score(baseline); the metric ``completeness`` tells how near a map comes. Source: Lundberg & Lee
    2017; Erion et al. 2021, equation 3 (expected gradients). Cost: ``samples`` forwards, as many backwards a task.

    Args:
        baselines: a number, or a tensor [N, *S] to draw from; for several inputs also a tuple or dict of [N, *S].
        samples: draws for each example.
        noise: standard deviation of noise on the input in each draw, as a fraction of each example's range.
    """

    baselines: BaselineSet = 0.0
    samples: int = 20
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"gradient_shap: samples must be >= 1, got {self.samples}")
        if not 0 <= self.noise < float("inf"):
            raise ValueError(f"gradient_shap: noise must be >= 0 and finite, got {self.noise}")

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        baselines = expanded_set("gradient_shap", self.baselines, inputs, scorer)
        with torch.no_grad():
            scorer(inputs)  # "predicted" means the prediction for the clean inputs
        spread = self.noise * ranges(scorer, inputs)
        which, places = self._draws(len(baselines), inputs, first, seed)
        totals: list[Tensor] = []
        for samples in scorer.steps(stacked(self.samples, inputs)):
            at, ways = [], []
            for s in samples:
                noisy = inputs + spread * noise_like(inputs, seed, first, s) if self.noise else inputs
                way = noisy - baselines[which[s]]
                ways.append(way)
                at.append(noisy - (1 - places[s].reshape(-1, *[1] * (inputs.dim() - 1))) * way)
            way = torch.stack(ways)  # [n, B, *S]
            gradients = input_gradients(scorer, torch.cat(at))
            sums = [(way * g.reshape_as(way)).sum(0) for g in gradients]
            totals = [t + s for t, s in zip(totals, sums, strict=True)] if totals else sums
        return [total / self.samples for total in totals]

    def _draws(self, count: int, inputs: Tensor, first: int, seed: int) -> tuple[Tensor, Tensor]:
        """Which baseline, and how far from it, [samples, B] each; a stream of its own for every example."""
        which, places = [], []
        for example in range(first, first + len(inputs)):
            stream = generator(seed, example, self.samples)  # of its own: the noise has 0..samples - 1
            which.append(torch.randint(count, (self.samples,), generator=stream))
            pieces = torch.randperm(self.samples, generator=stream)
            places.append((pieces + torch.rand(self.samples, generator=stream)) / self.samples)
        return torch.stack(which, dim=1).to(inputs.device), torch.stack(places, dim=1).to(inputs)
