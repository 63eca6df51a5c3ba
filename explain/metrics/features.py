"""What a metric takes away at once: a pixel with all its channels, a token with all its numbers, a column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from explain.batching import noise_like


@dataclass(frozen=True, eq=False)
class Features:
    """Which of F features each number of an input belongs to.

    Args:
        index: long [1, *S] or [B, *S], values 0..F-1.
        count: F.
    """

    index: Tensor
    count: int

    def sums(self, maps: Tensor) -> Tensor:
        """The relevance of each feature, [B, F] in float64, of maps [B, *S].

        >>> pixels(torch.zeros(1, 2, 1, 2)).sums(torch.tensor([[[[1.0, 2.0]], [[3.0, -2.0]]]])).tolist()
        [[4.0, 0.0]]
        """
        flat = maps.flatten(1).double()
        index = self.index.flatten(1).expand(flat.shape)
        return flat.new_zeros(len(flat), self.count).scatter_add_(1, index, flat)

    def spread(self, chosen: Tensor) -> Tensor:
        """What is said of features, [n, B, F], said of every number of the input: [n, B, *S]."""
        index = self.index.flatten(1).expand(chosen.shape[1], -1)
        wide = chosen.gather(2, index.expand(len(chosen), *index.shape))
        return wide.reshape(*chosen.shape[:2], *self.index.shape[1:])

    def of(self, rows: slice) -> Features:
        """The same for some of the examples."""
        return Features(self.index[rows], self.count) if len(self.index) > 1 else self


def pixels(inputs: Tensor) -> Features:
    """The features of inputs by their shape.

    [B, N]: each number. [B, L, D]: tokens (rows). [B, C, *P]: pixels, over channels.

    >>> [pixels(torch.zeros(2, *shape)).count for shape in [(7,), (5, 8), (3, 4, 4)]]
    [7, 5, 16]
    """
    shape = inputs.shape[1:]
    if len(shape) == 1:
        index = torch.arange(shape[0], device=inputs.device)
    elif len(shape) == 2:
        index = torch.arange(shape[0], device=inputs.device)[:, None].expand(shape)
    else:
        places = int(np.prod(shape[1:]))
        index = torch.arange(places, device=inputs.device).reshape(1, *shape[1:]).expand(shape)
    return Features(index[None], int(index.max()) + 1)


def given(index: Tensor, inputs: Tensor) -> Features:
    """Features that the user names: integers [*S] or [B, *S], or of any shape that expands to these.

    >>> given(torch.tensor([0, 0, 5]), torch.zeros(4, 3)).count
    2
    """
    if not isinstance(index, Tensor) or index.is_floating_point() or index.is_complex():
        got = index.dtype if isinstance(index, Tensor) else type(index).__name__
        raise TypeError(
            f"features must be integers {list(inputs.shape[1:])} or {list(inputs.shape)}, got {got}"
        )
    whole = index.dim() == inputs.dim()
    shape = inputs.shape if whole else inputs.shape[1:]
    try:
        index = index.to(inputs.device).expand(shape)
    except RuntimeError as error:
        raise ValueError(
            f"features must be {list(inputs.shape[1:])} or {list(inputs.shape)}, or expand to one of these, "
            f"got {list(index.shape)}"
        ) from error
    found, places = index.unique(return_inverse=True)
    return Features(places if whole else places[None], len(found))


def ranking(relevance: Tensor, seed: int, first: int) -> Tensor:
    """Features from the most to the least relevant, [B, F] of relevance [B, F].

    Ties are broken at random, by a stream of its own for each example, so that a constant map is a random order and not
    the order of the pixels, and neither the micro-batch nor the other examples change an order.

    >>> ranking(torch.tensor([[1.0, 3.0, 2.0]]), seed=0, first=0).tolist()
    [[1, 2, 0]]
    """
    shuffled = noise_like(relevance, seed, first, sample=2**20).argsort(
        dim=1
    )  # a stream no method draws from
    order = relevance.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    return shuffled.gather(1, order)
