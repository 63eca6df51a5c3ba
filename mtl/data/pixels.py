"""Pictures kept as bytes, in memory or in a mapped file, that become floats when a batch is taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

CHUNK = 1024  # pictures looked at at once


@dataclass(frozen=True, eq=False)
class Pixels:
    """Pictures [N, C, H, W] as inputs of `mtl.TaskData`, a quarter of their size as floats.

    Indexing by rows gives floats with mean 0 and deviation 1: ``pixels[rows]``, and ``pixels[:]`` of all.

    Args:
        stored: uint8 [M, C, H, W]; the tensor may be of a memory-mapped file.
        rows: int [N], which of them, in this order.
        channel_mean, channel_deviation: float [C], of the training pictures.

    >>> stored = torch.full((2, 1, 1, 1), 9, dtype=torch.uint8)
    >>> pixels = Pixels(stored, torch.tensor([1]), torch.ones(1), 4 * torch.ones(1))
    >>> pixels.shape, pixels[torch.tensor([0])].flatten()
    (torch.Size([1, 1, 1, 1]), tensor([2.]))
    """

    stored: Tensor
    rows: Tensor
    channel_mean: Tensor
    channel_deviation: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> torch.Size:
        return torch.Size([len(self.rows), *self.stored.shape[1:]])

    @property
    def dtype(self) -> torch.dtype:
        """Of what is stored."""
        return self.stored.dtype

    @property
    def ndim(self) -> int:
        return self.stored.ndim

    def __getitem__(self, rows: Any) -> Tensor:
        """Floats of the pictures at ``rows``: an index, a slice or a tensor of either kind."""
        picked = self.stored[self.rows[rows]].float()
        return picked.sub_(self.channel_mean[:, None, None]).div_(self.channel_deviation[:, None, None])

    def subset(self, rows: Tensor) -> Pixels:
        """The pictures at ``rows``, still bytes; nothing is copied."""
        return replace(self, rows=self.rows[rows])


def scaled(stored: Tensor, train: Tensor) -> Pixels:
    """Pictures uint8 [N, C, H, W] that become floats with the training pictures' mean 0 and deviation 1, by channel."""
    return Pixels(stored, torch.arange(len(stored)), *channel_moments(stored, train))


def channel_moments(images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation [C] of the pictures at ``rows`` of uint8 [N, C, H, W], without all of them in floats."""
    counts = torch.zeros(images.shape[1], 256, dtype=torch.float64)
    for part in rows.split(CHUNK):
        counts += torch.stack([c.flatten().bincount(minlength=256) for c in images[part].unbind(dim=1)])
    values = torch.arange(256.0, dtype=torch.float64)
    share = counts / counts.sum(dim=1, keepdim=True)
    mean = share @ values
    deviation = (share @ values.square() - mean.square()).clamp(min=0).sqrt()
    return mean.float(), deviation.where(deviation > 0, 1.0).float()


def subset(inputs: Any, rows: Tensor) -> Any:
    """The examples at ``rows``: of a tensor copied, of pictures still bytes.

    >>> subset(torch.tensor([1, 2, 3]), torch.tensor([2]))
    tensor([3])
    """
    return inputs.subset(rows) if isinstance(inputs, Pixels) else inputs[rows]


def blocks(inputs: Tensor | Pixels) -> Iterator[Tensor]:
    """What a fingerprint is taken of: a tensor as it is, of pictures their scale and their bytes, a block at a time.

    >>> [list(block) for block in blocks(torch.tensor([1, 2]))]
    [[tensor(1), tensor(2)]]
    """
    if isinstance(inputs, Tensor):
        yield inputs
        return
    yield torch.cat([inputs.channel_mean, inputs.channel_deviation])
    for rows in inputs.rows.split(CHUNK):
        yield inputs.stored[rows]
