"""Homoscedastic uncertainty: each task's weight is the inverse of a variance that is learned along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from mtl.balancing.adam import Adam
from mtl.balancing.method import Answer, Given, Method, Needs, PerTask, Size, check_losses, check_number


class UncertaintyState(NamedTuple):
    """Log variances s and their Adam averages, one a task."""

    log_variance: PerTask
    adam: Adam

    @classmethod
    def start(cls, size: Size) -> UncertaintyState:
        return cls(torch.zeros(size.tasks, dtype=torch.float64), Adam.start(size))


@dataclass(frozen=True, kw_only=True)
class Uncertainty(Method):
    """Minimise sum_t e^{-s_t} L_t + s_t over the model and over s: weights e^{-s}, one at the start (s = 0).

    This is twice the regression form of Kendall et al. 2018, equation 7 (½ e^{-s} L + ½ s), so that the plain
    sum is where it starts; at the optimum of s, e^{-s_t} L_t = 1. Their form for classification, equation 10
    (e^{-s} L + ½ s), is the same with s shifted by log 2, and so starts at a weight of two; the code of Liu,
    Johns and Davison 2019 and of Navon et al. 2022 has the form for regression everywhere, as here. s takes
    an Adam step of its own after the weights of the step are set, so that the main optimizer's weight decay
    does not pull on it. A loss below zero drives s to minus infinity and is refused. Cost: one backward pass.

    Args:
        lr: learning rate of s (0.025 in the comparison of Chen et al. 2018, GradNorm).

    >>> method = Uncertainty(lr=0.1)
    >>> method.init(Size(tasks=2)).log_variance
    tensor([0., 0.], dtype=torch.float64)
    """

    name: ClassVar[str] = "uncertainty"
    needs: ClassVar[Needs] = "losses"
    lr: float = 0.025

    def __post_init__(self) -> None:
        check_number(self.name, "lr", self.lr, above=0)

    def init(self, size: Size) -> UncertaintyState:
        return UncertaintyState.start(size)

    def solve(self, given: Given, state: UncertaintyState) -> tuple[Answer, UncertaintyState]:
        check_losses(given, zero=True)
        weights, updated = uncertainty_step(given.losses, state, self.lr)
        return Answer(weights=weights), updated


def uncertainty_step(losses: Tensor, state: UncertaintyState, lr: float) -> tuple[Tensor, UncertaintyState]:
    """The weights e^{-s} [T] for ``losses`` [T], and s after one Adam step (betas 0.9 and 0.999)."""
    weights = (-state.log_variance).exp()
    step, adam = state.adam.step(1 - weights * losses)
    return weights, UncertaintyState(state.log_variance - lr * step, adam)
