"""MoDo: MGDA's weights by steps on products of gradients from independent batches."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from mtl.balancing.gramian import cross_products
from mtl.balancing.method import Answer, Given, Method, Needs, PerTask, Size, check_number
from mtl.balancing.solvers import project_to_simplex
from mtl.balancing.state import shares


class PairState(NamedTuple):
    """The gradients of the step before [T, P], the weights [T] times T, and the steps of each task [T]."""

    before: PerTask
    weights: PerTask
    steps: PerTask

    @classmethod
    def start(cls, size: Size) -> "PairState":
        ones = torch.ones(size.tasks, dtype=torch.float64)
        return cls(torch.zeros(size.tasks, size.parameters), ones, 0 * ones)

    def products(self, given: Given) -> torch.Tensor:
        """Inner products [T, T] of this step's gradients (rows) with those of the step before; float64."""
        rows = given.jacobian
        seen = (self.steps > 0).to(rows.device)
        before = (
            self.before.to(rows)
            if bool(seen.all())
            else torch.where(seen[:, None], self.before.to(rows), rows)
        )
        return cross_products(rows, before).cpu()


@dataclass(frozen=True, kw_only=True)
class MoDo(Method):
    """w = projection of w - gamma (G1 G2' + rho I) w on the simplex; d = T sum_t w_t g_t.

    The product of two independent batches does not carry the noise of one batch squared, which pulls weights
    towards uniform. The paper draws two batches a step and moves along the mean of their gradients (in code
    also a third batch's); here G1 is the batch of this step, along which d goes, and G2 that of the step
    before, which is independent and one step old, so that a step costs what it does elsewhere (the first step
    has only itself). Source: Chen et al. 2023, whose code has these defaults; LibMTL takes gamma = 0.001.
    Memory: [T, P]. Cost: T backward passes.

    Args:
        gamma: the step of the weights.
        rho: pulls the weights towards uniform.

    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "modo")
    tensor([1., 1.])
    """

    name: ClassVar[str] = "modo"
    needs: ClassVar[Needs] = "jacobian"
    keeps_gradients: ClassVar[bool] = True
    gamma: float = 0.1
    rho: float = 0.1

    def __post_init__(self) -> None:
        check_number(self.name, "gamma", self.gamma, least=0)
        check_number(self.name, "rho", self.rho, least=0)

    def init(self, size: Size) -> PairState:
        return PairState.start(size)

    def solve(self, given: Given, state: PairState) -> tuple[Answer, PairState]:
        w = shares(state.weights.cpu())
        w = project_to_simplex(w - self.gamma * (state.products(given) @ w + self.rho * w))
        weights = len(given.tasks) * w
        return Answer(weights=weights), PairState(given.jacobian.clone(), weights, state.steps + 1)
