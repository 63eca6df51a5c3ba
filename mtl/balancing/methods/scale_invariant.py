"""The sum of the logarithms of the losses."""

from dataclasses import dataclass
from typing import ClassVar

from mtl.balancing.method import Answer, Given, Method, Needs, check_losses


@dataclass(frozen=True, kw_only=True)
class ScaleInvariant(Method):
    """Minimise sum_t log L_t: weights 1 / L_t, so that the unit of a loss does not matter.

    Source: the baseline SI of Navon et al. 2022, section 6. The weights are large where losses are small, and
    are not rescaled: a learning rate for the plain sum need not fit. A loss that is not above zero is
    refused. The code of Senushkin et al. 2023 takes log(1 + L), which does depend on the unit. Cost: one
    backward pass.

    >>> import torch
    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 2.0], [0.0, 3.0]]), "scale_invariant", losses=[0.5, 3.0])
    tensor([2., 5.])
    """

    name: ClassVar[str] = "scale_invariant"
    needs: ClassVar[Needs] = "losses"

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        check_losses(given, zero=False)
        return Answer(weights=1 / given.losses), state
