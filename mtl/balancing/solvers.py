"""The small convex problems behind the balancers, solved in float64 on [T, T] with a certificate."""

from typing import NamedTuple

import torch
from torch import Tensor

TOLERANCE = 1e-8  # of a certificate, relative
_SLACK = 1e-12  # what counts as zero of numbers near one
_RIDGE = 1e-13  # on a unit diagonal: keeps the systems of a singular Gramian solvable


class Solution(NamedTuple):
    """Weights [..., T] and the largest violation of their optimality conditions, relative to the problem's size."""

    weights: Tensor
    residual: float
    rounding: float = (
        0.0  # what float64 leaves of the residual whatever one does, where gradients nearly cancel
    )

    @property
    def converged(self) -> bool:
        return self.residual <= TOLERANCE + self.rounding


def unit_diagonal(gramian: Tensor) -> tuple[Tensor, Tensor]:
    """The cosines [T, T] between the gradients and their lengths [T]; a zero gradient keeps length one, and zeros.

    >>> unit_diagonal(torch.tensor([[4.0, 2.0], [2.0, 4.0]]))
    (tensor([[1.0000, 0.5000],
            [0.5000, 1.0000]]), tensor([2., 2.]))
    """
    lengths = gramian.diagonal().clamp(min=0).sqrt()
    lengths = torch.where(lengths > 0, lengths, torch.ones_like(lengths))
    return gramian / lengths / lengths[:, None], lengths


def complementarity(M: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """x >= 0 with y = start + M x >= 0 and x'y = 0, for each row of ``start`` [R, T]; returns x and y, [R, T].

    M [T, T] is positive semi-definite with a diagonal near one (or of zeros). The conditions are those of the minimum
    of x' M x / 2 + start' x over x >= 0. Solved by block principal pivoting (Kim and Park 2011, section 3), which
    its single exchanges make finite. Cost: a few batched solves of [R, T, T].

    >>> M = torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    >>> complementarity(M, torch.tensor([[-1.0, 2.0]], dtype=torch.float64))[0]
    tensor([[1., 0.]], dtype=torch.float64)
    """
    T = M.shape[0]
    free = start < -_SLACK
    x, y = _solved(M, start, free)
    fewest = chances = None
    for _ in range(20 * T + 20):
        wrong = torch.where(free, x, y) < -_SLACK
        count = wrong.sum(dim=1)
        if not bool(count.any()):
            break
        if fewest is None or chances is None:
            fewest, chances = count, torch.full_like(count, 2)
        else:
            chances = torch.where(count < fewest, 3, chances - 1)
            fewest = torch.minimum(fewest, count)
        if bool((chances < 0).any()):  # exchange the last wrong one alone, which cannot cycle (Murty 1974)
            places = torch.arange(1, T + 1)
            last = places == (wrong * places).amax(dim=1, keepdim=True)
            wrong = wrong & ((chances >= 0)[:, None] | last)
        free = free ^ wrong
        x, y = _solved(M, start, free)
    return x, y


def _solved(M: Tensor, start: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """x with y = 0 where ``free``, and zero elsewhere; y = start + M x."""
    if bool(free.all()):
        system, right = M[None].clone(), -start
        system.diagonal(dim1=1, dim2=2).add_(_RIDGE)
    else:
        active = free.to(M.dtype)
        system, right = M * active[:, :, None] * active[:, None, :], -start * active
        system.diagonal(dim1=1, dim2=2).add_(torch.where(free, _RIDGE, 1.0))
    x = torch.linalg.solve(system, right[:, :, None])[:, :, 0]
    return x, start + x @ M


def dual_cone_weights(gramian: Tensor, start: Tensor) -> Solution:
    """min_v v' M v subject to v >= u, for each row u of ``start`` [R, T] and the Gramian M [T, T].

    The combination v' G is then the projection of u' G onto the cone of directions that decrease no task.

    Args:
        gramian: [T, T] float64, positive semi-definite; zero rows are fine.
        start: [R, T] float64, u >= 0.

    Cost: that of `complementarity`.

    >>> dual_cone_weights(torch.tensor([[1.0, -1.0], [-1.0, 2.0]]).double(), torch.eye(2).double()).weights
    tensor([[1.0000, 0.5000],
            [1.0000, 1.0000]], dtype=torch.float64)
    """
    M, lengths = unit_diagonal(gramian)
    u = start * lengths
    size = u.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(u.dtype).tiny)
    x, y = complementarity(M, u / size @ M)
    violation = torch.maximum(torch.maximum(-x, -y), (x * y).abs())
    return Solution(start + x.clamp(min=0) * size / lengths, float(violation.amax().clamp(min=0)))


def minimum_norm_weights(gramian: Tensor) -> Solution:
    """min_w w' M w over the simplex: the shortest convex combination of the gradients.

    With the gradients scaled to length one and c_t = 1 / |g_t|, the weights are proportional to x_t / |g_t|, where
    x minimises x' (C + c c') x / 2 - c'x over x >= 0 (a multiple of the solution, by homogeneity; c'x is the sum of
    the weights, so that c c' changes nothing but keeps x finite where gradients cancel). The residual is the duality
    gap (|d|² - min_t g_t · d) / min_t |g_t|². A zero gradient takes all the weight, and d is zero.

    >>> minimum_norm_weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]], dtype=torch.float64)).weights
    tensor([0.8000, 0.2000], dtype=torch.float64)
    """
    squares = gramian.diagonal()
    shortest = float(squares.min())
    if shortest <= 0:
        zero = (squares <= 0).to(gramian.dtype)
        return Solution(zero / zero.sum(), 0.0)
    C, lengths = unit_diagonal(gramian)
    c = lengths.min() / lengths
    x, _ = complementarity(C + c * c[:, None], -c[None])
    weights = x[0].clamp(min=0) * c
    weights = weights / weights.sum()
    gains = gramian @ weights
    return Solution(weights, float(((weights @ gains - gains.min()) / shortest).clamp(min=0)))


def equal_cosines(gramian: Tensor, wanted: Tensor | None = None) -> tuple[Tensor, Tensor, float]:
    """b [T] with C b = w, so that sum_t b_t g_t / |g_t| has cosines to the gradients like w; lengths [T]; residual.

    C is the matrix of cosines; where it is singular, b is the shortest least-squares solution. A zero gradient
    has b = 0. The residual is the largest |C b - w| over the gradients that are not zero, relative to the largest w,
    and 0 where C is singular.

    Args:
        gramian: [T, T] float64, positive semi-definite; zero rows are fine.
        wanted: w [T] >= 0; None is one for each: equal cosines.

    >>> equal_cosines(torch.tensor([[4.0, 0.0], [0.0, 1.0]], dtype=torch.float64))[0]
    tensor([1., 1.], dtype=torch.float64)
    """
    C, lengths = unit_diagonal(gramian)
    there = C.diagonal() > 0
    w = there.to(C.dtype) if wanted is None else torch.where(there, wanted, 0.0)
    values, vectors = torch.linalg.eigh(C)
    kept = values > 1e-12 * values[-1].clamp(min=torch.finfo(values.dtype).tiny)
    V = vectors[:, kept]
    b = V @ ((V.T @ w) / values[kept])
    size = float(w.max())
    if int(kept.sum()) < int(there.sum()) or size == 0:
        return b, lengths, 0.0
    return b, lengths, float((C @ b - w).abs().max()) / size


def project_to_simplex(point: Tensor) -> Tensor:
    """The nearest point [T] with entries >= 0 that add up to one (Held, Wolfe and Crowder 1974).

    >>> project_to_simplex(torch.tensor([0.8, 0.6, -1.0]))
    tensor([0.6000, 0.4000, 0.0000])
    """
    point = point - point.max()  # the same projection, and no sum that swallows the one
    ordered = point.sort(descending=True).values
    excess = (ordered.cumsum(dim=0) - 1) / torch.arange(1, len(point) + 1, dtype=point.dtype)
    return (point - excess[ordered > excess][-1]).clamp(min=0)
