"""Gradient and input x gradient: one forward pass, one backward a task.

Captum takes several inputs at a time and lets its gradient function be replaced. Here it gets the input once for each
task, and a gradient function that answers from the one forward pass that has been made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import InputXGradient, Saliency
from torch import Tensor

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
