"""A function of the user's as a balancing method."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mtl.balancing.method import Answer, Given, Method, Needs


@dataclass(frozen=True, kw_only=True)
class Own(Method):
    """Any function from the tasks' gradients [T, P] to a direction [P]; a TorchJD aggregator is one.

    The direction is used as it comes: TorchJD means over tasks where the methods here sum, so multiply the
    learning rate by T, or use ``Balancer(..., match_norm=True)``. What the function keeps inside is not saved.

    >>> import mtl
    >>> mtl.combine(torch.eye(2), lambda jacobian: jacobian.mean(dim=0))
    tensor([0.5000, 0.5000])
    """

    name: ClassVar[str] = "own"
    needs: ClassVar[Needs] = "jacobian"
    answers_direction: ClassVar[bool] = True
    function: Callable[[Tensor], Tensor]

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        rows = given.jacobian
        found = self.function(rows.clone())  # ours is a buffer, which theirs may write to
        if not isinstance(found, Tensor) or found.shape != rows.shape[1:]:
            got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"the balancing function must give a tensor [P] with P={rows.shape[1]} for gradients "
                f"{list(rows.shape)}, got {got}"
            )
        if not bool(torch.isfinite(found).all()):
            raise ValueError("the balancing function gave NaN or infinite numbers for finite gradients")
        return Answer(direction=found.detach()), state
