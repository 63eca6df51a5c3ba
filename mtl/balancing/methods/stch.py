"""Smooth Tchebycheff: minimise a smooth maximum of the losses."""

from dataclasses import dataclass
from typing import ClassVar

from mtl.balancing.method import (
    Answer,
    Given,
    Method,
    Needs,
    TaskValues,
    check_number,
    check_task_values,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class STCH(Method):
    """Minimise T mu log sum_t exp(p_t (L_t - z_t) / mu): weights T p_t softmax(p (L - z) / mu).

    The value lies between the maximum of p_t (L_t - z_t) and that plus mu log T, so with mu towards zero the worst task
    alone counts, and with a large mu all count alike (weights of one). Every Pareto-optimal point is the minimum for
    some p. Source: Lin et al. 2024, equation 8. Their code takes logarithms of losses
    relative to those after a warm-up; scale the losses, or set ``preference``, for the same. Cost: one backward pass.

    Args:
        mu: the smoothing, in the units of the losses.
        preference: p, numbers >= 0 by task name or in task order; None is one for each.
        ideal: z, the best loss that each task could reach; None is zero.

    >>> import mtl, torch
    >>> mtl.combine(torch.eye(2), "stch", losses=[1.0, 1.0])
    tensor([1., 1.])
    """

    name: ClassVar[str] = "stch"
    needs: ClassVar[Needs] = "losses"
    mu: float = 1.0
    preference: TaskValues = None
    ideal: TaskValues = None

    def __post_init__(self) -> None:
        check_number(self.name, "mu", self.mu, above=0)
        check_task_values(self.name, "preference", self.preference)
        check_task_values(self.name, "ideal", self.ideal, least=float("-inf"), some=False)

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        p = given.pick(self.preference, "preference")
        gaps = given.losses - given.pick(self.ideal, "ideal", default=0.0)
        return Answer(weights=len(given.tasks) * p * (p * gaps / self.mu).softmax(dim=0)), state
