"""IMTL-L: each loss scaled by a learned factor, so that all scaled losses come to one."""

from dataclasses import dataclass
from typing import ClassVar

from mtl.balancing.method import Answer, Given, Method, Needs, Size, check_losses, check_number
from mtl.balancing.methods.uncertainty import UncertaintyState, uncertainty_step


@dataclass(frozen=True, kw_only=True)
class IMTLL(Method):
    """Minimise sum_t e^{s_t} L_t - s_t over the model and over s: weights e^{s}, one at the start (s = 0).

    At the optimum of s, e^{s_t} L_t = 1. With s read as minus a log variance this is `uncertainty` exactly,
    up to the learning rate: two derivations of one rule, and the reason why the two must not be counted twice
    in a comparison. With s at its optimum in every step it is `scale_invariant` (Lin et al. 2023, proposition
    3.1). Source: the loss balance of Liu et al. 2021. s takes an Adam step of its own. Cost: one backward
    pass.

    Args:
        lr: learning rate of s.

    >>> IMTLL(lr=0.1).init(Size(tasks=2)).log_variance
    tensor([0., 0.], dtype=torch.float64)
    """

    name: ClassVar[str] = "imtl_l"
    needs: ClassVar[Needs] = "losses"
    lr: float = 0.01

    def __post_init__(self) -> None:
        check_number(self.name, "lr", self.lr, above=0)

    def init(self, size: Size) -> UncertaintyState:
        return UncertaintyState.start(size)

    def solve(self, given: Given, state: UncertaintyState) -> tuple[Answer, UncertaintyState]:
        check_losses(given, zero=True)
        weights, updated = uncertainty_step(given.losses, state, self.lr)
        return Answer(weights=weights), updated
