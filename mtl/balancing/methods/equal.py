"""The plain sum of the losses."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from mtl.balancing.method import Answer, Given, Method, Needs


@dataclass(frozen=True, kw_only=True)
class Equal(Method):
    """Every weight is one: the gradient of the sum, to the bit.

    Source: unitary scalarisation; Kurin et al. 2022 find it hard to beat when tuned. Cost: one backward pass.

    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 2.0], [0.0, 3.0]]), "equal")
    tensor([1., 5.])
    """

    name: ClassVar[str] = "equal"
    needs: ClassVar[Needs] = "losses"

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        return Answer(weights=torch.ones(len(given.tasks), dtype=torch.float64)), state
