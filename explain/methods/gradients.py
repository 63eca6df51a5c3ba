"""Gradient, input x gradient, SmoothGrad: one forward pass, one backward a task.

Captum takes several inputs at a time and lets its gradient function be replaced. Here it gets the input once for each
task, and a gradient function that answers from the one forward pass that has been made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import InputXGradient, Saliency
from torch import Tensor

from explain.batching import noise_like, stacked
from explain.scorer import Scorer


def input_gradients(scorer: Scorer, inputs: Tensor) -> list[Tensor]:
    """The gradient of each task's score with respect to the inputs [B, *S]: K tensors; zeros where a task uses none."""
    inputs = inputs.detach().requires_grad_()
    scores = scorer.columns(inputs)
    return [torch.zeros_like(inputs) if g is None else g for g in scorer.gradients(scores, inputs)]


def _through_captum(module: Any, scorer: Scorer, inputs: Tensor, **options: Any) -> list[Tensor]:
    gradients = tuple(input_gradients(scorer, inputs))
    module.gradient_func = lambda *_: gradients
    copies = tuple(inputs.detach().clone().requires_grad_() for _ in gradients)
    return [m.detach() for m in module.attribute(copies, **options)]


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """The gradient of the score with respect to the input, signed.

    Source: Simonyan et al. 2014, section 3, who show its absolute value. Cost: one forward, one backward a task.
    """

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del first, seed
        return _through_captum(Saliency(scorer), scorer, inputs, abs=False)


@dataclass(frozen=True, kw_only=True)
class InputTimesGradient:
    """Input times gradient: w x for a linear model.

    Source: Shrikumar et al. 2016. Cost: one forward, one backward a task.
    """

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del first, seed
        return _through_captum(InputXGradient(scorer), scorer, inputs)


@dataclass(frozen=True, kw_only=True)
class SmoothGrad:
    """The mean gradient over noisy copies of the input; every task sees the same noise.

    The noise's standard deviation is ``noise`` times the range (max - min) of each example. Source: Smilkov et
    al. 2017, equation 2 (10 to 20% of the range). Cost: ``samples`` forwards, as many backwards a task.

    Args:
        samples: noisy copies of each example.
        noise: standard deviation as a fraction of the example's range.
    """

    samples: int = 20
    noise: float = 0.15

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"smoothgrad: samples must be >= 1, got {self.samples}")
        if not self.noise >= 0:
            raise ValueError(f"smoothgrad: noise must be >= 0, got {self.noise}")

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        with torch.no_grad():
            scorer(inputs)  # "predicted" means the prediction for the clean inputs
        flat = inputs.flatten(1)
        spread = self.noise * (flat.amax(1) - flat.amin(1)).reshape(-1, *[1] * (inputs.dim() - 1))
        totals: list[Tensor] | None = None
        for samples in scorer.steps(stacked(self.samples, inputs)):
            noisy = torch.cat([inputs + spread * noise_like(inputs, seed, first, s) for s in samples])
            sums = [g.reshape(len(samples), *inputs.shape).sum(0) for g in input_gradients(scorer, noisy)]
            totals = sums if totals is None else [t + s for t, s in zip(totals, sums, strict=True)]
        assert totals is not None  # samples >= 1
        return [total / self.samples for total in totals]
