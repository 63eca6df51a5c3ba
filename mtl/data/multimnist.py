"""MultiMNIST: two real digits on one canvas, one task each, and the pixels of each digit as ground truth."""

from __future__ import annotations

from pathlib import Path

from mtl.data.mnist5k import digits
from mtl.data.overlays import CORNERS, DIGITS, overlay, pairs
from mtl.data.task_data import Splits, split_rows
from mtl.tasks import Classification
from mtl.training.streams import generator

OFFSETS = dict(zip(("left", "right"), CORNERS, strict=True))  # each digit's corner


def multimnist(
    *,
    train: int = 20_000,
    validation: int = 1_000,
    test: int = 2_000,
    root: str | Path | None = None,
    download: bool = False,
    seed: int = 0,
) -> Splits:
    """Pairs of digits, pasted at the upper left and the lower right of a 36x36 canvas, the brighter pixel winning.

    The source digits of train (4,000), validation (500) and test (500) are disjoint; the pairs are drawn with
    replacement inside each. ``masks`` hold each digit's own ink (both digits' where they cross).

    Args:
        train, validation, test: numbers of pairs.
        root: where torchvision keeps ``MNIST/raw``: source digits are then all 70,000 (54,000, 6,000 and 10,000).
        download: let torchvision download what is missing there.
        seed: of the split and the pairs.

    Source: Sabour et al. 2017 (the idea), Sener & Koltun 2018 (36x36, upper left and lower right).

    >>> data = multimnist(train=4, validation=2, test=2)
    >>> data.train.inputs.shape, [task.name for task in data.tasks]
    (torch.Size([4, 1, 36, 36]), ['left', 'right'])
    """
    if root is not None:
        sets = dict.fromkeys(OFFSETS, ("MNIST", DIGITS))
        return overlay("multimnist", sets, root, (train, validation, test), download, seed)
    images, classes = digits()
    draw = generator(seed, "multimnist")
    sources = split_rows(len(images), (4000, 500, 500), draw)
    train_data, validation_data, test_data = (
        pairs(dict.fromkeys(OFFSETS, (images[rows, 0], classes[rows])), count, draw)
        for rows, count in zip(sources, (train, validation, test), strict=True)
    )
    return Splits(
        "multimnist",
        tuple(Classification(name, classes=10) for name in OFFSETS),
        train_data,
        validation_data,
        test_data,
    )
