"""UPGrad: each gradient projected onto the directions that no task opposes, then summed."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from mtl.balancing.method import Answer, Given, Method, Needs, TaskValues, check_task_values
from mtl.balancing.solvers import dual_cone_weights


@dataclass(frozen=True, kw_only=True)
class UPGrad(Method):
    """The sum over tasks of the projection of p_t g_t onto {d : g_s · d >= 0 for every task s}.

    The result decreases every task (to first order), and without conflict it is the plain sum. Each
    projection is sum_s v_s g_s with v = argmin v' M v subject to v >= p_t e_t, solved exactly: the residual
    is the largest violation of its optimality conditions, relative. Source: Quinton and Rey 2024, proposition
    1 and the definition before it, which averages where this sums. The authors' code (TorchJD) also divides M
    by its trace and adds 1e-4 of the identity, which this does not. Cost: T backward passes.

    Args:
        preference: p, numbers >= 0 by task name or in task order; None is one for each.

    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]), "upgrad")
    tensor([0.5000, 1.5000])
    """

    name: ClassVar[str] = "upgrad"
    needs: ClassVar[Needs] = "gramian"
    preference: TaskValues = None

    def __post_init__(self) -> None:
        check_task_values(self.name, "preference", self.preference)

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        start = torch.diag(given.pick(self.preference, "preference"))
        solution = dual_cone_weights(given.gramian, start)
        return Answer(solution.weights.sum(dim=0), None, solution.residual, solution.converged), state
