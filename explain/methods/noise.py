"""SmoothGrad, SmoothGrad squared, VarGrad: gradients at noisy copies of the input, the same copies for every task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from explain.batching import noise_like, stacked
from explain.methods.gradients import input_gradients
from explain.scorer import Scorer


@dataclass(frozen=True, kw_only=True)
class _Noise:
    """Options that the three share; their noise's standard deviation is ``noise`` times each example's range.

    Where the model takes several inputs, the range is that of each.
    """

    samples: int = 20
    noise: float = 0.15

    _name = "smoothgrad"
    _fewest = 1

    def __post_init__(self) -> None:
        if self.samples < self._fewest:
            raise ValueError(f"{self._name}: samples must be >= {self._fewest}, got {self.samples}")
        if not 0 <= self.noise < float("inf"):
            raise ValueError(f"{self._name}: noise must be >= 0 and finite, got {self.noise}")

    def gradients(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> Iterator[list[Tensor]]:
        """The gradients [n, B, *S] of each task at the next n noisy copies."""
        with torch.no_grad():
            scorer(inputs)  # "predicted" means the prediction for the clean inputs
        spread = self.noise * ranges(scorer, inputs)
        for samples in scorer.steps(stacked(self.samples, inputs)):
            noisy = torch.cat([inputs + spread * noise_like(inputs, seed, first, s) for s in samples])
            yield [g.reshape(len(samples), *inputs.shape) for g in input_gradients(scorer, noisy)]


@dataclass(frozen=True, kw_only=True)
class SmoothGrad(_Noise):
    """The mean gradient over noisy copies of the input; every task sees the same noise.

    The noise's standard deviation is ``noise`` times the range (max - min) of each example. Source: Smilkov et
    al. 2017, equation 2 (10 to 20% of the range). Cost: ``samples`` forwards, as many backwards a task.

    Args:
        samples: noisy copies of each example.
        noise: standard deviation as a fraction of the example's range.
    """

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        totals = list[Tensor]()
        for gradients in self.gradients(scorer, inputs, first, seed):
            sums = [g.sum(0) for g in gradients]
            totals = [t + s for t, s in zip(totals, sums, strict=True)] if totals else sums
        return [total / self.samples for total in totals]


@dataclass(frozen=True, kw_only=True)
class SmoothGradSquared(_Noise):
    """The mean of the squared gradients over noisy copies: never negative.

    Source: Hooker et al. 2019, section 3.1. Options and cost as of `SmoothGrad`.
    """

    _name = "smoothgrad_squared"

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        totals = list[Tensor]()
        for gradients in self.gradients(scorer, inputs, first, seed):
            sums = [g.square().sum(0) for g in gradients]
            totals = [t + s for t, s in zip(totals, sums, strict=True)] if totals else sums
        return [total / self.samples for total in totals]


@dataclass(frozen=True, kw_only=True)
class VarGrad(_Noise):
    """The variance of the gradient over noisy copies (divided by ``samples``): never negative, zero for a linear model.

    Means and squared deviations of batches are merged (Chan et al. 1983): the difference of two large sums loses the
    digits of a small variance, and gives negative ones. Source: Adebayo et al. 2018, appendix A. Options and cost as of
    `SmoothGrad`, with at least two samples.
    """

    _name = "vargrad"
    _fewest = 2

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        seen, means, deviations = 0, list[Tensor](), list[Tensor]()
        for gradients in self.gradients(scorer, inputs, first, seed):
            n = len(gradients[0])
            batch_means = [g.mean(0) for g in gradients]
            batch = [(g - m).square().sum(0) for g, m in zip(gradients, batch_means, strict=True)]
            if not seen:
                seen, means, deviations = n, batch_means, batch
                continue
            for k, (mean, deviation) in enumerate(zip(batch_means, batch, strict=True)):
                step = mean - means[k]
                means[k] = means[k] + step * n / (seen + n)
                deviations[k] = deviations[k] + deviation + step.square() * seen * n / (seen + n)
            seen += n
        return [deviation / self.samples for deviation in deviations]


def ranges(scorer: Scorer, inputs: Tensor) -> Tensor:
    """Max - min of each part of each example, to be multiplied with inputs [B, *S]."""
    parts = scorer.split(inputs)
    spans = [(p.flatten(1).amax(1) - p.flatten(1).amin(1)).reshape(-1, *[1] * (p.dim() - 1)) for p in parts]
    return scorer.join([r.expand_as(p) for r, p in zip(spans, parts, strict=True)])
