"""GradVac: gradients turned towards each other until their cosines reach what they usually are."""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from mtl.balancing.method import Answer, Given, Method, Needs, PerPair, Size, check_choice, check_number

_PARALLEL = 1 - 1e-9  # a target cosine beyond this cannot be reached by adding a finite multiple


class GradVacState(NamedTuple):
    """The running mean of the cosines, for each pair of tasks and each layer group: [T, T, G]."""

    target: PerPair


@dataclass(frozen=True, kw_only=True)
class GradVac(Method):
    """For each task i, over the others j in random order: where cos(g'_i, g_j) is below its target, reach it.

    g'_i += |g'_i| (h sqrt(1 - c²) - c sqrt(1 - h²)) / (|g_j| sqrt(1 - h²)) g_j, c the cosine and h its
    target: the running mean of the cosines met, zero at the start, where the rule is `pcgrad`'s. The target
    moves after the correction, in conflict or not, by the cosine that was met before it: that of g'_i as it
    is by then and g_j. The direction is the sum of the g'_i. By layer each layer has targets and corrections
    of its own. Zero gradients are left out. Source: Wang et al. 2021; the same as TorchJD and LibMTL but for
    their 1e-8 on lengths. The code of Senushkin et al. 2023 moves the target only where it corrects. Cost:
    T backward passes.

    Args:
        beta: how fast the target follows (LibMTL and TorchJD take 0.5).
        groups: ``"whole"``, or ``"layer"``: each module that owns shared parameters by itself.

    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]), "gradvac")
    tensor([0.5000, 1.5000])
    """

    name: ClassVar[str] = "gradvac"
    needs: ClassVar[Needs] = "gramian"
    beta: float = 0.01
    groups: Literal["whole", "layer"] = "whole"

    def __post_init__(self) -> None:
        check_number(self.name, "beta", self.beta, least=0, most=1)
        check_choice(self.name, "groups", self.groups, ("whole", "layer"))

    @property
    def by_layer(self) -> bool:
        return self.groups == "layer"

    def init(self, size: Size) -> GradVacState:
        return GradVacState(torch.zeros(size.tasks, size.tasks, size.groups, dtype=torch.float64))

    def solve(self, given: Given, state: GradVacState) -> tuple[Answer, GradVacState]:
        T = len(given.tasks)
        order = torch.stack([torch.randperm(T, generator=given.generator) for _ in range(T)])
        layers = given.group_gramians
        found = [
            gradvac_weights(layer, order, state.target[:, :, g], self.beta) for g, layer in enumerate(layers)
        ]
        weights = torch.stack([weights for weights, _ in found])
        target = torch.stack([target for _, target in found], dim=2)
        return Answer(weights=weights if self.by_layer else weights[0]), GradVacState(target)


def gradvac_weights(gramian: Tensor, order: Tensor, target: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """The weights [T] for a Gramian and targets [T, T] and an order [T, T], and the targets afterwards."""
    T = gramian.shape[0]
    tasks = torch.arange(T)
    C, target = torch.eye(T, dtype=gramian.dtype), target.clone()  # row i of C: g'_i from the gradients
    lengths = gramian.diagonal().clamp(min=0).sqrt()
    products = gramian.clone()  # of g'_i with every gradient
    for others in order.T:  # the k-th other task of every task at once
        inner = products[tasks, others]
        own = (products * C).sum(dim=1).clamp(min=0).sqrt()
        other = lengths[others]
        there = (others != tasks) & (own > 0) & (other > 0)
        cosine = torch.where(there, inner / torch.where(there, own * other, 1.0), 0.0).clamp(-1.0, 1.0)
        wanted = target[tasks, others].clamp(max=_PARALLEL)
        turn = (1 - wanted**2).sqrt()
        amount = (
            own * (wanted * (1 - cosine**2).sqrt() - cosine * turn) / torch.where(there, other * turn, 1.0)
        )
        amount = torch.where(there & (cosine < wanted), amount, 0.0)
        C[tasks, others] += amount
        products += amount[:, None] * gramian[others]
        kept = target[tasks, others]
        target[tasks, others] = torch.where(there, (1 - beta) * kept + beta * cosine, kept)
    return C.sum(dim=0), target
