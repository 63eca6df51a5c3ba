"""Two losses of two numbers, with known Pareto sets: what balancing does, to be seen in the plane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Problem:
    """Losses [..., 2] of points [..., 2], the published starts, and points of the Pareto set [M, 2], in order.

    >>> problem = PROBLEMS["quadratic"]
    >>> problem.losses(torch.tensor([-1.0, 0.0]))   # the first loss is zero at its minimum
    tensor([0., 2.])
    """

    name: str
    losses: Callable[[Tensor], Tensor]
    starts: tuple[tuple[float, float], ...]
    pareto: Callable[[], Tensor]
    corners: tuple[float, float, float, float]  # of the region to draw: x from, to, y from, to

    def distance(self, points: Tensor) -> Tensor:
        """Distance [...] of points [..., 2] to the Pareto set: to the line through its points."""
        front, flat = self.pareto(), points.reshape(-1, 1, 2)
        begin, way = front[:-1], front.diff(dim=0)  # [M - 1, 2]
        along = ((flat - begin) * way).sum(dim=-1) / way.square().sum(dim=-1)
        nearest = begin + along.clamp(0, 1)[..., None] * way  # [N, M - 1, 2]
        return (flat - nearest).norm(dim=-1).amin(dim=1).reshape(points.shape[:-1])


def _valley(points: Tensor) -> Tensor:
    x, y = points.unbind(dim=-1)
    zero = torch.zeros_like(y)  # `maximum` has half a slope at a tie, so that a start at y = 0 can leave it
    upper, lower = torch.maximum((0.5 * y).tanh(), zero), torch.maximum((-0.5 * y).tanh(), zero)
    steep = torch.stack(
        [
            (0.5 * (-x - 7) - (-y).tanh()).abs().clamp(min=5e-6).log() + 6,
            (0.5 * (-x + 3) + (-y).tanh() + 2).abs().clamp(min=5e-6).log() + 6,
        ],
        dim=-1,
    )
    bowls = torch.stack(
        [((x - 7) ** 2 + 0.1 * (y + 8) ** 2) / 10 - 20, ((x + 7) ** 2 + 0.1 * (y + 8) ** 2) / 10 - 20], dim=-1
    )
    return steep * upper[..., None] + bowls * lower[..., None]


def _valley_pareto() -> Tensor:
    """For each x between the two bowls, the y at which one gradient is a negative multiple of the other."""
    x = torch.linspace(-7, 7, 281, dtype=torch.float64)
    low, high = torch.full_like(x, -12.0), torch.full_like(x, -6.0)

    def cross(y: Tensor) -> Tensor:
        points = torch.stack([x, y], dim=-1).requires_grad_()
        losses = _valley(points)
        a, b = (torch.autograd.grad(losses[..., k].sum(), points, retain_graph=True)[0] for k in (0, 1))
        return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]

    sign = cross(low).sign()
    for _ in range(60):
        middle = (low + high) / 2
        same = cross(middle).sign() == sign
        low, high = torch.where(same, middle, low), torch.where(same, high, middle)
    return torch.stack([x, (low + high) / 2], dim=-1)[1:-1]


def _quadratic(points: Tensor) -> Tensor:
    x, y = points.unbind(dim=-1)
    return torch.stack([0.5 * ((x + 1) ** 2 + 4 * y**2), 0.5 * ((x - 1) ** 2 + 4 * y**2)], dim=-1)


def _scaled(points: Tensor) -> Tensor:
    return _quadratic(points) * torch.tensor([1.0, 100.0], dtype=points.dtype)


def _segment() -> Tensor:
    x = torch.linspace(-1, 1, 201, dtype=torch.float64)
    return torch.stack([x, torch.zeros_like(x)], dim=-1)


_AROUND = ((-2.0, 1.5), (2.0, 1.0), (0.3, -1.5), (-3.0, -1.0))
PROBLEMS: dict[str, Problem] = {
    # Liu et al. 2021 (CAGrad), appendix; the starts are theirs and those of Navon et al. 2022 (Nash-MTL) and Liu et al.
    # 2023 (FAMO), each once
    "valley": Problem(
        "valley",
        _valley,
        ((-8.5, 7.5), (-8.5, 5.0), (0.0, 0.0), (9.0, 9.0), (10.0, -8.0), (-7.5, -0.5), (9.0, -1.0)),
        _valley_pareto,
        (-11.0, 11.0, -11.0, 11.0),
    ),
    "quadratic": Problem("quadratic", _quadratic, _AROUND, _segment, (-3.5, 3.5, -2.0, 2.0)),
    # the same Pareto set; one loss a hundred times the other
    "scaled": Problem("scaled", _scaled, _AROUND, _segment, (-3.5, 3.5, -2.0, 2.0)),
}
