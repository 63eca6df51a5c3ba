"""What is true of a picture: dense labels, and what can be counted and compared in it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtl.data.scenes.draw import K, Scene
from mtl.data.scenes.rays import GROUND, SKY, Seen
from mtl.tasks import MISSING

CLASSES = ("sky", "ground", "sphere", "box", "cylinder")
RELATIONS = ("left and nearer", "left and farther", "right and nearer", "right and farther")
VISIBLE = 1 / 256  # of the picture: an object of fewer pixels is not there to be counted


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of N pictures of size S.

    Attributes:
        segmentation: int8 [N, S, S], a place in `CLASSES`.
        depth: [N, S, S] z in metres, NaN in the sky.
        normals: [N, 3, S, S] unit vectors in the camera's frame (x right, y down, z forward), NaN in the sky.
        boundary: int8 [N, S, S], 1 where a neighbour (above, below, left, right) shows another object, ground or sky.
        counts: [N, 3] spheres, boxes and cylinders of at least `VISIBLE` of the picture.
        relation: [N] how the largest of these (by pixels) lies to the other whose centre is nearest to its own, a
            place in `RELATIONS` (left of it or not, nearer to the camera or not); -1 where there are not two.
        objects: int8 [N, S, S], the object 0..K-1 that a pixel shows, -1 for ground and sky.
        related: bool [N, S, S], the pixels of the two objects of ``relation``.
    """

    segmentation: Tensor
    depth: Tensor
    normals: Tensor
    boundary: Tensor
    counts: Tensor
    relation: Tensor
    objects: Tensor
    related: Tensor


def label(scene: Scene, seen: Seen) -> Labels:
    """The labels of what was seen of ``scene``."""
    N, P = seen.what.shape
    size = round(P**0.5)
    square = (N, size, size)
    shown = torch.cat([scene.kind + 2, scene.kind.new_tensor([1, 0]).expand(N, 2)], dim=1)  # [N, K + 2]
    segmentation = shown.gather(1, seen.what)
    sky = seen.what == SKY
    pixels = torch.stack([(seen.what == k).sum(dim=1) for k in range(K)], dim=1)  # [N, K]
    visible = pixels >= VISIBLE * P
    counts = torch.stack([(visible & (scene.kind == kind)).sum(dim=1) for kind in range(3)], dim=1)
    relation, pair = _relation(scene, pixels, visible)
    related = (seen.what[..., None] == pair[:, None]).any(dim=2)
    objects = torch.where(seen.what < GROUND, seen.what, MISSING)
    return Labels(
        segmentation=segmentation.to(torch.int8).reshape(square),
        depth=torch.where(sky, torch.nan, seen.depth).reshape(square),
        normals=torch.where(sky, torch.nan, seen.normal).permute(1, 0, 2).reshape(N, 3, size, size),
        boundary=_boundary(seen.what.reshape(square)),
        counts=counts.to(seen.depth.dtype),
        relation=relation,
        objects=objects.to(torch.int8).reshape(square),
        related=related.reshape(square),
    )


def _boundary(what: Tensor) -> Tensor:
    """Where a neighbour shows something else, int8 [N, S, S]."""
    across, down = what[:, :, 1:] != what[:, :, :-1], what[:, 1:] != what[:, :-1]
    found = torch.zeros_like(what, dtype=torch.bool)
    found[:, :, 1:] |= across
    found[:, :, :-1] |= across
    found[:, 1:] |= down
    found[:, :-1] |= down
    return found.to(torch.int8)


def _relation(scene: Scene, pixels: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """The relation [N], and its two objects [N, 2]; `MISSING` where there are not two."""
    first = torch.where(visible, pixels, -1).argmax(dim=1, keepdim=True)  # [N, 1]
    x, y, z = scene.centre  # [N, K]
    dx, dy, dz = (part - part.gather(1, first) for part in (x, y, z))
    apart = dx * dx + dy * dy + dz * dz
    apart = torch.where(visible, apart, torch.inf).scatter(1, first, torch.inf)
    second = apart.argmin(dim=1, keepdim=True)
    there = visible.sum(dim=1) >= 2
    beside = x / z  # where the centre is seen
    right = (beside.gather(1, first) >= beside.gather(1, second))[:, 0]
    farther = (z.gather(1, first) >= z.gather(1, second))[:, 0]
    found = torch.where(there, 2 * right.long() + farther.long(), MISSING)
    return found, torch.where(there[:, None], torch.cat([first, second], dim=1), MISSING)
