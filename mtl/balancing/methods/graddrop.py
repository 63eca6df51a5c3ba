"""GradDrop: in each coordinate, only the gradients of one sign are kept, drawn by their share."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mtl.balancing.columns import by_columns
from mtl.balancing.method import Answer, Given, Method, Needs, TaskValues, check_task_values


@dataclass(frozen=True, kw_only=True)
class GradDrop(Method):
    """Keep the positive values of a coordinate with probability (1 + sum_t g_t / sum_t |g_t|) / 2, else the negative.

    Coordinates in which all signs agree stay, and the mean over draws is the plain sum. A task with a
    ``leak`` l gets l of its gradient in any case, and 1 - l of it subject to the draw. Source: Chen et al.
    2020, equation 1 and algorithm 1, with the identity as f. The paper works on the features, with values
    multiplied by the sign of the feature and added up over the batch; here each number is a coordinate of its
    own, of the parameters as in the code of Liu et al. 2021 (CAGrad; they take the mean over tasks), or of
    the features (``level="features"``). The authors' code (lingvo) also has a sigmoid for f, and by default
    multiplies the result by its length over that of the plain sum, which is not in the rule. Cost:
    T backward passes.

    Args:
        leak: numbers in 0..1 by task name or in task order; None is zero for each.

    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 3.0], [2.0, 1.0]]), "graddrop")   # no sign differs
    tensor([3., 4.])
    """

    name: ClassVar[str] = "graddrop"
    needs: ClassVar[Needs] = "jacobian"
    answers_direction: ClassVar[bool] = True
    column_wise: ClassVar[bool] = True
    leak: TaskValues = None

    def __post_init__(self) -> None:
        check_task_values(self.name, "leak", self.leak, most=1.0, some=False)

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        rows = given.jacobian
        drawn = given.draw_columns()
        leak = given.pick(self.leak, "leak", default=0.0).to(rows)[:, None]

        def kept(rows: Tensor, drawn: Tensor) -> Tensor:
            positive, negative = rows.clamp(min=0), rows.clamp(max=0)
            total, size = rows.sum(dim=0), positive.sum(dim=0) - negative.sum(dim=0)
            share = 0.5 * (1 + total / torch.where(size > 0, size, 1.0))
            one_sign = torch.where(share > drawn, positive, negative)
            return (leak * rows + (1 - leak) * one_sign).sum(dim=0)

        return Answer(direction=by_columns(kept, rows, drawn)), state
