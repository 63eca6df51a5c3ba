"""CAGrad: the direction near the average that does most for the task that gains least."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mtl.balancing.method import Answer, Given, Method, Needs, check_choice, check_number
from mtl.balancing.solvers import TOLERANCE, Solution, complementarity, minimum_norm_weights, unit_diagonal


@dataclass(frozen=True, kw_only=True)
class CAGrad(Method):
    """d = T (g + e): g the mean gradient, and e that maximises min_t g_t · (g + e) subject to |e| <= c |g|.

    With c = 0 the plain sum, with c >= 1 no task gets worse to first order. Where gradients cancel, a shorter
    e may do all that can be done; it is the shortest of those. Solved exactly; the residual is the duality
    gap, relative. A zero gradient counts in the mean and not in the minimum. Source: Liu et al. 2021,
    equation 3 and algorithm 1, times T as in the authors' code ("to match the sum loss"). Their code solves
    the dual with SLSQP (1e-8 under its roots) and divides by 1 + c² unless told otherwise; its toy problem
    divides by 1 + c. Heads get their own gradients, as here. Cost: T backward passes.

    Args:
        c: how far from the average (0.4, for Cityscapes also 0.6, in the authors' scripts, 0.5 in their toy problem).
        rescale: by what the direction is divided: ``"none"`` (the paper), ``"squared"`` 1 + c² or ``"linear"``
            1 + c (both in the authors' code).

    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "cagrad", c=0.0)
    tensor([1., 1.])
    """

    name: ClassVar[str] = "cagrad"
    needs: ClassVar[Needs] = "gramian"
    c: float = 0.5
    rescale: Literal["none", "squared", "linear"] = "none"

    def __post_init__(self) -> None:
        check_number(self.name, "c", self.c, least=0)
        check_choice(self.name, "rescale", self.rescale, ("none", "squared", "linear"))

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        solution = cagrad_weights(given.gramian, self.c)
        divisor = {"none": 1.0, "squared": 1 + self.c**2, "linear": 1 + self.c}[self.rescale]
        return Answer(solution.weights / divisor, None, solution.residual, solution.converged), state


def cagrad_weights(gramian: Tensor, c: float) -> Solution:
    """The weights [T] of d, without rescaling.

    The shortest e with g_t · (g + e) >= v for all t is a complementarity problem, and its length grows with v. Between
    two changes of its active set, |e|² is a quadratic in v: its root at |e| = c |g| is the next v, from above, so that
    each active set is visited once.
    """
    T = gramian.shape[0]
    weights = torch.ones(T, dtype=gramian.dtype)
    there = gramian.diagonal() > 0
    size = float(gramian.diagonal().max().clamp(min=0).sqrt())
    if c == 0 or size == 0:
        return Solution(weights, 0.0)
    M = gramian / size**2
    length = float(M.sum().clamp(min=0).sqrt()) / T
    radius = c * length
    if length <= 1e-7:  # the mean is zero, as far as a Gramian can tell
        return Solution(0 * weights, 0.0)
    b = M.mean(dim=1)[there]  # g_t · g
    M = M[there][:, there]
    C, lengths = unit_diagonal(M)
    seen: set[tuple[bool, ...]] = set()
    x = torch.zeros_like(b)
    active = torch.zeros_like(b, dtype=torch.bool)
    active[b.argmin()] = True  # the first to bind as v rises from where e is zero
    for _ in range(4 * T + 4):
        key = tuple(active.tolist())
        if key in seen or not any(key):
            break
        seen.add(key)
        v, x = _root(C, b / lengths, 1 / lengths, active, radius)
        slack = C @ x + (b - v) / lengths
        if float(torch.where(active, x, slack).min()) >= -1e-12:
            break  # x and v meet every condition
        x, _ = (part[0] for part in complementarity(C, ((b - v) / lengths)[None]))
        active = x > 0
    e = x.clamp(min=0) / lengths
    reached = float((e @ M @ e).clamp(min=0).sqrt())
    e = e * (radius / max(reached, 1e-12 * radius))
    residual = _gap(M, b, radius, e, e / e.sum().clamp(min=1e-300)) / (radius + length)
    if reached < 0.999 * radius or residual > TOLERANCE:  # x went to a combination of gradients that is zero
        choices = [(residual, e)] if reached >= 0.999 * radius else []
        for s in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
            e, w = _shortest(M, b, length, s / length)
            choices.append((_gap(M, b, radius, e, w) / (radius + length), e))
            if choices[-1][0] <= TOLERANCE:
                break
        residual, e = min(choices, key=lambda choice: choice[0])
    weights[there] += T * e
    return Solution(weights, residual, rounding=1e-14 / length**2)


def _gap(M: Tensor, b: Tensor, radius: float, e: Tensor, w: Tensor) -> float:
    """The dual's value at w less the least gain at e, which is at most the optimum's."""
    dual = float(w @ b) + radius * float((w @ M @ w).clamp(min=0).sqrt())
    return max(0.0, dual - float((b + M @ e).min()))


def _shortest(M: Tensor, b: Tensor, length: float, s: float) -> tuple[Tensor, Tensor]:
    """The shortest e that maximises min_t (b + M e)_t, and the w of the dual, a combination of gradients that is zero.

    With a multiplier s for |e|² / 2 the dual's w is that of the shortest combination of the g_t + s g, and e = g_w / s.
    Once s is small enough e stays as it is, and w is linear in s.
    """
    w, half = (minimum_norm_weights(M + s * (b + b[:, None]) + (s * length) ** 2).weights for s in (s, s / 2))
    return w / s, (2 * half - w).clamp(min=0)


def _root(C: Tensor, b: Tensor, ones: Tensor, active: Tensor, radius: float) -> tuple[float, Tensor]:
    """The largest v with |e| = radius where the ``active`` tasks gain v each, and x there (unit gradients)."""
    A = C[active][:, active]
    A = A + 1e-13 * torch.eye(len(A), dtype=A.dtype)
    p, q = torch.linalg.solve(A, torch.stack([ones[active], b[active]], dim=1)).unbind(dim=1)
    # |e|² = v² a - 2 v h + k
    a, h, k = float(ones[active] @ p), float(ones[active] @ q), float(b[active] @ q)
    v = (h + max(0.0, h * h - a * (k - radius**2)) ** 0.5) / a
    x = torch.zeros_like(b)
    x[active] = v * p - q
    return v, x
