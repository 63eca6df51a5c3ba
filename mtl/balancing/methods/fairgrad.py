"""FairGrad: utilities of the tasks' gains summed, from proportional fairness to max-min."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mtl.balancing.method import Answer, Given, Method, Needs, check_number
from mtl.balancing.solvers import TOLERANCE, Solution, minimum_norm_weights, unit_diagonal

_STEPS = 200
_HALVINGS = 30  # of a step, at most
_PATIENCE = 10  # steps after which it is asked whether there is a solution: most take five
_STATIONARY = 1e-6  # a convex combination of unit gradients that is shorter is zero to rounding
_VISIBLE = 1e-6  # of the terms that a gain is the sum of: below, rounding is more than the tolerance


@dataclass(frozen=True, kw_only=True)
class FairGrad(Method):
    """Weights a > 0 with M a = a^(-1/alpha): task t gains g_t · d = a_t^(-1/alpha).

    ``alpha=1`` is `nash_mtl` (proportional fairness); towards 0 the sum of the gains counts, towards infinity
    all gain alike. The weights are the one minimiser of a' M a / 2 - sum_t u(a_t), u' = a^(-1/alpha), found
    by Newton steps with a line search on gradients of length one; the residual is the largest error of a
    gain, relative to it or to a millionth of the terms it is the sum of (in float64 less is rounding). The
    length of d does not follow that of the gradients (their factor c gives c to (1 - alpha) / (1 + alpha)).
    Where gradients cancel (the point is Pareto-stationary) no solution exists, and d is zero; a zero gradient
    has weight zero. Source: Ban and Ji 2024, equation 4 and algorithm 1. Their code solves the equation by
    least squares from 1 / T, multiplies by T and then clips the trunk's gradient to length one, so that its
    steps mostly have one length; heads get their own gradients, as here. Cost: T backward passes.

    Args:
        alpha: the fairness, 0.1 to 10 (1 by default in the authors' code, 2 in its run scripts).

    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "fairgrad", alpha=2.0)
    tensor([1., 1.])
    """

    name: ClassVar[str] = "fairgrad"
    needs: ClassVar[Needs] = "gramian"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_number(self.name, "alpha", self.alpha, least=0.1, most=10)

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        solution = fair_weights(given.gramian, self.alpha)
        return Answer(solution.weights, None, solution.residual, solution.converged), state


def fair_weights(gramian: Tensor, alpha: float) -> Solution:
    """The weights [T] for a Gramian [T, T].

    With b_t = a_t |g_t| the equation is C b = k b^-p, p = 1 / alpha and k_t = |g_t|^(p - 1): gains that are had, and
    gains that are asked for. All of it stays in range where lengths differ by a factor of 1e10.

    >>> fair_weights(torch.diag(torch.tensor([4.0, 0.0], dtype=torch.float64)), 1.0).weights
    tensor([0.5000, 0.0000], dtype=torch.float64)
    """
    weights = torch.zeros(len(gramian), dtype=gramian.dtype)
    there = gramian.diagonal() > 0
    if not bool(there.any()):
        return Solution(weights, 0.0)
    C, lengths = unit_diagonal(gramian[there][:, there])
    p = 1 / alpha
    log_k = (p - 1) * lengths.log()
    shift = log_k.mean() / (1 + p)  # b in units in which k is near one
    log_k = log_k - log_k.mean()
    b = asked = (log_k / (1 + p)).exp()  # the solution for gradients at right angles
    had, sizes, residual = C @ b, C.abs(), float("inf")
    for step in range(_STEPS):
        error = _error(had, asked, sizes @ b)
        done = error < 1e-12 or (
            residual <= TOLERANCE and error > residual / 2
        )  # exact, or rounding alone moves it
        if (done or step == _PATIENCE) and _cancel(C, had, float(b @ had)):
            return Solution(weights, 0.0)
        if done:
            break
        residual = error
        b, had, asked = _step(C, log_k, p, b, had, asked)
    weights[there] = b * shift.exp() / lengths
    return Solution(weights, _error(had, asked, sizes @ b))


def _error(had: Tensor, asked: Tensor, terms: Tensor) -> float:
    """The largest error of a gain, relative to it or to what is visible beside the terms of its sum."""
    return float(((had - asked).abs() / torch.maximum(asked, _VISIBLE * terms)).max())


def _cancel(C: Tensor, gains: Tensor, square: float) -> bool:
    """Whether a convex combination of the unit gradients is zero to rounding.

    None is shorter than the least gain on a direction of length one, so where the direction at hand (of that squared
    length) shows it, no problem has to be solved.
    """
    if float(gains.min()) > _STATIONARY * max(square, 0.0) ** 0.5:
        return False
    shortest = minimum_norm_weights(C).weights
    return float(shortest @ C @ shortest) <= _STATIONARY**2


def _step(
    C: Tensor, log_k: Tensor, p: float, b: Tensor, had: Tensor, asked: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One Newton step with a line search: b, and the gains had and asked for there.

    A power changes over many orders of magnitude, so that its slope is not taken at b alone: it is that of the line,
    in logarithms, to the weight at which the gain had would be the gain asked for, or to one that makes it positive.
    Where this slope is the larger part of the curvature the step is one of the logarithm.
    """
    ratio = (had / asked).clamp(min=1e-300)
    half = (ratio.log() / 2).abs().clamp(min=1e-6)
    slope = p * asked / b * ratio.sqrt() * half.sinh() / half  # (had - asked) / log(had / asked): their mean
    positive = had > 0
    slope = torch.where(positive, slope, (asked - had) / torch.maximum(-had, b))
    # the factor of a matrix with a large diagonal is as exact as that of the matrix scaled to ones
    factor, _ = torch.linalg.cholesky_ex(C + torch.diag(slope + 1e-13))
    move = torch.cholesky_solve((asked - had)[:, None], factor)[:, 0] / b
    powers = positive & (slope > 1)

    def parts(b: Tensor, had: Tensor, asked: Tensor) -> tuple[float, float]:
        """b' C b / 2, and the sum_t u(b_t) that is taken off it."""
        sum_u = float(b @ asked) / (1 - p) if p != 1 else float(b.log().sum())
        return float(b @ had) / 2, sum_u

    square, sum_u = parts(b, had, asked)
    # where gradients nearly cancel the terms of the square are far larger than their sum, and so is its rounding
    rounding = 1e-13 * (abs(square) + abs(sum_u)) + 1e-15 * float(b @ (C.abs() @ b))
    descent = float(b * (had - asked) @ move)
    for halvings in range(_HALVINGS):
        t = 0.5**halvings
        grown = torch.where(powers, (t * move).clamp(-500, 500).exp(), (1 + t * move).clamp(min=0.1))
        new = (b * grown).clamp(min=1e-250)
        gains, wanted = C @ new, (log_k - p * new.log()).exp()
        after, after_u = parts(new, gains, wanted)
        if after - after_u <= square - sum_u + 1e-4 * t * descent + rounding:
            break  # lower, as far as rounding lets it be seen
    return new, gains, wanted
