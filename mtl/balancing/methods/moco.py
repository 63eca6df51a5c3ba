"""MoCo: MGDA on running means of the gradients, with weights that follow slowly."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from mtl.balancing.gramian import gramian
from mtl.balancing.method import Answer, Given, Method, Needs, PerTask, Size, check_number
from mtl.balancing.solvers import project_to_simplex
from mtl.balancing.state import shares


class MoCoState(NamedTuple):
    """The running means y [T, P], the weights [T] times T, and the steps of each task [T]."""

    mean: PerTask
    weights: PerTask
    steps: PerTask


@dataclass(frozen=True, kw_only=True)
class MoCo(Method):
    """y += beta_k (g - y); w = projection of w - gamma_k (y y' + rho I) w on the simplex; d = T sum_t w_t y_t.

    beta_k = beta / k^beta_decay and gamma_k = gamma / k^gamma_decay in step k, with y = g in the first step,
    where the authors' code starts from zero. The step depends on the scale of the gradients: ``gamma`` times
    their squared length should stay below one. Source: Fernando et al. 2023; the rule of their code for
    scenes, with rho = 0. Their code for Office takes 2 gamma, the slope of |y' w|². LibMTL makes every
    gradient as long as its loss first, and takes a softmax where the paper projects, which keeps weights near
    uniform. Memory: [T, P]. Cost: T backward passes.

    Args:
        beta, beta_decay: how fast the means follow.
        gamma, gamma_decay: the step of the weights.
        rho: pulls the weights towards uniform.

    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "moco")
    tensor([1., 1.])
    """

    name: ClassVar[str] = "moco"
    needs: ClassVar[Needs] = "jacobian"
    answers_direction: ClassVar[bool] = True
    keeps_gradients: ClassVar[bool] = True
    beta: float = 0.5
    beta_decay: float = 0.5
    gamma: float = 0.1
    gamma_decay: float = 0.5
    rho: float = 0.0

    def __post_init__(self) -> None:
        check_number(self.name, "beta", self.beta, above=0, most=1)
        check_number(self.name, "gamma", self.gamma, least=0)
        for option in ("beta_decay", "gamma_decay", "rho"):
            check_number(self.name, option, getattr(self, option), least=0)

    def init(self, size: Size) -> MoCoState:
        T = size.tasks
        ones = torch.ones(T, dtype=torch.float64)
        return MoCoState(torch.zeros(T, size.parameters), ones, 0 * ones)

    def solve(self, given: Given, state: MoCoState) -> tuple[Answer, MoCoState]:
        steps = state.steps + 1
        rate = torch.where(steps == 1, 1.0, self.beta * steps**-self.beta_decay)
        mean = follow(state.mean, given.jacobian, rate)
        w = shares(state.weights.cpu())
        slope = gramian(mean).cpu() @ w + self.rho * w
        w = project_to_simplex(w - self.gamma * steps.cpu() ** -self.gamma_decay * slope)
        weights = len(given.tasks) * w
        direction = weights.to(mean) @ mean
        return Answer(direction=direction), MoCoState(mean, weights, steps)


def follow(mean: Tensor, rows: Tensor, rate: Tensor) -> Tensor:
    """``mean`` [T, P] moved towards ``rows`` by ``rate`` [T]."""
    return torch.lerp(mean.to(rows), rows, rate.to(rows)[:, None])
