"""Smooth Tchebycheff scalarisation: a smooth maximum of the losses is minimised."""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch

from mtl.balancing.method import (
    Answer,
    Given,
    Method,
    Needs,
    PerTask,
    Size,
    TaskValues,
    check_choice,
    check_losses,
    check_number,
    check_task_values,
)


class STCHState(NamedTuple):
    """Steps of each task, and the sum of its losses over the last fifth of the warm-up; for ``"official"``."""

    steps: PerTask
    total: PerTask


@dataclass(frozen=True, kw_only=True)
class STCH(Method):
    """Minimise T mu log sum_t exp(p_t (L_t - z_t) / mu): weights T p_t softmax(p (L - z) / mu).

    The value over T lies between the maximum of p_t (L_t - z_t) and that plus mu log T, so with mu towards
    zero the worst task alone counts, and with a large mu all count alike (weights of one). For mu small
    enough every Pareto-optimal point is the minimum for some p. Source: Lin et al. 2024, proposition 3.4 and
    theorem 3.8. There p is on the simplex: p / T and mu / T give the same softmax as p and mu.
    ``reference="official"`` is the authors' code for deep networks, another formula: T mu log sum_t exp(p_t
    log(L_t / n_t) / mu), after a warm-up on sum_t log L_t, with n the mean losses at its end (and p of ones).
    Cost: one backward pass.

    Args:
        mu: the smoothing, in the units of the losses (official: without units, 1 in the authors' code).
        preference: p, numbers >= 0 by task name or in task order; None is one for each.
        ideal: z, the best loss that each task could reach; None is zero.
        reference: ``"paper"`` or ``"official"``, see there.
        warm_up: official only: the steps of the warm-up (five epochs in the authors' code); n is the mean of its
            last fifth.

    >>> import mtl, torch
    >>> mtl.combine(torch.eye(2), "stch", losses=[1.0, 1.0])
    tensor([1., 1.])
    """

    name: ClassVar[str] = "stch"
    needs: ClassVar[Needs] = "losses"
    mu: float = 1.0
    preference: TaskValues = None
    ideal: TaskValues = None
    reference: Literal["paper", "official"] = "paper"
    warm_up: int = 250

    def __post_init__(self) -> None:
        check_number(self.name, "mu", self.mu, above=0)
        check_task_values(self.name, "preference", self.preference)
        check_task_values(self.name, "ideal", self.ideal, least=float("-inf"), some=False)
        check_choice(self.name, "reference", self.reference, ("paper", "official"))
        check_number(self.name, "warm_up", self.warm_up, least=1, whole=True)
        if self.reference == "official" and self.ideal is not None:
            raise ValueError("stch.ideal is not part of stch.reference='official'; leave it out")

    def init(self, size: Size) -> STCHState | None:
        zeros = torch.zeros(size.tasks, dtype=torch.float64)
        return STCHState(zeros, zeros) if self.reference == "official" else None

    def solve(self, given: Given, state: STCHState | None) -> tuple[Answer, STCHState | None]:
        p = given.pick(self.preference, "preference")
        if state is not None:
            return self._official(given, p, state)
        gaps = given.losses - given.pick(self.ideal, "ideal", default=0.0)
        return Answer(weights=len(given.tasks) * p * (p * gaps / self.mu).softmax(dim=0)), None

    def _official(self, given: Given, p: torch.Tensor, state: STCHState) -> tuple[Answer, STCHState]:
        check_losses(given, zero=False)
        window = max(1, self.warm_up // 5)
        steps, warm = state.steps + 1, state.steps < self.warm_up
        counted = warm & (steps > self.warm_up - window)
        after = STCHState(steps, state.total + torch.where(counted, given.losses, 0.0))
        ratios = given.losses / torch.where(warm, given.losses, state.total / window)  # one in the warm-up
        smooth = len(given.tasks) * p * (p * ratios.log() / self.mu).softmax(dim=0)
        return Answer(weights=torch.where(warm, 1.0, smooth) / given.losses), after
