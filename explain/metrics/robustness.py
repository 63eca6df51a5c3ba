"""Robustness: how far a map moves when the input hardly does. A constant map is perfectly robust, and says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from explain.batching import noise_like

if TYPE_CHECKING:
    from explain.metrics.subject import Subject

STREAM = (
    2**24
)  # draws from here on: methods count theirs from 0, and must not meet the noise they are tested with


@dataclass(frozen=True, kw_only=True)
class MaxSensitivity:
    """The largest relative change of the map, |a(x') - a(x)| / |a(x)|, over inputs x' near x; a zero map is NaN.

    The nearby inputs are x + uniform noise in [-r, r], with r a fraction of the example's range (max - min; of each
    input's own where there are several); the explained class stays that of x. A maximum over few draws is a lower bound
    of the one over the ball. Source: Yeh et al. 2019 (SENS_MAX), relative to the map's size as in Captum.
    Cost: ``samples`` explanations, for all tasks together; `LocalLipschitz` with the same options uses the same ones.

    Args:
        samples: nearby inputs of each example.
        radius: r as a fraction of the example's range.
    """

    samples: int = 10
    radius: float = 0.02
    kind: ClassVar[str] = "method"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    def __post_init__(self) -> None:
        _check("max_sensitivity", self.samples, self.radius)

    def __call__(self, subject: Subject, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{task: [B]} of maps {task: [B, *S]}."""
        changes, _ = _changes(subject, maps, self.samples, self.radius)
        return {task: changes[task].amax(0) / _length(maps[task]) for task in maps}


@dataclass(frozen=True, kw_only=True)
class LocalLipschitz:
    """The largest |a(x') - a(x)| / |x' - x| over inputs x' near x, in units of the map per unit of the input.

    It grows with the scale of the scores: compare it between methods only where their maps have the same unit. Nearby
    inputs and cost as for `MaxSensitivity`. An example without range has no nearby inputs: NaN. Source: Alvarez-Melis
    and Jaakkola 2018 ("On the robustness of interpretability methods"), equation 2.

    Args:
        samples: nearby inputs of each example.
        radius: of the noise, as a fraction of the example's range.
    """

    samples: int = 10
    radius: float = 0.02
    kind: ClassVar[str] = "method"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    def __post_init__(self) -> None:
        _check("local_lipschitz", self.samples, self.radius)

    def __call__(self, subject: Subject, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{task: [B]} of maps {task: [B, *S]}."""
        changes, ways = _changes(subject, maps, self.samples, self.radius)
        return {task: (changes[task] / ways).amax(0) for task in maps}


def nearby(inputs: Tensor, radius: float, seed: int, first: int, sample: int) -> Tensor:
    """Inputs [B, *S] plus uniform noise of at most ``radius`` times each example's range.

    A stream of its own for every (seed, example, sample).

    >>> x = torch.tensor([[0.0, 10.0]])
    >>> moved = nearby(x, 0.1, seed=0, first=0, sample=0)
    >>> bool(((moved - x).abs() <= 1).all())
    True
    """
    flat = inputs.flatten(1)
    reach = (radius * (flat.amax(1) - flat.amin(1))).reshape(-1, *[1] * (inputs.dim() - 1))
    normal = noise_like(inputs, seed, first, sample)
    return inputs + reach * (2 * torch.special.ndtr(normal) - 1)  # the distribution function makes it uniform


def _changes(
    subject: Subject, maps: Mapping[str, Tensor], samples: int, radius: float
) -> tuple[dict[str, Tensor], Tensor]:
    """({task: |a(x') - a(x)| [samples, B]}, |x' - x| [samples, B]), made once for all metrics that ask."""
    key = ("nearby", samples, radius)
    if key not in subject.memo:
        changes: dict[str, list[Tensor]] = {task: [] for task in maps}
        ways = []
        for sample in subject.scorers[0].steps(range(samples)):
            moved = subject.layout.join(
                [
                    nearby(part, radius, subject.seed, subject.first, STREAM + sample + number * samples)
                    for number, part in enumerate(subject.layout.split(subject.inputs))
                ]
            )
            again = subject.explain(subject.model, moved)
            ways.append(_length(moved - subject.inputs))
            for task, found in changes.items():
                found.append(_length(again[task] - maps[task]))
        subject.memo[key] = ({task: torch.stack(found) for task, found in changes.items()}, torch.stack(ways))
    result: tuple[dict[str, Tensor], Tensor] = subject.memo[key]
    return result


def _length(values: Tensor) -> Tensor:
    """The Euclidean length of each example, [B] in float64."""
    return values.flatten(1).double().norm(dim=1)


def _check(name: str, samples: int, radius: float) -> None:
    if not isinstance(samples, int) or samples < 1:
        raise ValueError(f"{name}: samples must be an integer >= 1, got {samples!r}")
    if not 0 < radius < float("inf"):
        raise ValueError(f"{name}: radius must be a finite fraction > 0 of the input's range, got {radius}")
