"""Completeness: whether a map adds up to the change of the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from explain.metrics.curves import absent_scores, column
from explain.metrics.given import Maps
from explain.metrics.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Completeness:
    """The gap between the sum of a map and score(x) - score(baseline), relative to the larger of the two.

    0 where they are equal, 1 where one of them is zero, up to 2 where their signs differ; 0 too where both are zero up
    to the rounding of the scores. The score is the one that was explained, the baseline that of `explain.evaluate`,
    which must be the method's. Source: Sundararajan et al. 2017, proposition 1. Cost: one forward an example, for all
    maps.
    """

    kind: ClassVar[str] = "model"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, 2.0)

    def __call__(self, subject: Subject, maps: Maps) -> Maps:
        found = {}
        for (of, task), given in maps.items():
            clean = column(subject, subject.clean, task)
            change = clean - column(subject, absent_scores(subject), task)
            total = given.flatten(1).double().sum(dim=1)
            size, gap = torch.maximum(total.abs(), change.abs()), (total - change).abs()
            noise = 8 * torch.finfo(subject.clean.dtype).eps * clean.abs().clamp(min=1)
            found[of, task] = torch.where(size <= noise, 0.0, gap / size)
        return found
