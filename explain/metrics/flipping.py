"""Deletion, insertion and pixel flipping: how the score changes as features go or come in the order of a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from explain.baselines import Baseline, expanded
from explain.metrics.curves import area, column, curve, fractions_of, order_of, removal_curve, step_counts
from explain.metrics.given import Maps
from explain.metrics.subject import Subject
from explain.names import unknown

KINDS = ("probability", "own")


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """The area under the score's curve as features are replaced by the baseline, the most relevant first.

    Low where the map names what the score rests on. Source: Petsiuk et al. 2018 (deletion; a step there is
    224 pixels). Features of equal relevance go in a random order of their own for each example, so that a constant
    map is as good as a random one. Cost: at most ``steps`` - 1 forwards of an example and map, shared with
    `PixelFlipping`; none for steps at which the input is the baseline already.

    Args:
        steps: of the curve, from the whole input to the baseline.
        score: ``"probability"`` as in the paper, for tasks explained by a class (others keep their score, in whose unit
            the area then is); or ``"own"``, the score that was explained.
        absolute: whether evidence against counts as much as evidence for.
    """

    kind: ClassVar[str] = "model"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)  # of probabilities
    in_score_units: ClassVar[bool] = True

    steps: int = 28
    score: str = "probability"
    absolute: bool = False

    def __post_init__(self) -> None:
        _check("deletion", self.steps, self.score)

    def __call__(self, subject: Subject, maps: Maps) -> Maps:
        subject = subject.likely() if self.score == "probability" else subject
        found = {}
        for (of, task), given in maps.items():
            fractions, scores = removal_curve(subject, given, self.steps, self.absolute)
            found[of, task] = column(subject, area(fractions, scores), task)
        return found


@dataclass(frozen=True, kw_only=True)
class PixelFlipping:
    """The mean drop of the score below that of the whole input, as features are replaced by the baseline (AOPC).

    High where the map names what the score rests on. The same curve as `Deletion`: the mean over steps 0..L of
    f(x) - f(x_k). Source: Bach et al. 2015 (pixel flipping); Samek et al. 2017 (AOPC).

    Args:
        steps: L, from the whole input to the baseline.
        score: as for `Deletion`.
        absolute: as for `Deletion`.
    """

    kind: ClassVar[str] = "model"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)  # of probabilities
    in_score_units: ClassVar[bool] = True

    steps: int = 28
    score: str = "probability"
    absolute: bool = False

    def __post_init__(self) -> None:
        _check("pixel_flipping", self.steps, self.score)

    def __call__(self, subject: Subject, maps: Maps) -> Maps:
        subject = subject.likely() if self.score == "probability" else subject
        found = {}
        for (of, task), given in maps.items():
            fractions, scores = removal_curve(subject, given, self.steps, self.absolute)
            new = (fractions.diff(dim=1, prepend=torch.full_like(fractions[:, :1], -1)) != 0).double()
            mean = (scores.double() * new).sum(dim=1) / new.sum(dim=1)  # each state once
            found[of, task] = column(subject, scores[:, 0].double() - mean, task)
        return found


@dataclass(frozen=True, kw_only=True)
class Insertion:
    """The area under the score's curve as features come into a blurred image, the most relevant first.

    High where the map names what suffices for the score. Source: Petsiuk et al. 2018 (insertion). Ties and cost as for
    `Deletion`.

    Args:
        steps: of the curve, from the start to the whole input.
        score: as for `Deletion`.
        absolute: as for `Deletion`.
        start: what features come into: as ``baseline`` of `explain.evaluate`; None: ``"blur"`` for images [B, C, H, W],
            that baseline for everything else.
    """

    kind: ClassVar[str] = "model"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)  # of probabilities
    in_score_units: ClassVar[bool] = True

    steps: int = 28
    score: str = "probability"
    absolute: bool = False
    start: Baseline | None = None

    def __post_init__(self) -> None:
        _check("insertion", self.steps, self.score)

    def __call__(self, subject: Subject, maps: Maps) -> Maps:
        subject = subject.likely() if self.score == "probability" else subject
        start = self._start(subject)
        ends, scores = (start, subject.inputs), (subject.scores(start), subject.clean)
        counts = step_counts(subject, self.steps)
        areas = {
            key: area(
                fractions_of(subject, counts),
                curve(subject, order_of(subject, given, self.absolute), counts, ends, scores),
            )
            for key, given in {
                id(given): given for given in maps.values()
            }.items()  # a control once for all tasks
        }
        return {(of, task): column(subject, areas[id(given)], task) for (of, task), given in maps.items()}

    def _start(self, subject: Subject) -> Tensor:
        image = subject.layout.kind == "tensor" and subject.inputs.dim() == 4
        if self.start is None:
            return (
                expanded("insertion", "blur", subject.inputs, subject.scorers[0])
                if image
                else subject.baseline
            )
        return expanded("insertion", self.start, subject.inputs, subject.scorers[0])


def _check(name: str, steps: int, score: str) -> None:
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"{name}: steps must be an integer >= 1, got {steps}")
    if score not in KINDS:
        raise unknown(f"score of {name}", score, KINDS)
