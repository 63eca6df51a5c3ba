"""ConFIG: the direction at the same angle to every gradient, as long as the gradients reach along it."""

from dataclasses import dataclass
from typing import ClassVar

from mtl.balancing.method import Answer, Given, Method, Needs
from mtl.balancing.solvers import equal_cosines


@dataclass(frozen=True, kw_only=True)
class ConFIG(Method):
    """d = (sum_t g_t · u) u, u the unit vector along the pseudo-inverse of the unit gradients times ones.

    u has the same cosine to every gradient (where they are independent), and |d| is the sum of their projections on it.
    The pseudo-inverse of U [T, P] times ones is U' (U U')^+ 1, so the Gramian is enough, where the paper's code
    inverts [P, T]. A zero gradient is left out, opposed gradients give zero. Source: Liu, Chu and Thuerey 2024,
    equations 2 and 3. Cost: T backward passes.

    >>> import torch
    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 0.0], [0.0, 3.0]]), "config")
    tensor([2., 2.])
    """

    name: ClassVar[str] = "config"
    needs: ClassVar[Needs] = "gramian"

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        b, lengths, residual = equal_cosines(given.gramian)
        weights = b / lengths
        products = given.gramian @ weights  # g_t · v, for v = weights @ jacobian
        square = float(weights @ products)
        if square <= 1e-12 * float(b @ b):  # v is zero to rounding
            return Answer(weights=0 * weights), state
        return Answer(products.sum() / square * weights, None, residual), state
