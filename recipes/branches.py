"""A CNN whose tasks branch off at layers of their own: shared up to there, a copy of the rest for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

import mtl
from mtl.heads import mlp_head


def layers(image_size: int) -> list[nn.Module]:
    """The article's CNN in four parts: two convolutions, 120 units, 84 units."""
    flat = 64 * (image_size // 4) ** 2
    return [
        nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        nn.Sequential(nn.Linear(flat, 120), nn.ReLU()),
        nn.Sequential(nn.Linear(120, 84), nn.ReLU()),
    ]


class Trunk(nn.Module):
    """The shared layers; gives what every branch point needs, flat and side by side, [B, F]."""

    def __init__(self, image_size: int, points: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers(image_size)[: max(points)])
        self.points = sorted(set(points))
        half = image_size // 2
        sizes = {1: 32 * half * half, 2: 64 * (image_size // 4) ** 2, 3: 120, 4: 84}
        self.places: dict[int, slice] = {}
        self.out_features = 0
        for point in self.points:
            self.places[point] = slice(self.out_features, self.out_features + sizes[point])
            self.out_features += sizes[point]

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 1, H, W] -> [B, F]."""
        found, x = [], images
        for depth, layer in enumerate(self.layers, 1):
            x = layer(x)
            if depth in self.places:
                found.append(x.flatten(1))
        return torch.cat(found, dim=1)


class Branch(nn.Module):
    """One task's own layers, from its branch point to its output."""

    def __init__(self, trunk: Trunk, point: int, image_size: int, head: nn.Module) -> None:
        super().__init__()
        self.place, self.shape = trunk.places[point], (32, image_size // 2, image_size // 2)
        self.first = point == 1  # the only point before the images are flat
        self.layers = nn.Sequential(*layers(image_size)[point:], head)

    def forward(self, features: Tensor) -> Tensor:
        """features [B, F] -> output [B, O]."""
        x = features[:, self.place]
        return self.layers(x.unflatten(1, self.shape) if self.first else x)


def branched(
    tasks: Sequence[Any], *, branches: Sequence[int], widths: Sequence[int], image_size: int
) -> mtl.MultiTaskModel:
    """Hard sharing up to a depth of each task's own.

    Args:
        tasks: T tasks.
        branches: T numbers of shared layers, 1 to 4; 4 everywhere is the article's CNN with hard sharing.
        widths: T widths of a hidden layer in the head; 0: none.
        image_size: height and width of the one-channel images.

    >>> tasks = [mtl.Classification("left", classes=10), mtl.Classification("right", classes=10)]
    >>> model = branched(tasks, branches=[1, 4], widths=[0, 32], image_size=36)
    >>> {name: tuple(y.shape) for name, y in model(torch.zeros(2, 1, 36, 36)).items()}
    {'left': (2, 10), 'right': (2, 10)}
    """
    trunk = Trunk(image_size, branches)
    heads = {}
    for task, point, width in zip(tasks, branches, widths, strict=True):
        outputs = task.output_size
        head = mlp_head(84, outputs, hidden=(width,)) if width else nn.Linear(84, outputs)
        heads[task.name] = Branch(trunk, point, image_size, head)
    return mtl.MultiTaskModel(trunk, tasks, heads)
