"""ExcessMTL: more weight to the tasks that are furthest from their best."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from mtl.balancing.columns import blocks
from mtl.balancing.method import Answer, Given, Method, Needs, PerTask, Size, check_number


class ExcessState(NamedTuple):
    """Sums of squared gradients [T, P]; logits, first excess risks and steps of each task [T]."""

    squares: PerTask
    logits: PerTask
    first: PerTask
    steps: PerTask


@dataclass(frozen=True, kw_only=True)
class ExcessMTL(Method):
    """Weights T softmax(s), s_t += lr e_t / (e_t at the start), with e_t = sum_p g_tp² / sqrt(S_tp).

    S is the sum of squared gradients so far, and e_t estimates the excess risk by a second-order expansion
    with Adagrad's diagonal for the curvature. The first is averaged over ``warm_up`` steps, in which weights
    are one (the paper's appendix C.1: three epochs; the authors' code: one step). Weights are kept as logits,
    so that they cannot overflow. Source: He et al. 2024, equations 6, 7 and 9. Their code adds 1e-7 under the
    root and, like this, has weights that add up to T. It weights the heads too; here each gets the gradient
    of its own loss. Memory: [T, P]. Cost: T backward passes.

    Args:
        lr: the step of the logits (eta; 0.01 by default in the authors' code, 1 in its example).
        warm_up: steps over which the excess at the start is averaged.

    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "excess_mtl")
    tensor([1., 1.])
    """

    name: ClassVar[str] = "excess_mtl"
    needs: ClassVar[Needs] = "jacobian"
    keeps_gradients: ClassVar[bool] = True
    lr: float = 0.01
    warm_up: int = 1

    def __post_init__(self) -> None:
        check_number(self.name, "lr", self.lr, above=0)
        check_number(self.name, "warm_up", self.warm_up, least=1, whole=True)

    def init(self, size: Size) -> ExcessState:
        zeros = torch.zeros(size.tasks, dtype=torch.float64)
        return ExcessState(torch.zeros(size.tasks, size.parameters), zeros, zeros, zeros)

    def solve(self, given: Given, state: ExcessState) -> tuple[Answer, ExcessState]:
        rows = given.jacobian
        squares = torch.addcmul(state.squares.to(rows), rows, rows)
        excess = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
        for block in blocks(rows):  # g² / sqrt(S), with 0 / 0 = 0
            root = squares[:, block].sqrt()
            terms = rows[:, block].square() / torch.where(root > 0, root, 1.0)
            excess += terms.sum(dim=1, dtype=torch.float64)
        excess = excess.cpu()
        steps, first, logits = state.steps.cpu() + 1, state.first.cpu(), state.logits.cpu()
        warm = steps <= self.warm_up
        first = torch.where(warm, first + (excess - first) / steps, first)
        relative = excess / torch.where(first > 0, first, 1.0)
        logits = torch.where(warm, logits, logits + self.lr * relative)
        logits = logits - logits.mean()
        weights = len(given.tasks) * logits.softmax(dim=0)
        return Answer(weights=weights), ExcessState(squares, logits, first, steps)
