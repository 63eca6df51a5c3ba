"""Two pictures on one canvas, one task each: MultiMNIST at full size, MultiFashion, and a digit over a garment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mtl.data.from_torchvision import pictures_of
from mtl.data.task_data import Splits, TaskData, split_rows
from mtl.tasks import Classification
from mtl.training.streams import generator

CANVAS = 36
CORNERS = (0, 8)  # of the two 28x28 boxes, which overlap in 20x20 pixels
HELD_OUT = 6_000  # of the 60,000 training pictures, for validation
GARMENTS = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
DIGITS = tuple(map(str, range(10)))
Source = tuple[Tensor, Tensor]  # pictures [N, 28, 28] in 0..1, classes [N]


def multifashion(
    *,
    root: str | Path,
    train: int = 60_000,
    validation: int = 6_000,
    test: int = 10_000,
    download: bool = False,
    seed: int = 0,
) -> Splits:
    """Two garments of Fashion-MNIST on a 36x36 canvas: tasks ``left`` and ``right``, as in `multimnist`.

    Args:
        root: where torchvision keeps ``FashionMNIST/raw``.
        train, validation, test: numbers of pairs; their sources are 54,000, 6,000 and 10,000 pictures, disjoint.
        download: let torchvision download what is missing.
        seed: of the split and the pairs.

    Raises:
        FileNotFoundError: the files are not there.

    Source: Lin et al. 2019 (Pareto MTL).
    """
    return overlay(
        "multifashion",
        {"left": ("FashionMNIST", GARMENTS), "right": ("FashionMNIST", GARMENTS)},
        root,
        (train, validation, test),
        download,
        seed,
    )


def fashion_and_mnist(
    *,
    root: str | Path,
    train: int = 60_000,
    validation: int = 6_000,
    test: int = 10_000,
    download: bool = False,
    seed: int = 0,
) -> Splits:
    """A garment at the upper left and a digit at the lower right: tasks ``garment`` and ``digit``; as `multifashion`.

    ``root`` is where torchvision keeps both ``FashionMNIST/raw`` and ``MNIST/raw``.
    """
    return overlay(
        "fashion_and_mnist",
        {"garment": ("FashionMNIST", GARMENTS), "digit": ("MNIST", DIGITS)},
        root,
        (train, validation, test),
        download,
        seed,
    )


def overlay(
    name: str,
    sets: Mapping[str, tuple[str, tuple[str, ...]]],
    root: str | Path,
    sizes: tuple[int, int, int],
    download: bool,
    seed: int,
) -> Splits:
    """Pairs of pictures of torchvision's sets; ``sets`` is {task: (set, names of its classes)}, two of them."""
    draw = generator(seed, name)
    learned: list[Source] = []
    checked: list[Source] = []
    tested: list[Source] = []
    for set_, _ in sets.values():
        images, classes = pictures_of(set_, root, train=True, download=download)
        held = min(HELD_OUT, len(images) // 10)
        learn, check = split_rows(len(images), (len(images) - held, held), draw)
        learned.append((images[learn], classes[learn]))
        checked.append((images[check], classes[check]))
        tested.append(pictures_of(set_, root, train=False, download=download))
    train, validation, test = (
        pairs(dict(zip(sets, sources, strict=True)), count, draw)
        for sources, count in zip((learned, checked, tested), sizes, strict=True)
    )
    tasks = tuple(Classification(task, classes=names) for task, (_, names) in sets.items())
    return Splits(name, tasks, train, validation, test)


def pairs(sources: Mapping[str, Source], count: int, draw: torch.Generator) -> TaskData:
    """``count`` canvases, a picture of each source drawn with replacement, the brighter pixel winning.

    ``masks`` hold each picture's own ink (both pictures' where they cross).
    """
    layers, targets = {}, {}
    for (task, (images, classes)), corner in zip(sources.items(), CORNERS, strict=True):
        rows = torch.randint(len(images), (count,), generator=draw)
        layer = torch.zeros(count, CANVAS, CANVAS)
        layer[:, corner : corner + 28, corner : corner + 28] = images[rows]
        layers[task], targets[task] = layer, classes[rows]
    canvas = torch.stack(list(layers.values())).amax(dim=0)  # [N, 36, 36]
    return TaskData(canvas[:, None], targets, {task: layer > 0 for task, layer in layers.items()})
