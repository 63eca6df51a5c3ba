"""Where a ray is inside a sphere, a box or a cylinder, in closed form, and which way their surfaces face.

Each in its own coordinates, divided by its half sizes: a sphere of radius one, the cube -1..1, a cylinder of radius one
along the third axis from -1 to 1. All are convex, so that a ray is inside from one ``near`` to one ``far``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mtl.data.scenes.draw import BOX, CYLINDER, SPHERE

_TINY = 1e-12


def inside(kind: int, start: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """near, far [M] of the points start + t direction [3, M] inside; near >= far where the ray misses.

    >>> near, far = inside(BOX, torch.tensor([[-3.0], [0.5], [0.0]]), torch.tensor([[1.0], [0.0], [0.0]]))
    >>> float(near), float(far)
    (2.0, 4.0)
    """
    if kind == SPHERE:
        return _round(start, direction)
    if kind == CYLINDER:
        around, along = _round(start[:2], direction[:2]), _slab(start[2], direction[2])
        return torch.maximum(around[0], along[0]), torch.minimum(around[1], along[1])
    near, far = _slab(start[0], direction[0])
    for axis in (1, 2):
        enter, leave = _slab(start[axis], direction[axis])
        near, far = torch.maximum(near, enter), torch.minimum(far, leave)
    return near, far


def facing(kind: Tensor, point: Tensor) -> Tensor:
    """The normal [3, M] at points [3, M] of the surfaces, not yet divided by the half sizes nor of length one."""
    size = point.abs()
    side = (point[0] * point[0] + point[1] * point[1]).sqrt()  # of a cylinder: 1 on its side
    most = size[0].maximum(size[1]).maximum(size[2])
    flat = torch.where(size == most, point, 0)  # the face of a box
    cap = size[2] > side
    zero = torch.zeros_like(side)
    cylinder = torch.stack(
        [torch.where(cap, zero, point[0]), torch.where(cap, zero, point[1]), torch.where(cap, point[2], zero)]
    )
    return torch.where(kind == SPHERE, point, torch.where(kind == BOX, flat, cylinder))


def _round(start: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Inside the unit circle or sphere, of two or three coordinates."""
    pairs = list(zip(start, direction, strict=True))
    a, b = direction[0] * direction[0], start[0] * direction[0]
    for s, d in pairs[1:]:
        a, b = a + d * d, b + s * d
    a = a.clamp(min=_TINY)  # a ray along the cylinder's axis
    middle = -b / a
    closest = torch.zeros_like(a)  # squared, at the middle: without the cancellation of b² - ac
    for s, d in pairs:
        beside = s + middle * d
        closest = closest + beside * beside
    room = (1 - closest) / a
    deep = room.clamp(min=0).sqrt()
    return torch.where(room > 0, middle - deep, torch.inf), middle + deep


def _slab(start: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Between -1 and 1 along one axis."""
    step = torch.where(direction.abs() < _TINY, _TINY, direction)
    one, other = (-1 - start) / step, (1 - start) / step
    return torch.minimum(one, other), torch.maximum(one, other)
