"""Krum: the gradients that lie closest to the others."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from mtl.balancing.method import Answer, Given, Method, Needs, check_number


@dataclass(frozen=True, kw_only=True)
class Krum(Method):
    """T times the mean of the ``selected`` gradients with the smallest sum of squared distances to their nearest.

    Each gradient is scored by its T - outliers - 2 nearest others. Made for gradients of one task from
    machines of which some lie; among tasks it drops the odd ones out. Gradients of equal score share the last
    places, so that the order of tasks does not matter. Source: Blanchard et al. 2017, section 4. Scores are
    worked out once; the paper's first version works them out again after each gradient taken. TorchJD adds up
    distances where the paper adds up their squares. Cost: T backward passes.

    Args:
        outliers: how many gradients are not to be trusted, at most T - 3; None is (T - 3) // 2, the most for which the
            paper's guarantee holds (so none below five tasks).
        selected: how many gradients are kept; None is T - outliers.

    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0], [2.0], [3.0], [90.0]]), "krum", outliers=1)
    tensor([8.])
    """

    name: ClassVar[str] = "krum"
    needs: ClassVar[Needs] = "gramian"
    outliers: int | None = None
    selected: int | None = None

    def __post_init__(self) -> None:
        if self.outliers is not None:
            check_number(self.name, "outliers", self.outliers, least=0, whole=True)
        if self.selected is not None:
            check_number(self.name, "selected", self.selected, least=1, whole=True)

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        T, M = len(given.tasks), given.gramian
        outliers = max(0, (T - 3) // 2) if self.outliers is None else self.outliers
        if outliers and outliers + 3 > T:
            raise ValueError(f"krum with outliers={outliers} needs {outliers + 3} tasks or more, got {T}")
        squares = M.diagonal()
        distances = (squares[:, None] + squares - 2 * M).clamp(min=0).fill_diagonal_(torch.inf)
        near = max(T - outliers - 2, min(T - 1, 1))
        scores = distances.sort(dim=1).values[:, :near].sum(dim=1)
        selected = min(T - outliers if self.selected is None else self.selected, T)
        last = scores.sort().values[selected - 1]
        rounding = 1e-12 * squares.max()
        sure, tied = scores < last - rounding, (scores - last).abs() <= rounding
        weights = sure.double() + tied.double() * (selected - sure.sum()) / tied.sum()
        return Answer(weights=T / selected * weights), state
