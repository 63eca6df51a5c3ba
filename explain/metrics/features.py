"""What a metric takes away at once: a pixel with all its channels, a token with all its numbers, a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from explain.batching import noise_like
from explain.inputs import Layout


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

    def spread(self, chosen: Tensor, rows: Tensor | None = None) -> Tensor:
        """What is said of the features of some examples, [n, F], said of every number of their inputs: [n, *S].

        Args:
            chosen: [n, F].
            rows: [n], whose examples' features these are, where the features are not the same for all.
        """
        index = self.index.flatten(1)
        index = index.expand(len(chosen), -1) if len(index) == 1 or rows is None else index[rows]
        return chosen.gather(1, index).reshape(len(chosen), *self.index.shape[1:])

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
        places = prod(shape[1:])
        index = torch.arange(places, device=inputs.device).reshape(1, *shape[1:]).expand(shape)
    return Features(index[None], int(index.max()) + 1)


def features_of(layout: Layout, inputs: Tensor, given: object = None) -> Features:
    """The features of inputs: `pixels` of each part, or what is given.

    Args:
        layout: of the inputs.
        inputs: [B, *S], joined where there are several.
        given: None; integers [*S] or [B, *S]; or for several inputs a tuple or dict of such, where a part that is None
            or left out has its `pixels`.

    >>> from explain.inputs import lay_out
    >>> layout, joined = lay_out({"image": torch.zeros(2, 3, 4, 4), "text": torch.zeros(2, 5, 8)})
    >>> features_of(layout, joined).count
    21
    """
    parts = dict(zip(layout.names, layout.split(inputs), strict=True))
    if layout.kind == "tensor":
        return pixels(inputs) if given is None else _named(given, inputs, "features")
    if isinstance(given, Mapping):
        chosen = dict(given)
    elif isinstance(given, Sequence) and not isinstance(given, str):
        chosen = dict(zip(layout.order, given, strict=False))
    elif given is None:
        chosen = {}
    else:
        raise TypeError(
            f"features of several inputs must be a tuple or dict like them, got {type(given).__name__}"
        )
    pieces, count = [], 0
    for name, part in parts.items():
        found = chosen.get(name)
        own = pixels(part) if found is None else _named(found, part, f"features of input '{name}'")
        pieces.append(own.index.flatten(1) + count)
        count += own.count
    size = max(len(piece) for piece in pieces)
    return Features(torch.cat([piece.expand(size, -1) for piece in pieces], dim=1), count)


def _named(index: object, inputs: Tensor, what: str) -> Features:
    """Features that the user names: integers [*S] or [B, *S], or of a shape that expands to these."""
    shapes = f"{list(inputs.shape[1:])} or {list(inputs.shape)}"
    if not isinstance(index, Tensor) or index.is_floating_point() or index.is_complex():
        got = index.dtype if isinstance(index, Tensor) else type(index).__name__
        raise TypeError(f"{what} must be integers {shapes}, got {got}")
    whole = index.dim() == inputs.dim()
    try:
        wide = index.to(inputs.device).expand(inputs.shape if whole else inputs.shape[1:])
    except RuntimeError as error:
        raise ValueError(
            f"{what} must be {shapes}, or expand to one of these, got {list(index.shape)}"
        ) from error
    found, places = wide.unique(return_inverse=True)
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
