"""Dynamic weight average: a task whose loss falls slowly gets more weight."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from mtl.balancing.method import Answer, Given, Method, Needs, PerTask, Size, check_losses, check_number


class DWAState(NamedTuple):
    """The running window of each task, and the means of the two windows before it (NaN: not yet)."""

    total: PerTask
    steps: PerTask
    last: PerTask
    before: PerTask


@dataclass(frozen=True, kw_only=True)
class DWA(Method):
    """Weights T softmax(r / temperature), r_t = (mean loss of the last window) / (mean of the one before).

    Until a task has two full windows its r is one. The factor of a loss falls out. A task's window counts the
    steps in which it takes part. Source: Liu, Johns and Davison 2019, equation 7, whose loss is the mean of
    an epoch: set ``window`` to the steps of one, and this is the authors' code. The code of Navon et al. 2022
    slides windows of 25 steps and takes 1/T of the weighted sum. Cost: one backward pass.

    Args:
        window: steps over which losses are averaged.
        temperature: the larger, the closer to equal weights (2 in the paper).

    >>> import mtl
    >>> mtl.combine(torch.eye(2), "dwa", losses=[1.0, 2.0])
    tensor([1., 1.])
    """

    name: ClassVar[str] = "dwa"
    needs: ClassVar[Needs] = "losses"
    window: int = 50
    temperature: float = 2.0

    def __post_init__(self) -> None:
        check_number(self.name, "window", self.window, least=1, whole=True)
        check_number(self.name, "temperature", self.temperature, above=0)

    def init(self, size: Size) -> DWAState:
        zeros = torch.zeros(size.tasks, dtype=torch.float64)
        return DWAState(zeros, zeros, zeros + torch.nan, zeros + torch.nan)

    def solve(self, given: Given, state: DWAState) -> tuple[Answer, DWAState]:
        check_losses(given, zero=True)
        rates = state.last / state.before
        rates = torch.where(rates.isfinite(), rates, 1.0)  # no two windows yet, or a loss that was zero
        weights = len(given.tasks) * (rates / self.temperature).softmax(dim=0)
        total, steps = state.total + given.losses, state.steps + 1
        full = steps >= self.window
        return Answer(weights=weights), DWAState(
            total=torch.where(full, 0.0, total),
            steps=torch.where(full, 0.0, steps),
            last=torch.where(full, total / steps, state.last),
            before=torch.where(full, state.last, state.before),
        )
