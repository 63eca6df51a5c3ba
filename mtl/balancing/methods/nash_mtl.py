"""Nash-MTL: the direction on which the tasks, bargaining over their gains, would agree."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mtl.balancing.method import Answer, Given, Method, Needs
from mtl.balancing.solvers import TOLERANCE, Solution

_STEPS = 200
_STATIONARY = 1e6  # weights of unit gradients beyond this: their weighted sum is zero to rounding


@dataclass(frozen=True, kw_only=True)
class NashMTL(Method):
    """Weights a > 0 with M a = 1 / a: every task gains g_t · d = 1 / a_t, and |d|² is the number of tasks.

    The weights are the one minimiser of a' M a / 2 - sum_t log a_t, found by damped Newton steps on gradients
    of length one; the residual is the largest |a_t (M a)_t - 1|. Orthogonal gradients of length one give the
    plain sum. The length of the direction does not follow that of the gradients. Where a combination of the
    gradients with positive weights is zero (the point is Pareto-stationary) no solution exists, and the
    direction is zero; a task with a zero gradient has weight zero. Source: Navon et al. 2022, claim 3.1 and
    algorithm 1. Their code approximates it by 20 convex programs (section 3.2), weights the heads too, and
    clips the trunk's gradient to length one: do so for every method, or for none. Cost: T backward passes.

    >>> import torch
    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[2.0, 0.0], [0.0, 0.5]]), "nash_mtl")
    tensor([1., 1.])
    """

    name: ClassVar[str] = "nash_mtl"
    needs: ClassVar[Needs] = "gramian"

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        solution = nash_weights(given.gramian)
        return Answer(solution.weights, None, solution.residual, solution.converged), state


def nash_weights(gramian: Tensor) -> Solution:
    """The weights [T] for a Gramian [T, T], and their residual."""
    lengths = gramian.diagonal().clamp(min=0).sqrt()
    weights = torch.zeros_like(lengths)
    there = lengths > 0
    if not bool(there.any()):
        return Solution(weights, 0.0)
    lengths = lengths[there]
    cosines = gramian[there][:, there] / lengths / lengths[:, None]
    b, residual = torch.ones_like(lengths), float("inf")  # the weights of the unit gradients
    for _ in range(_STEPS):
        gains = cosines @ b
        found = float((b * gains - 1).abs().max())
        # where gradients nearly oppose each other weights are large, and rounding alone is their square times epsilon
        if found < 1e-13 or (found <= TOLERANCE + 1e-14 * float(b.max()) ** 2 and found >= residual):
            break  # exact, or rounding alone moves it
        residual = min(residual, found)
        if float(b.max()) > _STATIONARY:
            return Solution(weights, 0.0)
        step = torch.linalg.solve(cosines + torch.diag(b**-2), 1 / b - gains)
        decrement = float((step * (1 / b - gains)).sum().clamp(min=0).sqrt())
        b = b + step * (1.0 if decrement < 0.25 else 1 / (1 + decrement))  # stays positive (self-concordance)
    weights[there] = b / lengths
    residual = float((b * (cosines @ b) - 1).abs().max())
    return Solution(weights, residual, rounding=1e-14 * float(b.max()) ** 2)
