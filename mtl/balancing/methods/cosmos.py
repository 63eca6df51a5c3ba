"""COSMOS: a weighted sum that is rewarded for losses in proportion to the weights."""

from dataclasses import dataclass
from typing import ClassVar

from mtl.balancing.method import (
    Answer,
    Given,
    Method,
    Needs,
    TaskValues,
    check_losses,
    check_number,
    check_task_values,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class COSMOS(Method):
    """Minimise T (sum_t r_t L_t - penalty cos(r, L)) with r = p / sum(p): the weights are its derivatives by L.

    Weights may be negative where a loss is too small for its share. Source: Ruchte and Grabocka 2021; the
    loss of their code, times T. It draws p in every step (Dirichlet) and gives it to the network as an input;
    here it is fixed. Cost: one backward pass.

    Args:
        preference: p, numbers >= 0 by task name or in task order; None is one for each.
        penalty: how much the angle counts, in the units of the losses (0.01 to 8 in the authors' settings).

    >>> import mtl, torch
    >>> mtl.combine(torch.eye(2), "cosmos", losses=[2.0, 2.0])
    tensor([1., 1.])
    """

    name: ClassVar[str] = "cosmos"
    needs: ClassVar[Needs] = "losses"
    preference: TaskValues = None
    penalty: float = 1.0

    def __post_init__(self) -> None:
        check_task_values(self.name, "preference", self.preference)
        check_number(self.name, "penalty", self.penalty, least=0)

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        check_losses(given, zero=True)
        losses, r = given.losses, given.pick(self.preference, "preference")
        r = r / r.sum()
        size = losses.norm()
        angle = 0 * r
        if float(size) > 0:  # all losses zero: no angle
            unit = losses / size
            angle = (r / r.norm() - (r / r.norm() @ unit) * unit) / size
        return Answer(weights=len(given.tasks) * (r - self.penalty * angle)), state
