"""MGDA: the shortest convex combination of the gradients, which decreases every task alike."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from mtl.balancing.method import Answer, Given, Method, Needs, check_choice, check_losses
from mtl.balancing.solvers import minimum_norm_weights

Normalise = Literal["none", "l2", "loss", "loss+"]


@dataclass(frozen=True, kw_only=True)
class MGDA(Method):
    """d = T sum_t w_t g_t with w = argmin |sum_t w_t g_t|² over the simplex.

    Every task with weight gains g_t · d = |d|²/T, the others more; d is zero exactly at Pareto-stationary
    points, and so also where one gradient is zero: a task that is done stops all. Solved exactly; the
    residual is the duality gap relative to the shortest gradient. Frank-Wolfe iterations, in use elsewhere,
    stop 15% above the minimum at 8 tasks. Source: Désidéri 2012; Sener and Koltun 2018, equation 3 and
    algorithm 2. ``level="features"`` is the latter's MGDA-UB, over the whole batch of features. Heads get
    their own gradients, as in algorithm 2; the authors' code weights them too. It also keeps the weights of
    two tasks within 0.001 to 0.999. Cost: T backward passes.

    Args:
        normalise: what each gradient is divided by first: nothing, its length, its loss, or both (``"loss+"``).
        reference: ``"paper"`` combines the divided gradients, which keeps the descent of every task; ``"official"``
            (the code of Sener and Koltun) uses their weights on the gradients as they are.

    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), "mgda")
    tensor([1.6000, 0.8000])
    """

    name: ClassVar[str] = "mgda"
    needs: ClassVar[Needs] = "gramian"
    normalise: Normalise = "none"
    reference: Literal["paper", "official"] = "paper"

    def __post_init__(self) -> None:
        check_choice(self.name, "normalise", self.normalise, ("none", "l2", "loss", "loss+"))
        check_choice(self.name, "reference", self.reference, ("paper", "official"))

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        divisors = torch.ones(len(given.tasks), dtype=torch.float64)
        if self.normalise in ("l2", "loss+"):
            lengths = given.gramian.diagonal().clamp(min=0).sqrt()
            divisors = divisors * torch.where(lengths > 0, lengths, 1.0)
        if self.normalise in ("loss", "loss+"):
            check_losses(given, zero=False)
            divisors = divisors * given.losses
        solution = minimum_norm_weights(given.gramian / divisors / divisors[:, None])
        weights = solution.weights / divisors if self.reference == "paper" else solution.weights
        return Answer(len(given.tasks) * weights, None, solution.residual, solution.converged), state
