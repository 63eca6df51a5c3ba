"""The small convex problems behind the balancers, solved in float64 on [T, T] with a certificate."""

from typing import NamedTuple

import torch
from torch import Tensor

TOLERANCE = 1e-8  # of a certificate, relative
_RIDGE = 1e-13  # on a unit diagonal: keeps the systems of a singular Gramian solvable


class ConeWeights(NamedTuple):
    """Weights [R, T] and the largest violation of their optimality conditions, relative to the problem's size."""

    weights: Tensor
    residual: float


def dual_cone_weights(gramian: Tensor, start: Tensor) -> ConeWeights:
    """min_v v' M v subject to v >= u, for each row u of ``start`` [R, T] and the Gramian M [T, T].

    The combination v' G is then the projection of u' G onto the cone of directions that decrease no task. With
    v = u + x this is the linear complementarity problem x >= 0, y = M (u + x) >= 0, x'y = 0, solved on the
    unit-diagonal Gramian by block principal pivoting (Kim & Park 2011, section 3), finite by its single exchanges.

    Args:
        gramian: [T, T] float64, positive semi-definite; zero rows are fine.
        start: [R, T] float64, u >= 0.

    Cost: a few batched solves of [R, T, T].

    >>> dual_cone_weights(torch.tensor([[1.0, -1.0], [-1.0, 2.0]]).double(), torch.eye(2).double()).weights
    tensor([[1.0000, 0.5000],
            [1.0000, 1.0000]], dtype=torch.float64)
    """
    T = gramian.shape[0]
    lengths = gramian.diagonal().clamp(min=0).sqrt()
    lengths = torch.where(lengths > 0, lengths, torch.ones_like(lengths))
    M = gramian / lengths / lengths[:, None]
    u = start * lengths
    size = u.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(u.dtype).tiny)
    u = u / size
    y0 = u @ M
    x, y = torch.zeros_like(u), y0.clone()
    free = torch.zeros_like(u, dtype=torch.bool)
    fewest = torch.full((len(u),), T + 1)
    chances = torch.full((len(u),), 3)
    for _ in range(20 * T + 20):
        wrong = torch.where(free, x, y) < -1e-12
        count = wrong.sum(dim=1)
        if not bool(count.any()):
            break
        better = count < fewest
        fewest = torch.minimum(fewest, count)
        chances = torch.where(better, 3, chances - 1)
        # out of chances: exchange the last wrong one alone, which cannot cycle (Murty 1974)
        last = torch.arange(T) == (wrong * torch.arange(1, T + 1)).amax(dim=1, keepdim=True) - 1
        free = free ^ (wrong & ((chances >= 0)[:, None] | last))
        active = free.to(M.dtype)
        system = M * active[:, :, None] * active[:, None, :]
        system.diagonal(dim1=1, dim2=2).add_(torch.where(free, _RIDGE, 1.0))
        x = torch.linalg.solve(system, -y0 * active)
        y = y0 + x @ M
    violation = torch.maximum(torch.maximum(-x, -y), (x * y).abs())
    return ConeWeights(start + x.clamp(min=0) * size / lengths, float(violation.amax().clamp(min=0)))
