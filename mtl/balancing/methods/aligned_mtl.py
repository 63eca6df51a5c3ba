"""Aligned-MTL: the system of gradients made orthogonal and of one length, then summed."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mtl.balancing.method import Answer, Given, Method, Needs, TaskValues, check_choice, check_task_values
from mtl.balancing.solvers import Solution

Scale = Literal["min", "median", "rmse"]


@dataclass(frozen=True, kw_only=True)
class AlignedMTL(Method):
    """The rows of G replaced by the nearest system of orthogonal rows, all of one length.

    With M = G G' = V diag(l) V': weights B p, B = sqrt(s) V diag(l)^(-1/2) V' over the l that are not zero,
    so that orthogonal gradients of one length give the plain sum. s is the smallest of these l (the largest
    scale for which the paper proves convergence); near a stationary point it goes to zero, and the step with
    it. The residual is the largest entry of B M B - s V V', relative to s: how far the new rows are from
    orthogonal rows of squared length s, on the space that the gradients span. Source: Senushkin et al. 2023,
    equation 5 and algorithm 1. The authors' code adds up (p of ones) and leaves the heads unscaled by
    default, as here; the other scales are its own. It takes an l below T times float32's epsilon of the
    largest as zero, where this takes 1e-12. Cost: T backward passes.

    Args:
        preference: p, numbers >= 0 by task name or in task order; None is one for each.
        scale: s from the l that are not zero: ``"min"``, ``"median"`` (the lower of two middle ones) or ``"rmse"``,
            their mean (sqrt(s) is the root mean square of the singular values).

    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 0.0], [0.0, 3.0]]), "aligned_mtl")
    tensor([1., 1.])
    """

    name: ClassVar[str] = "aligned_mtl"
    needs: ClassVar[Needs] = "gramian"
    preference: TaskValues = None
    scale: Scale = "min"

    def __post_init__(self) -> None:
        check_task_values(self.name, "preference", self.preference)
        check_choice(self.name, "scale", self.scale, ("min", "median", "rmse"))

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        preference = given.pick(self.preference, "preference")
        solution = aligned_weights(given.gramian, preference, self.scale)
        return Answer(solution.weights, None, solution.residual, solution.converged), state


def aligned_weights(gramian: Tensor, preference: Tensor, scale: Scale = "min") -> Solution:
    """The weights [T] for a Gramian [T, T] and preferences [T]; zeros where every gradient is zero."""
    values, vectors = torch.linalg.eigh(gramian)
    kept = values > 1e-12 * values[-1]  # beyond the rounding of a Gramian of lower rank
    if not bool(kept.any()) or float(values[-1]) <= 0:
        return Solution(torch.zeros_like(preference), 0.0)
    values, V = values[kept], vectors[:, kept]
    s = {"min": values[0], "median": values.median(), "rmse": values.mean()}[scale]
    B = V * (s / values).sqrt() @ V.T
    residual = (B @ gramian @ B - s * V @ V.T).abs().max() / s
    return Solution(B @ preference, float(residual), rounding=1e-14 * float(values[-1] / values[0]))
