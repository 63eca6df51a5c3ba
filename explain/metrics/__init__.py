"""Attribution metrics by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from explain.metrics.localisation import pointing_game, relevance_mass


@dataclass(frozen=True)
class Localisation:
    """A metric of maps and a mask: ``values(maps [B, *S], mask [B, H, W]) -> [B]``, higher in the task's own mask."""

    values: Callable[[Tensor, Tensor], Tensor]


METRICS: dict[str, Localisation] = {
    "relevance_mass": Localisation(relevance_mass),
    "pointing_game": Localisation(pointing_game),
}
GROUPS: dict[str, tuple[str, ...]] = {"localisation": ("relevance_mass", "pointing_game")}
