"""GradNorm: weights under which all gradients have lengths in line with how fast the tasks learn."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from mtl.balancing.adam import Adam
from mtl.balancing.method import (
    Answer,
    Given,
    Level,
    Method,
    Needs,
    PerTask,
    Size,
    check_losses,
    check_number,
)


class GradNormState(NamedTuple):
    """Logits of the weights, their Adam averages, and the first loss of each task (NaN: not seen yet)."""

    logits: PerTask
    adam: Adam
    first: PerTask


@dataclass(frozen=True, kw_only=True)
class GradNorm(Method):
    """Learn w by descending sum_t |w_t |g_t| - mean_s(w_s |g_s|) (r_t / mean r)^alpha|, r_t = L_t / L_t at the start.

    The target is a constant of each step, w = T softmax(logits), so that weights stay positive and add up to
    T, and the logits take an Adam step; the paper steps on w and rescales it. Slow tasks (r above one) get
    longer gradients. Weights apply to the heads too, as the loss that the paper minimises is weighted.
    Lengths are those of the last shared layer, as in the paper. Source: Chen et al. 2018, equations 1 and 2
    and algorithm 1. Others differ: LibMTL takes all shared parameters and the mean losses of the first epoch,
    gradnorm-pytorch the power -alpha (the other sign). Cost: T backward passes through the last layer and one
    through all.

    Args:
        alpha: how strongly slow tasks are helped (1.5 and, for like tasks, 0.12 in the paper).
        lr: learning rate of the logits (0.025 for w in the paper, with Adam).

    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), "gradnorm", losses=[1.0, 1.0])   # the first weights are one
    tensor([1., 2.])
    """

    name: ClassVar[str] = "gradnorm"
    needs: ClassVar[Needs] = "gramian"
    weights_heads: ClassVar[bool] = True
    default_level: ClassVar[Level] = "last_layer"
    alpha: float = 1.5
    lr: float = 0.025

    def __post_init__(self) -> None:
        check_number(self.name, "alpha", self.alpha, least=0)
        check_number(self.name, "lr", self.lr, above=0)

    def init(self, size: Size) -> GradNormState:
        zeros = torch.zeros(size.tasks, dtype=torch.float64)
        return GradNormState(zeros, Adam.start(size), zeros + torch.nan)

    def solve(self, given: Given, state: GradNormState) -> tuple[Answer, GradNormState]:
        check_losses(given, zero=False)
        T = len(given.tasks)
        first = torch.where(state.first.isnan(), given.losses, state.first)
        rates = given.losses / first
        rates = rates / rates.mean()
        lengths = given.gramian.diagonal().clamp(min=0).sqrt()
        z = state.logits.softmax(dim=0)
        weighted = T * z * lengths
        slope = (weighted - weighted.mean() * rates**self.alpha).sign() * lengths  # by w
        # relative, so that Adam's epsilon does not see the scale
        slope = T * z * (slope - (z * slope).sum()) / lengths.max().clamp(min=torch.finfo(torch.float64).tiny)
        step, adam = state.adam.step(slope)
        return Answer(weights=T * z), GradNormState(state.logits - self.lr * step, adam, first)
