"""SDMGrad: the shortest combination of gradients near a preferred one, by products of independent batches."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from mtl.balancing.method import (
    Answer,
    Given,
    Method,
    Needs,
    Size,
    TaskValues,
    check_number,
    check_task_values,
)  # fmt: skip
from mtl.balancing.methods.modo import PairState
from mtl.balancing.solvers import project_to_simplex
from mtl.balancing.state import shares


@dataclass(frozen=True, kw_only=True)
class SDMGrad(Method):
    """Minimise (w + pull q)' G1 G2' (w + pull q) by projected steps; d = T sum_t (w + pull q)_t g_t / (1 + pull).

    q is the preference on the simplex; w starts where the step before left it. The products are divided by
    the squared mean length of the gradients, so that ``lr`` has no units, and steps have momentum, both as in
    the authors' code (which takes the lengths from the product's diagonal). With their lr the steps do not
    settle, there as here: w swings between vertices, and ends on one of them. It comes to rest for lr below
    2 (1 + momentum) over the largest eigenvalue of the products, which for gradients of one length lies
    between 1 (at right angles) and T (parallel): lr=0.5 for up to six tasks. The paper draws three batches a
    step; here G1 is the batch of this step and G2 that of the step before (see `modo`). Source: Xiao, Ban and
    Ji 2023, section 6.1 for the scaling. Their code for supervised learning writes its three batches to one
    tensor, so that the last counts for all three, and clips the trunk's gradient to length one. Memory:
    [T, P]. Cost: T backward passes.

    Args:
        pull: towards the preferred direction (lambda; 0.3 for scenes and 0.6 for control in the authors' scripts);
            large is the weighted sum.
        lr, momentum, iterations: of the steps on w (10, 0.5 and 20 in the authors' code; LibMTL's lr is 5).
        preference: q up to a factor, numbers >= 0 by task name or in task order; None is one for each.

    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "sdmgrad")
    tensor([1., 1.])
    """

    name: ClassVar[str] = "sdmgrad"
    needs: ClassVar[Needs] = "jacobian"
    keeps_gradients: ClassVar[bool] = True
    pull: float = 0.3
    lr: float = 5.0
    momentum: float = 0.5
    iterations: int = 20
    preference: TaskValues = None

    def __post_init__(self) -> None:
        check_number(self.name, "pull", self.pull, least=0)
        check_number(self.name, "lr", self.lr, above=0)
        check_number(self.name, "momentum", self.momentum, least=0, most=1)
        check_number(self.name, "iterations", self.iterations, least=1, whole=True)
        check_task_values(self.name, "preference", self.preference)

    def init(self, size: Size) -> PairState:
        return PairState.start(size)

    def solve(self, given: Given, state: PairState) -> tuple[Answer, PairState]:
        products = state.products(given)
        lengths = given.gramian.diagonal().clamp(min=0).sqrt()
        mean = float(lengths.mean()) or 1.0
        products = products / mean / mean
        q = given.pick(self.preference, "preference")
        q = q / q.sum()
        w = shares(state.weights.cpu())
        velocity = torch.zeros_like(w)
        for _ in range(self.iterations):
            velocity = self.momentum * velocity + products @ (w + self.pull * q)
            w = project_to_simplex(w - self.lr * velocity)
        weights = len(given.tasks) * (w + self.pull * q) / (1 + self.pull)
        return Answer(weights=weights), PairState(
            given.jacobian.clone(), len(given.tasks) * w, state.steps + 1
        )
