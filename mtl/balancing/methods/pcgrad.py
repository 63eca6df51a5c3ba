"""PCGrad: each task's gradient loses its component against any gradient that it conflicts with."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mtl.balancing.method import Answer, Given, Method, Needs


@dataclass(frozen=True, kw_only=True)
class PCGrad(Method):
    """For each task i, over the others j in random order: if g'_i · g_j < 0, g'_i -= (g'_i · g_j / |g_j|²) g_j.

    The direction is the sum of the g'_i, so that without conflict it is the plain sum. Worked out on
    coefficients: g'_i = sum_k C_ik g_k needs the Gramian alone. Opposed gradients of equal length give zero;
    a zero gradient is left out. With three or more tasks the sum may still conflict with a task. Source: Yu
    et al. 2020, algorithm 1, which sums too. The authors' code visits the tasks in their given order (its
    shuffle has no effect) and the task itself among them. Cost: T backward passes.

    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]), "pcgrad")
    tensor([0.5000, 1.5000])
    """

    name: ClassVar[str] = "pcgrad"
    needs: ClassVar[Needs] = "gramian"

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        T = len(given.tasks)
        order = torch.stack([torch.randperm(T, generator=given.generator) for _ in range(T)])
        return Answer(weights=pcgrad_weights(given.gramian, order)), state


def pcgrad_weights(gramian: Tensor, order: Tensor) -> Tensor:
    """The weights [T] of PCGrad for a Gramian [T, T] and, in row i of ``order`` [T, T], the order for task i."""
    T = gramian.shape[0]
    tasks = torch.arange(T)
    coefficients = torch.eye(T, dtype=gramian.dtype)  # C, row i for g'_i
    squares = gramian.diagonal()
    for others in order.T:  # the k-th other task of every task at once
        inner = (coefficients * gramian[others]).sum(dim=1)  # g'_i · g_others[i]
        conflict = (inner < 0) & (others != tasks) & (squares[others] > 0)
        coefficients[tasks[conflict], others[conflict]] -= (inner / squares[others])[conflict]
    return coefficients.sum(dim=0)
