"""DB-MTL: gradients of the log losses, smoothed, and all made as long as the longest."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from mtl.balancing.gramian import gramian, norms
from mtl.balancing.method import Answer, Given, Method, Needs, PerTask, Size, check_losses, check_number
from mtl.balancing.methods.moco import follow


class DBMTLState(NamedTuple):
    """The running means [T, P] of the gradients of log losses, and the steps of each task [T]."""

    mean: PerTask
    steps: PerTask


@dataclass(frozen=True, kw_only=True)
class DBMTL(Method):
    """y = running mean of g_t / L_t; d = sum_t (max_s |y_s| / |y_t|) y_t.

    The factor of a loss falls out; the lengths are those of the means. A zero mean is left out. Source: Lin
    et al. 2023, equations 1 and 2 and algorithm 1, with three departures. The mean starts at the first
    gradient: the paper and its code (in LibMTL) start from zero without a correction, and so take short first
    steps. They add 1e-8 to losses and lengths. And their heads minimise log L_t, where here each head gets
    the gradient of L_t. Memory: [T, P]. Cost: T backward passes.

    Args:
        beta: how much of the mean stays in a step (0.1, 0.5 or 0.9 in the paper, tuned); over k^decay in step k.
        decay: see there (0 or 0.5 in the paper, tuned).

    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), "db_mtl", losses=[1.0, 1.0])
    tensor([2., 2.])
    """

    name: ClassVar[str] = "db_mtl"
    needs: ClassVar[Needs] = "jacobian"
    answers_direction: ClassVar[bool] = True
    keeps_gradients: ClassVar[bool] = True
    beta: float = 0.9
    decay: float = 0.0

    def __post_init__(self) -> None:
        check_number(self.name, "beta", self.beta, least=0, most=1)
        check_number(self.name, "decay", self.decay, least=0)

    def init(self, size: Size) -> DBMTLState:
        return DBMTLState(
            torch.zeros(size.tasks, size.parameters), torch.zeros(size.tasks, dtype=torch.float64)
        )

    def solve(self, given: Given, state: DBMTLState) -> tuple[Answer, DBMTLState]:
        check_losses(given, zero=False)
        steps = state.steps + 1
        rows = given.jacobian / given.losses.to(given.jacobian)[:, None]
        rate = torch.where(steps == 1, 1.0, 1 - self.beta * steps**-self.decay)
        mean = follow(state.mean, rows, rate)
        lengths = norms(gramian(mean))
        factors = torch.where(lengths > 0, lengths.max() / torch.where(lengths > 0, lengths, 1.0), 0.0)
        return Answer(direction=factors.to(mean) @ mean), DBMTLState(mean, steps)
