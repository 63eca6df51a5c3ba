"""Fixed weights."""

from dataclasses import dataclass
from typing import ClassVar

from mtl.balancing.method import Answer, Given, Method, Needs, TaskValues, check_task_values


@dataclass(frozen=True, kw_only=True)
class Static(Method):
    """The weighted sum with weights that the user sets; those of absent tasks are not made up for.

    Source: linear scalarisation; tuned, it is the baseline that the others have to beat (Xin et al. 2022).
    Cost: one backward pass.

    Args:
        weights: numbers >= 0 by task name or in task order; None is one for each.

    >>> import torch
    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 2.0], [0.0, 3.0]]), "static", weights=[2.0, 1.0], losses=[1.0, 1.0])
    tensor([2., 7.])
    """

    name: ClassVar[str] = "static"
    needs: ClassVar[Needs] = "losses"
    weights: TaskValues = None

    def __post_init__(self) -> None:
        check_task_values(self.name, "weights", self.weights)

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        return Answer(weights=given.pick(self.weights, "weights")), state
