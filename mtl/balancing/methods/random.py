"""Random weights, drawn anew in every step."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from mtl.balancing.method import Answer, Given, Method, Needs


@dataclass(frozen=True, kw_only=True)
class Random(Method):
    """Weights T softmax(z), z standard normal, independent in every step: their mean is the plain sum.

    Source: Lin et al. 2022, whose weights sum to one. A control for methods that move their weights.
    Cost: one backward pass.

    >>> from mtl.balancing import combine
    >>> direction = combine(torch.eye(3), "random", losses=[1.0, 1.0, 1.0])
    >>> round(float(direction.sum()), 4)
    3.0
    """

    name: ClassVar[str] = "random"
    needs: ClassVar[Needs] = "losses"

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        T = len(given.tasks)
        drawn = torch.randn(T, generator=given.generator, dtype=torch.float64)
        return Answer(weights=T * drawn.softmax(dim=0)), state
