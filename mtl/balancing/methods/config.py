"""ConFIG: the direction at the same angle to every gradient, as long as the gradients reach along it."""

from dataclasses import dataclass
from typing import ClassVar

from mtl.balancing.method import Answer, Given, Method, Needs, TaskValues, check_task_values
from mtl.balancing.solvers import equal_cosines


@dataclass(frozen=True, kw_only=True)
class ConFIG(Method):
    """d = (sum_t g_t · u) u, u the unit vector along the pseudo-inverse of the unit gradients times p.

    With p of ones u has the same cosine to every gradient (where they are independent); else cosines in the
    ratio of the p_t, of which only ratios count. |d| is the sum of the gradients' projections on u, without
    p. The pseudo-inverse of U [T, P] times p is U' (U U')^+ p, so the Gramian is enough, where the paper's
    code solves least squares on [T, P], or for two tasks adds up the orthogonal parts of the gradients. A
    zero gradient is left out, opposed gradients give zero. Source: Liu, Chu and Thuerey 2024, equation 2; p
    is their direction weight. The scale is theirs: orthogonal gradients of one length are added up. Cost:
    T backward passes.

    Args:
        preference: p, numbers >= 0 by task name or in task order; None is one for each.

    >>> import torch
    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 0.0], [0.0, 3.0]]), "config")
    tensor([2., 2.])
    """

    name: ClassVar[str] = "config"
    needs: ClassVar[Needs] = "gramian"
    preference: TaskValues = None

    def __post_init__(self) -> None:
        check_task_values(self.name, "preference", self.preference)

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        p = given.pick(self.preference, "preference")
        b, lengths, residual = equal_cosines(given.gramian, p)
        weights = b / lengths
        products = given.gramian @ weights  # g_t · v, for v = weights @ jacobian
        square = float(weights @ products)
        if square <= 1e-12 * float(b @ b):  # v is zero to rounding
            return Answer(weights=0 * weights), state
        return Answer(products.sum() / square * weights, None, residual), state
