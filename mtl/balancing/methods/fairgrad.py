"""FairGrad: utilities of the tasks' gains summed, from proportional fairness to max-min."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mtl.balancing.method import Answer, Given, Method, Needs, check_number
from mtl.balancing.methods.nash_mtl import nash_weights
from mtl.balancing.solvers import TOLERANCE, Solution, unit_diagonal

_STEPS = 200
_STATIONARY = (
    1e6  # weights of unit gradients beyond this times their start: their weighted sum is zero to rounding
)


@dataclass(frozen=True, kw_only=True)
class FairGrad(Method):
    """Weights a > 0 with M a = a^(-1/alpha): task t gains g_t · d = a_t^(-1/alpha).

    ``alpha=1`` is `nash_mtl` (proportional fairness); towards 0 the sum of the gains counts, towards infinity
    all gain alike. The weights are the one minimiser of a' M a / 2 - sum_t u(a_t), u' = a^(-1/alpha), found
    by Newton steps with a line search on gradients of length one; the residual is the largest relative error
    of the equation. The length of d does not follow that of the gradients (their factor c gives c to
    (1 - alpha) / (1 + alpha)). Pareto-stationary points give zero, a zero gradient has weight zero. Source:
    Ban and Ji 2024, equation 4 and algorithm 1. Their code solves the equation by least squares from 1 / T,
    multiplies by T and then clips the trunk's gradient to length one, so that its steps mostly have one
    length; heads get their own gradients, as here. Cost: T backward passes.

    Args:
        alpha: the fairness (1 by default in the authors' code, 2 in its run scripts).

    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "fairgrad", alpha=2.0)
    tensor([1., 1.])
    """

    name: ClassVar[str] = "fairgrad"
    needs: ClassVar[Needs] = "gramian"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_number(self.name, "alpha", self.alpha, above=0)

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        solution = fair_weights(given.gramian, self.alpha)
        return Answer(solution.weights, None, solution.residual, solution.converged), state


def fair_weights(gramian: Tensor, alpha: float) -> Solution:
    """The weights [T] for a Gramian [T, T].

    With b_t = a_t |g_t| the equation is C b = k b^-p, p = 1 / alpha and k_t = |g_t|^(p - 1).
    """
    if alpha == 1:
        return nash_weights(gramian)
    weights = torch.zeros(len(gramian), dtype=gramian.dtype)
    there = gramian.diagonal() > 0
    if not bool(there.any()):
        return Solution(weights, 0.0)
    C, lengths = unit_diagonal(gramian[there][:, there])
    p = 1 / alpha
    log_k = (p - 1) * lengths.log()
    shift = log_k.mean() / (1 + p)  # b in units in which k is near one
    k = (log_k - log_k.mean()).exp()
    b = start = k ** (1 / (1 + p))
    residual = float("inf")
    for _ in range(_STEPS):
        wanted = k * b**-p
        products = C @ b
        found = float((products / wanted - 1).abs().max())
        if found < 1e-13 or (
            found <= TOLERANCE + 1e-14 * float((b / start).max()) ** 2 and found >= residual
        ):
            break  # exact, or rounding alone moves it
        residual = min(residual, found)
        if float((b / start).max()) > _STATIONARY:
            return Solution(weights, 0.0)
        step = torch.linalg.solve(C + torch.diag(p * wanted / b), wanted - products)
        b = _search(C, k, p, b, step, slope=float((products - wanted) @ step))
    weights[there] = b * shift.exp() / lengths
    residual = float((C @ b / (k * b**-p) - 1).abs().max())
    return Solution(weights, residual, rounding=1e-14 * float((b / start).max()) ** 2)


def _search(C: Tensor, k: Tensor, p: float, b: Tensor, step: Tensor, slope: float) -> Tensor:
    """b plus as much of the Newton step as keeps it positive and lowers the value (Armijo's condition)."""

    def value(b: Tensor) -> float:
        return float(b @ C @ b / 2 - (k * b ** (1 - p) / (1 - p)).sum())

    here = value(b)
    t = min(1.0, 0.9 / max(float((-step / b).max()), 0.9))
    while t > 1e-12 and value(b + t * step) > here + 1e-4 * t * slope + 1e-13 * abs(here):
        t /= 2
    return b + t * step
