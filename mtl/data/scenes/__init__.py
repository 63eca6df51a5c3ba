"""Scenes: rendered 3-D objects on a ground, with every dense label exact; nothing to download."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor

from mtl.data.scenes.draw import draw
from mtl.data.scenes.labels import CLASSES, RELATIONS, Labels, label
from mtl.data.scenes.rays import cast
from mtl.data.task_data import Splits, TaskData
from mtl.dense.tasks import Boundary, Depth, Normals, Segmentation
from mtl.tasks import Classification, Regression, Task

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Segmentation("segmentation", classes=CLASSES),
        Depth("depth"),
        Normals("normals"),
        Boundary("boundary"),
        Regression("counts", size=3, unit="objects"),
        Classification("relation", classes=RELATIONS),
    )
}
_TOGETHER = 64  # scenes at a time


def scenes(
    *, train: int = 3_000, validation: int = 300, test: int = 500, image_size: int = 64, seed: int = 0
) -> Splits:
    """Spheres, boxes and cylinders on a textured ground under a sky, seen by a random camera: six tasks.

    Inputs are float [N, 3, S, S] in 0..1. ``segmentation``, ``depth`` (metres), ``normals`` (camera's frame) and
    ``boundary`` are dense, ``counts`` (visible spheres, boxes, cylinders) and ``relation`` are not; see
    `mtl.data.scenes.labels.Labels`. Neither colour nor texture tells the kind of an object; objects hide and shadow one
    another, stand or lie, and may leave the picture. The mask of ``relation`` is that of the two objects in question,
    that of the others all objects.

    Example i of a split follows from the seed, the split's name and i alone, to the bit: a longer split begins with the
    shorter one.

    Args:
        train, validation, test: numbers of pictures, of which one core renders 300 to 400 a second at 64 x 64.
        image_size: S, at least 16.
        seed: of all three splits.

    Raises:
        ValueError: sizes out of range.

    >>> data = scenes(train=4, validation=2, test=2)
    >>> data.train.inputs.shape, [task.name for task in data.tasks]
    (torch.Size([4, 3, 64, 64]), ['segmentation', 'depth', 'normals', 'boundary', 'counts', 'relation'])
    """
    for name, count in (("train", train), ("validation", validation), ("test", test)):
        if count < 1:
            raise ValueError(f"scenes: {name} must be at least 1, got {count}")
    splits = (
        _split(*render(range(count), part=part, image_size=image_size, seed=seed))
        for part, count in (("train", train), ("validation", validation), ("test", test))
    )
    learn, check, judge = splits
    return Splits("scenes", tuple(TASKS.values()), learn, check, judge)


def render(
    indices: Sequence[int], *, part: str = "train", image_size: int = 64, seed: int = 0
) -> tuple[Tensor, Labels]:
    """Pictures uint8 [N, 3, S, S] of the scenes ``indices`` of a part of the set, and their `Labels`.

    Args:
        indices: any numbers >= 0, in any order.
        part: the split's name; any text gives scenes of its own.
        image_size: S, at least 16.
        seed: of the set.

    >>> images, labels = render([7, 1000])
    >>> images.shape, labels.depth.shape, labels.relation.shape
    (torch.Size([2, 3, 64, 64]), torch.Size([2, 64, 64]), torch.Size([2]))
    """
    if image_size < 16:
        raise ValueError(f"scenes: image_size must be at least 16, got {image_size}")
    if not len(indices) or min(indices) < 0:
        raise ValueError("scenes: indices must be numbers >= 0, at least one")
    found = []
    for start in range(0, len(indices), _TOGETHER):
        scene = draw(seed, part, indices[start : start + _TOGETHER]).to(torch.float32)
        seen = cast(scene, image_size)
        colour = (seen.colour * 255 + 0.5).to(torch.uint8).permute(1, 0, 2)
        found.append((colour.reshape(len(colour), 3, image_size, image_size), label(scene, seen)))
    images, labels = zip(*found, strict=True)
    names = [field.name for field in fields(Labels)]
    return torch.cat(images), Labels(**{n: torch.cat([getattr(own, n) for own in labels]) for n in names})


def _split(images: Tensor, labels: Labels) -> TaskData:
    targets = {name: getattr(labels, name) for name in TASKS}
    masks = {**dict.fromkeys(TASKS, labels.objects >= 0), "relation": labels.related}
    return TaskData(images.float() / 255, targets, masks)
