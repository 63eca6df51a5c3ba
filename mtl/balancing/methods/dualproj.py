"""DualProj: the weighted sum, projected onto the directions that no task opposes."""

from dataclasses import dataclass
from typing import ClassVar

from mtl.balancing.method import Answer, Given, Method, Needs, TaskValues, check_task_values
from mtl.balancing.solvers import dual_cone_weights


@dataclass(frozen=True, kw_only=True)
class DualProj(Method):
    """The projection of sum_t p_t g_t onto {d : g_s · d >= 0 for every task s}.

    Where `upgrad` projects each gradient and adds, this adds and projects: a large gradient keeps more of its
    way. Solved exactly, with the largest violation of the optimality conditions as residual. Source:
    Lopez-Paz and Ranzato 2017 (GEM), equation 11 for the dual, with the sum as the gradient to project, as
    Quinton and Rey 2024 compare it (they take the mean: T times less). Cost: T backward passes.

    Args:
        preference: p, numbers >= 0 by task name or in task order; None is one for each.

    >>> import torch
    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 0.0], [-2.0, 1.0]]), "dualproj")
    tensor([0., 1.])
    """

    name: ClassVar[str] = "dualproj"
    needs: ClassVar[Needs] = "gramian"
    preference: TaskValues = None

    def __post_init__(self) -> None:
        check_task_values(self.name, "preference", self.preference)

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        start = given.pick(self.preference, "preference")[None]  # one problem, [1, T]
        solution = dual_cone_weights(given.gramian, start)
        return Answer(solution.weights[0], None, solution.residual, solution.converged), state
