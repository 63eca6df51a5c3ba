"""ROAD: removal of pixels that leaves no trace of where they were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from explain.batching import noise_like
from explain.metrics.curves import column, order_of
from explain.metrics.features import places
from explain.metrics.flipping import KINDS
from explain.metrics.given import Maps
from explain.metrics.imputation import imputed
from explain.metrics.subject import Subject
from explain.names import unknown

ORDERS = ("both", "morf", "lerf")
STREAM = 2**22  # the sample number of the noise, out of the way of the methods'


@dataclass(frozen=True, kw_only=True)
class Road:
    """How much more the score suffers from the loss of the most relevant pixels than from that of the least relevant.

    Missing pixels are imputed from their neighbours, with a little noise, so that the holes do not show what was
    removed and no network is trained again. The mean over fractions of score(least relevant missing) - score(most
    relevant missing): 0 in expectation for a random map. Source: Rong et al. 2022 (ROAD), whose curves of
    accuracy are of one order each. For images [B, C, H, W]. Cost: ``fractions`` forwards of an example, map and order,
    and as many solutions of `imputed`.

    Args:
        fractions: of the pixels that are missing, each between 0 and 1; pixels are counted down to a whole number.
        order: ``"both"``; or its two parts: ``"morf"``, the drop of the score where the most relevant are missing, and
            ``"lerf"``, minus the drop where the least relevant are.
        score: ``"probability"``, for tasks explained by a class (others keep their score), or ``"own"``, the score that
            was explained.
        noise: standard deviation of the noise on imputed pixels, as a fraction of each example's range (theirs: 0.01 of
            images in 0..1); the same noise for all maps and fractions.
        absolute: whether evidence against counts as much as evidence for.
    """

    kind: ClassVar[str] = "model"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)  # of probabilities
    in_score_units: ClassVar[bool] = True

    fractions: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    order: str = "both"
    score: str = "probability"
    noise: float = 0.01
    absolute: bool = False

    def __post_init__(self) -> None:
        if not self.fractions or not all(0 < fraction < 1 for fraction in self.fractions):
            raise ValueError(f"road: fractions must lie between 0 and 1, got {self.fractions}")
        if not self.noise >= 0:
            raise ValueError(f"road: noise must be >= 0, got {self.noise}")
        if self.order not in ORDERS:
            raise unknown("order of road", self.order, ORDERS)
        if self.score not in KINDS:
            raise unknown("score of road", self.score, KINDS)

    def __call__(self, subject: Subject, maps: Maps) -> Maps:
        if subject.layout.kind != "tensor" or subject.inputs.dim() != 4:
            shapes = [list(part.shape) for part in subject.layout.split(subject.inputs)]
            raise ValueError(
                f"road needs images [B, C, H, W], got {shapes[0] if len(shapes) == 1 else shapes}"
            )
        index = subject.features.index
        if not torch.equal(index, index[:, :1].expand_as(index)):
            raise ValueError("road needs features that hold all channels of a pixel")
        subject = subject.likely() if self.score == "probability" else subject
        flat = subject.inputs.flatten(1)
        spread = (self.noise * (flat.amax(dim=1) - flat.amin(dim=1))).reshape(-1, 1, 1, 1)
        noise = spread * noise_like(subject.inputs, subject.seed, subject.first, STREAM)
        drops = {
            key: self._drop(subject, given, noise)
            for key, given in {id(given): given for given in maps.values()}.items()
        }
        return {(of, task): column(subject, drops[id(given)], task) for (of, task), given in maps.items()}

    def _drop(self, subject: Subject, given: Tensor, noise: Tensor) -> Tensor:
        """[B, K]."""
        total = torch.zeros_like(subject.clean, dtype=torch.float64)
        if self.order != "lerf":
            most = order_of(subject, given, self.absolute)
            total = total + subject.clean - self._mean(subject, most, noise)
        if self.order != "morf":
            least = order_of(subject, given, self.absolute, least=True)
            total = total + self._mean(subject, least, noise) - subject.clean
        return total

    def _mean(self, subject: Subject, order: Tensor, noise: Tensor) -> Tensor:
        """The mean score [B, K] over fractions, the first features of ``order`` missing."""
        rank, size, steps = places(order), len(order), len(self.fractions)
        counts = subject.features.fractions(torch.tensor(self.fractions, dtype=torch.float64)).expand(
            size, -1
        )
        example = torch.arange(size, device=order.device).repeat(steps)  # images of one fraction go together
        step = torch.arange(steps, device=order.device).repeat_interleave(size)

        def make(chunk: Tensor) -> Tensor:
            rows = example[chunk]
            gone = subject.features.spread(rank[rows] < counts[rows, step[chunk], None], rows)
            images = subject.inputs[rows]
            return torch.where(gone, imputed(images, gone[:, 0]) + noise[rows], images)

        return subject.each(example, make).reshape(steps, size, -1).double().mean(dim=0)
