"""Maps of several tasks as matrices that can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Map = Tensor | Sequence[Tensor | None] | Mapping[str, Tensor]  # of one input, or of several


def parts_of(task: str, given: object) -> list[Tensor]:
    """A map as a list of its inputs' maps [B, *S]; what is None in a tuple is not explained and left out.

    >>> [list(part.shape) for part in parts_of("a", (torch.zeros(2, 3), None))]
    [[2, 3]]
    """
    if isinstance(given, Tensor):
        found: list[object] = [given]
    elif isinstance(given, Mapping):
        found = list(given.values())
    elif isinstance(given, tuple | list):
        found = [part for part in given if part is not None]
    else:
        raise TypeError(f"the map of task '{task}' must be a tensor [B, *S], got {type(given).__name__}")
    for part in found:
        if not isinstance(part, Tensor) or not part.is_floating_point() or part.dim() < 2 or not part.numel():
            got = f"{part.dtype} {list(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
            raise TypeError(f"the map of task '{task}' must be a float tensor [B, *S], got {got}")
        if not torch.isfinite(part).all():
            raise ValueError(f"the map of task '{task}' holds NaN or infinite values")
    if not found:
        raise ValueError(f"the map of task '{task}' is empty")
    return [part for part in found if isinstance(part, Tensor)]


def checked(maps: object, at_least: int = 1) -> dict[str, list[Tensor]]:
    """{task: parts}, all of one shape, in float64 on the CPU.

    >>> checked({"a": torch.zeros(2, 3), "b": torch.zeros(2, 4)})
    Traceback (most recent call last):
    ValueError: the map of task 'b' must be like that of task 'a', [[2, 3]], got [[2, 4]]
    """
    if not isinstance(maps, Mapping):
        raise TypeError(
            f"maps must be {{task: [B, *S]}}, as explain.saliency gives, got {type(maps).__name__}"
        )
    if len(maps) < at_least:
        raise ValueError(f"maps of at least {at_least} tasks are needed, got {list(maps)}")
    found = {str(task): parts_of(str(task), given) for task, given in maps.items()}
    shapes = {task: [list(part.shape) for part in parts] for task, parts in found.items()}
    first = next(iter(shapes))
    for task, shape in shapes.items():
        if shape != shapes[first]:
            raise ValueError(
                f"the map of task '{task}' must be like that of task '{first}', {shapes[first]}, got {shape}"
            )
    return {task: [part.detach().double().cpu() for part in parts] for task, parts in found.items()}


def places(parts: Sequence[Tensor], channels: str) -> list[Tensor]:
    """Images [B, C, H, W] with their channels summed to [B, H, W], where ``channels`` is "sum"."""
    return [part.sum(1) if channels == "sum" and part.dim() == 4 else part for part in parts]


def flat(parts: Sequence[Tensor]) -> Tensor:
    """[B, N]: the parts side by side."""
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def mass(amounts: Tensor) -> Tensor:
    """|a| / sum |a| for each example of [B, N]; zeros stay zeros.

    >>> mass(torch.tensor([[1.0, -3.0], [0.0, 0.0]])).tolist()
    [[0.25, 0.75], [0.0, 0.0]]
    """
    amounts = amounts.abs()
    # the largest first: squares and sums of 1e-300 or 1e300 leave float64
    amounts = amounts / amounts.amax(1, keepdim=True).clamp(min=torch.finfo(amounts.dtype).tiny)
    total = amounts.sum(1, keepdim=True)
    return amounts / torch.where(total > 0, total, 1.0)
