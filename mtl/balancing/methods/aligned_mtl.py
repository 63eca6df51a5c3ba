"""Aligned-MTL: the system of gradients made orthogonal and of one length, then summed."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mtl.balancing.method import Answer, Given, Method, Needs, TaskValues, check_task_values


@dataclass(frozen=True, kw_only=True)
class AlignedMTL(Method):
    """The rows of G replaced by the nearest system with condition number one, scaled by the smallest singular value.

    With M = G G' = V diag(l) V': weights sqrt(l_min) V diag(l)^(-1/2) V' p over the l that are not zero, so that
    orthogonal gradients of one length give the plain sum. Source: Senushkin et al. 2023. Near a stationary
    point l_min goes to zero, and the step with it. Cost: T backward passes.

    Args:
        preference: p, numbers >= 0 by task name or in task order; None is one for each.

    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 0.0], [0.0, 3.0]]), "aligned_mtl")
    tensor([1., 1.])
    """

    name: ClassVar[str] = "aligned_mtl"
    needs: ClassVar[Needs] = "gramian"
    preference: TaskValues = None

    def __post_init__(self) -> None:
        check_task_values(self.name, "preference", self.preference)

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        return Answer(
            weights=aligned_weights(given.gramian, given.pick(self.preference, "preference"))
        ), state


def aligned_weights(gramian: Tensor, preference: Tensor) -> Tensor:
    """The weights [T] for a Gramian [T, T] and preferences [T]; zeros where every gradient is zero."""
    values, vectors = torch.linalg.eigh(gramian)
    rank = values > 1e-12 * values[-1]  # beyond the rounding of a Gramian of lower rank
    if not bool(rank.any()) or float(values[-1]) <= 0:
        return torch.zeros_like(preference)
    shrink = (values[rank][0] / values[rank]).sqrt()
    return vectors[:, rank] @ (shrink * (vectors[:, rank].T @ preference))
