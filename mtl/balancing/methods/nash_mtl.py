"""Nash-MTL: the direction on which the tasks, bargaining over their gains, would agree."""

from dataclasses import dataclass
from typing import ClassVar

from mtl.balancing.method import Answer, Given, Method, Needs
from mtl.balancing.methods.fairgrad import fair_weights


@dataclass(frozen=True, kw_only=True)
class NashMTL(Method):
    """Weights a > 0 with M a = 1 / a: every task gains g_t · d = 1 / a_t, and |d|² is the number of tasks.

    The weights are the one minimiser of a' M a / 2 - sum_t log a_t, found as in `fairgrad`, of which it is
    ``alpha=1``, with the same residual. Orthogonal gradients of length one give the plain sum. The length of
    the direction does not follow that of the gradients. Where a combination of the gradients with weights
    >= 0 is zero (the point is Pareto-stationary) no solution exists, and the direction is zero; a task with a
    zero gradient has weight zero. Source: Navon et al. 2022, claim 3.1 and algorithm 1. Their code
    approximates it by 20 convex programs (section 3.2), weights the heads too, and clips the trunk's gradient
    to length one: do so for every method, or for none. Cost: T backward passes.

    >>> import torch
    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[2.0, 0.0], [0.0, 0.5]]), "nash_mtl")
    tensor([1., 1.])
    """

    name: ClassVar[str] = "nash_mtl"
    needs: ClassVar[Needs] = "gramian"

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        solution = fair_weights(given.gramian, alpha=1.0)
        return Answer(solution.weights, None, solution.residual, solution.converged), state
