"""Integrals along a path that are checked, and computed again with more steps where they do not hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from explain.scorer import Scorer

CANCELLING = (
    10  # by how much the sum of absolute values may exceed the score's change before it counts for less
)


@dataclass(frozen=True)
class Integral:
    """What a path gives with some number of steps.

    Args:
        maps: [B, K, *L].
        rest: [B, K], what the path adds to the score beside the maps; their sum is the score's change.
        whole: bool [B, K], whether there is nothing beside the map: its sum alone then speaks for it. Else the map must
            also stay as it is when the steps are doubled, for a right sum of the two is none of one.
    """

    maps: Tensor
    rest: Tensor
    whole: Tensor


class Refinement(Protocol):
    """Options of a method that takes more steps where it must."""

    @property
    def steps(self) -> int: ...
    @property
    def max_steps(self) -> int: ...
    @property
    def tolerance(self) -> float: ...


def check_steps(name: str, options: Refinement) -> None:
    """Raise unless the options are in range."""
    if not 1 <= options.steps <= options.max_steps:
        raise ValueError(f"{name}: 1 <= steps <= max_steps, got {options.steps} and {options.max_steps}")
    if not options.tolerance > 0:
        raise ValueError(f"{name}: tolerance must be > 0, got {options.tolerance}")


def refined(
    name: str,
    scorer: Scorer,
    integrate: Callable[[Scorer, Tensor, int], Integral],
    here: Tensor,
    there: Tensor,
    options: Refinement,
) -> list[Tensor]:
    """K maps [B, *L], each with as many steps as it needs.

    Args:
        name: of the map, for messages.
        scorer: of the rows, after its first call.
        integrate: ``(scorer of some rows, which rows, steps)`` to their integral.
        here: [B, K], the scores at the end of the path.
        there: [B, K], those at its start.
        options: steps and tolerance.

    Raises:
        ValueError: a map whose sum is off, or that still changes, at ``max_steps``.
    """
    noise = 8 * torch.finfo(here.dtype).eps * here.abs().clamp(min=1)  # rounding of the scores
    every, steps = torch.arange(len(here), device=here.device), options.steps
    found = integrate(scorer, every, steps)
    moved = torch.full_like(here, torch.inf)  # by how much doubling the steps last changed a map
    while options.tolerance < torch.inf:
        size = _size(found.maps)
        total = found.maps.reshape(*here.shape, -1).sum(2) + found.rest
        gap = (total - (here - there)).abs()
        # large values that cancel must not excuse a sum that has nothing to do with the change
        of = torch.maximum((here - there).abs(), (size + found.rest.abs()) / CANCELLING)
        off = ~(gap <= options.tolerance * of + noise)  # NaN counts as off
        restless = ~found.whole & ~(moved <= options.tolerance * size + noise)
        index = (off | restless).any(dim=1).nonzero()[:, 0]
        if not len(index):
            break
        if steps * 2 > options.max_steps:
            raise ValueError(
                _message(name, scorer.tasks, off, gap / of, moved / size, steps, options.tolerance)
            )
        steps *= 2
        again = integrate(scorer.of(index), index, steps)
        open_ = (off | restless)[index]
        # only what is open is replaced, so that no map depends on the other examples or tasks
        moved[index] = torch.where(open_, _size(again.maps - found.maps[index]), moved[index])
        found.rest[index] = torch.where(open_, again.rest, found.rest[index])
        open_ = open_.reshape(*open_.shape, *[1] * (again.maps.dim() - 2))
        found.maps[index] = torch.where(open_, again.maps, found.maps[index])
    return list(found.maps.unbind(dim=1))


def _size(maps: Tensor) -> Tensor:
    return maps.reshape(*maps.shape[:2], -1).abs().sum(2)


def _message(
    name: str, tasks: list[str], off: Tensor, gaps: Tensor, moved: Tensor, steps: int, tolerance: float
) -> str:
    wrong = gaps.where(off, 0.0) if off.any() else moved
    worst = wrong.nan_to_num(torch.inf).amax(0)
    task = int(worst.argmax())
    how = "misses its sum" if off.any() else "still changes when the steps are doubled,"
    return (
        f"{name}: the map of task '{tasks[task]}' {how} by up to {float(worst[task]):.1%} after {steps} steps "
        f"(tolerance {tolerance:.1%}); raise max_steps or tolerance (inf: no check), or choose a baseline nearer to "
        "the data"
    )
