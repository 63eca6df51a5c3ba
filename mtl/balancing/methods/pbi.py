"""Penalty-based boundary intersection: far along a preferred ray, and close to it."""

from dataclasses import dataclass
from typing import ClassVar

import torch

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
class PBI(Method):
    """Minimise c (d1 + penalty d2): d1 is the length of L - z along the ray p, d2 the distance from it.

    The weights are its derivatives by L, with c such that they add up to T on the ray; they may be negative
    off it. Source: Zhang and Li 2007, section II.C, equation 5 (penalty 5 in their experiments), there for
    maximising. It takes the absolute value of d1, the same above z, and p as it is in d2, where here p has
    length one in both. Cost: one backward pass.

    Args:
        preference: p, the ray, numbers >= 0 by task name or in task order; None is one for each (all gaps alike).
        penalty: how much the distance counts.
        ideal: z, the best loss that each task could reach; None is zero.

    >>> import mtl
    >>> mtl.combine(torch.eye(2), "pbi", losses=[2.0, 2.0])
    tensor([1., 1.])
    """

    name: ClassVar[str] = "pbi"
    needs: ClassVar[Needs] = "losses"
    preference: TaskValues = None
    penalty: float = 5.0
    ideal: TaskValues = None

    def __post_init__(self) -> None:
        check_task_values(self.name, "preference", self.preference)
        check_number(self.name, "penalty", self.penalty, least=0)
        check_task_values(self.name, "ideal", self.ideal, least=float("-inf"), some=False)

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        ray = given.pick(self.preference, "preference")
        ray = ray / ray.norm()
        gaps = given.losses - given.pick(self.ideal, "ideal", default=0.0)
        off = gaps - (gaps @ ray) * ray
        distance = off.norm()
        # on the ray, to rounding, the distance has no gradient
        away = off / distance if float(distance) > 1e-12 * float(gaps.norm()) else torch.zeros_like(off)
        return Answer(weights=len(given.tasks) / ray.sum() * (ray + self.penalty * away)), state
