"""FAMO: weights that follow how fast each loss fell, without a gradient a task."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from mtl.balancing.adam import Adam
from mtl.balancing.method import (
    Answer,
    Given,
    Method,
    Needs,
    PerTask,
    Size,
    TaskValues,
    check_number,
    check_task_values,
)  # fmt: skip


class FAMOState(NamedTuple):
    """Logits, their Adam averages, and the log losses before the last update (NaN: none pending)."""

    logits: PerTask
    adam: Adam
    before: PerTask


@dataclass(frozen=True, kw_only=True)
class FAMO(Method):
    """Minimise c sum_t z_t log(L_t - b_t): weights T c z_t / (L_t - b_t), c = 1 / sum_t(z_t / (L_t - b_t)).

    z = softmax(logits). After the update, with delta_t = log(L_t - b_t) before - after, the logits take an
    Adam step on J' delta, J the derivative of the softmax, with weight decay ``decay``. The losses after the
    update come from ``Balancer.after_step(losses)``, on the same batch as in the paper; where that is not
    called, those of the next step are used, as the authors' toy example does. `mtl.fit` calls it, with
    normalisation statistics left as they were and the dropout of the step. Source: Liu et al. 2023, equations
    10 to 12 and algorithm 1, with Adam as in their code where equation 12 has a plain step; the scale is T
    times theirs. Their code adds 1e-8 to L - b and clips the trunk's gradient to length one. Cost: one
    backward pass and one forward.

    Args:
        lr: learning rate of the logits (0.025 in the authors' code).
        decay: weight decay of the logits (0.001 in the authors' run scripts, 0.01 for Cityscapes).
        ideal: b, a lower bound of each loss; None is zero.

    >>> import mtl
    >>> mtl.combine(torch.eye(2), "famo", losses=[1.0, 1.0])
    tensor([1., 1.])
    """

    name: ClassVar[str] = "famo"
    needs: ClassVar[Needs] = "losses"
    revises: ClassVar[bool] = True
    lr: float = 0.025
    decay: float = 1e-3
    ideal: TaskValues = None

    def __post_init__(self) -> None:
        check_number(self.name, "lr", self.lr, above=0)
        check_number(self.name, "decay", self.decay, least=0)
        check_task_values(self.name, "ideal", self.ideal, least=float("-inf"), some=False)

    def init(self, size: Size) -> FAMOState:
        zeros = torch.zeros(size.tasks, dtype=torch.float64)
        return FAMOState(zeros, Adam.start(size), zeros + torch.nan)

    def solve(self, given: Given, state: FAMOState) -> tuple[Answer, FAMOState]:
        state = self.revise(given, state)  # nothing where after_step did it
        gaps = self._gaps(given)
        weights = state.logits.softmax(dim=0) / gaps
        weights = len(given.tasks) * weights / weights.sum()
        return Answer(weights=weights), state._replace(before=gaps.log())

    def revise(self, given: Given, state: FAMOState) -> FAMOState:
        pending = state.before.isfinite()
        if not bool(pending.any()):
            return state
        delta = torch.where(pending, state.before - self._gaps(given).log(), 0.0)
        z = torch.where(pending, state.logits, -torch.inf).softmax(dim=0)
        gradient = z * (delta - (z * delta).sum()) + self.decay * state.logits
        step, adam = state.adam.step(torch.where(pending, gradient, 0.0), pending)
        return FAMOState(state.logits - self.lr * step, adam, torch.full_like(state.before, torch.nan))

    def _gaps(self, given: Given) -> Tensor:
        gaps = given.losses - given.pick(self.ideal, "ideal", default=0.0)
        for task, gap, loss in zip(given.tasks, gaps.tolist(), given.losses.tolist(), strict=True):
            if gap <= 0:
                raise ValueError(
                    f"famo needs losses above their bound (famo.ideal, 0 by default), the loss of task '{task}' is "
                    f"{loss:g}; lower the bound, or use another balancer"
                )
        return gaps
