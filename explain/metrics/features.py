"""What a metric takes away at once, and in which order: `explain.features` as sums, spreads and rankings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from explain.batching import noise_like
from explain.features import Features as Asked
from explain.features import named_features
from explain.inputs import Layout
from explain.metrics.given import blank

TIES = 2**20  # the sample number of the stream that breaks ties; no method draws from it


@dataclass(frozen=True, eq=False)
class Features:
    """Which of its features each number of an example belongs to.

    Args:
        index: long [1, *S] or [B, *S], in each row 0..M-1, each at least once.
        counts: M, [1] or [B].
    """

    index: Tensor
    counts: Tensor

    @property
    def count(self) -> int:
        """F, the largest M: examples with fewer have features that hold nothing, the last ones."""
        return int(self.counts.max())

    def there(self, examples: int) -> Tensor:
        """Which of the F features an example has, bool [B, F]."""
        number = torch.arange(self.count, device=self.counts.device)
        return (number < self.counts[:, None]).expand(examples, -1)

    def sums(self, maps: Tensor) -> Tensor:
        """The relevance of each feature, [B, F] in float64, of maps [B, *S].

        >>> from explain.inputs import lay_out
        >>> features = features_of(*lay_out(torch.zeros(1, 2, 1, 2)))
        >>> features.sums(torch.tensor([[[[1.0, 2.0]], [[3.0, -2.0]]]])).tolist()
        [[4.0, 0.0]]
        """
        flat = maps.flatten(1).double()
        index = self.index.flatten(1).expand(flat.shape)
        return flat.new_zeros(len(flat), self.count).scatter_add_(1, index, flat)

    def spread(self, chosen: Tensor, rows: Tensor) -> Tensor:
        """What is said of the features of some examples, [n, F], said of every number of their inputs: [n, *S].

        Args:
            chosen: [n, F].
            rows: [n], whose features these are.
        """
        index = self.index.flatten(1)
        index = index.expand(len(chosen), -1) if len(index) == 1 else index[rows]
        return chosen.gather(1, index).reshape(len(chosen), *self.index.shape[1:])

    def fractions(self, fractions: Tensor) -> Tensor:
        """How many features a fraction of them is, rounded down: long [1 or B, T] of [T] in float64."""
        return (self.counts[:, None] * fractions.to(self.counts.device) + 1e-9).floor().long()

    def of(self, rows: slice) -> Features:
        """The same for some of the examples."""
        return Features(self.index[rows], self.counts[rows]) if len(self.index) > 1 else self


def features_of(layout: Layout, inputs: Tensor, asked: Asked = None, size: int | None = None) -> Features:
    """The features of a whole batch.

    Args:
        layout: of the inputs.
        inputs: [B, *S], joined where there are several.
        asked: as for `explain.features.named_features`; None: each pixel, token or column.
        size: likewise.

    >>> from explain.inputs import lay_out
    >>> features_of(*lay_out({"image": torch.zeros(2, 3, 4, 4), "text": torch.zeros(2, 5, 8)})).count
    21
    """
    named = named_features(
        "features", "each" if asked is None else asked, size, inputs, blank(layout, len(inputs))
    )
    index = named.ids.expand(len(named.ids), *inputs.shape[1:])
    return Features(index, torch.tensor(named.counts, device=inputs.device))


def shuffled(features: Features, examples: int, seed: int, first: int) -> Tensor:
    """A random order [B, F] of the features of each example, from a stream of its own; those it lacks come last."""
    drawn = noise_like(torch.zeros(examples, features.count), seed, first, TIES)
    return drawn.to(features.counts.device).where(features.there(examples), torch.inf).argsort(dim=1)


def ranking(relevance: Tensor, ties: Tensor) -> Tensor:
    """Features from the most to the least relevant, [B, F] of relevance [B, F].

    Those of equal relevance stay in the order ``ties`` [B, F]: a constant map is a random order and not the order of
    the pixels, and neither the micro-batch nor the other examples change an order.

    >>> ranking(torch.tensor([[1.0, 3.0, 2.0, 1.0]]), torch.tensor([[3, 2, 1, 0]])).tolist()
    [[1, 2, 3, 0]]
    """
    return ties.gather(1, relevance.gather(1, ties).argsort(dim=1, descending=True, stable=True))


def places(order: Tensor) -> Tensor:
    """The place of each feature in an order [B, F].

    >>> places(torch.tensor([[2, 0, 1]])).tolist()
    [[1, 2, 0]]
    """
    along = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, along)
