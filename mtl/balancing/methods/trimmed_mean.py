"""Trimmed mean: in each coordinate, the largest and smallest gradients are left out."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mtl.balancing.columns import by_columns
from mtl.balancing.method import Answer, Given, Method, Needs, check_number


@dataclass(frozen=True, kw_only=True)
class TrimmedMean(Method):
    """T times the mean, in each coordinate, of what is left without the ``trim`` largest and smallest values.

    With fewer than 2 trim + 1 tasks, as many are left out as leave one or two: one and two tasks give the
    plain sum. Made for gradients of one task from machines of which some lie. Source: the coordinate-wise
    trimmed mean of Yin et al. 2018, which trims a share at each end where this trims a number. Cost:
    T backward passes, and a sort of [T, P].

    Args:
        trim: how many values are left out at each end.

    >>> import torch
    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0], [2.0], [90.0]]), "trimmed_mean")
    tensor([6.])
    """

    name: ClassVar[str] = "trimmed_mean"
    needs: ClassVar[Needs] = "jacobian"
    answers_direction: ClassVar[bool] = True
    column_wise: ClassVar[bool] = True
    trim: int = 1

    def __post_init__(self) -> None:
        check_number(self.name, "trim", self.trim, least=0, whole=True)

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        T = len(given.tasks)
        trim = min(self.trim, (T - 1) // 2)
        if trim == 0:
            return Answer(direction=given.jacobian.sum(dim=0)), state

        def kept(rows: Tensor) -> Tensor:
            ordered = rows.T.sort(dim=1).values  # along the memory
            return T * ordered[:, trim : T - trim].mean(dim=1)

        return Answer(direction=by_columns(kept, given.jacobian)), state
