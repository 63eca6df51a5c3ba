"""MultiMNIST: two real digits on one canvas, one task each, and the pixels of each digit as ground truth."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl.data.mnist5k import digits
from mtl.data.task_data import Splits, TaskData, split_rows
from mtl.tasks import Classification
from mtl.training.streams import generator

CANVAS = 36
OFFSETS = {"left": 0, "right": 8}  # each digit's corner, so that the two 28x28 boxes overlap in 20x20 pixels


def multimnist(*, train: int = 20_000, validation: int = 1_000, test: int = 2_000, seed: int = 0) -> Splits:
    """Pairs of digits, pasted at the upper left and the lower right of a 36x36 canvas, the brighter pixel winning.

    The source digits of train (4,000), validation (500) and test (500) are disjoint; the pairs are drawn with
    replacement inside each. ``masks`` hold each digit's own ink (both digits' where they cross).

    Args:
        train, validation, test: numbers of pairs.
        seed: of the split and the pairs.

    Source: Sabour et al. 2017 (the idea), Sener & Koltun 2018 (36x36, upper left and lower right).

    >>> data = multimnist(train=4, validation=2, test=2)
    >>> data.train.inputs.shape, [task.name for task in data.tasks]
    (torch.Size([4, 1, 36, 36]), ['left', 'right'])
    """
    images, classes = digits()
    draw = generator(seed, "multimnist")
    sources = split_rows(len(images), (4000, 500, 500), draw)
    train_data, validation_data, test_data = (
        _pairs(images[rows, 0], classes[rows], count, draw)
        for rows, count in zip(sources, (train, validation, test), strict=True)
    )
    return Splits(
        "multimnist",
        tuple(Classification(name, classes=10) for name in OFFSETS),
        train_data,
        validation_data,
        test_data,
    )


def _pairs(images: Tensor, classes: Tensor, count: int, draw: torch.Generator) -> TaskData:
    """``count`` canvases from source digits [N, 28, 28]."""
    layers, targets = {}, {}
    for task, corner in OFFSETS.items():
        rows = torch.randint(len(images), (count,), generator=draw)
        layer = torch.zeros(count, CANVAS, CANVAS)
        layer[:, corner : corner + 28, corner : corner + 28] = images[rows]
        layers[task], targets[task] = layer, classes[rows]
    canvas = torch.stack(list(layers.values())).amax(dim=0)  # [N, 36, 36]
    return TaskData(canvas[:, None], targets, {task: layer > 0 for task, layer in layers.items()})
