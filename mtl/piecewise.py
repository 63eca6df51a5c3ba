"""Numbers of a table in pieces, so that a network may bend at thresholds, as trees do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf

import torch
from torch import Tensor, nn


class PiecewiseLinear(nn.Module):
    """The piecewise linear encoding of every column: inputs [B, F] -> [B, pieces of all columns].

    A column with edges b_0 < ... < b_K becomes K numbers, (x - b_k-1) / (b_k - b_k-1) cut to 0..1: those of the pieces
    below x are 1, that of its own piece tells where in it x lies, and the others are 0. The first piece has no lower
    cut and the last no upper one, so that one piece is the column itself, shifted and scaled. A linear layer on them
    is a curve of each column that bends at the edges. Nothing is learned, and attributions are still the columns'.

    Args:
        edges: of each column its K + 1 ascending edges, K >= 1, as `quantile_edges` finds them.

    Raises:
        ValueError: no column, or edges that are too few, not finite or not ascending; at a call, another F.

    Source: Gorishniy et al. 2022, "On embeddings for numerical features in tabular deep learning", equation 1.

    >>> PiecewiseLinear([[0.0, 1.0, 3.0]])(torch.tensor([[0.5], [2.0], [5.0]])).tolist()
    [[0.5, 0.0], [1.0, 0.5], [1.0, 2.0]]
    """

    column: Tensor
    low: Tensor
    width: Tensor
    least: Tensor
    most: Tensor

    def __init__(self, edges: Sequence[Sequence[float]]) -> None:
        super().__init__()
        _check(edges)
        pieces = [
            (at, low, high - low, -inf if k == 0 else 0.0, inf if k == len(own) - 2 else 1.0)
            for at, own in enumerate(edges)
            for k, (low, high) in enumerate(pairwise(own))
        ]
        column, *numbers = zip(*pieces, strict=True)
        self.in_features, self.out_features = len(edges), len(pieces)
        self.register_buffer("column", torch.tensor(column))
        for name, values in zip(("low", "width", "least", "most"), numbers, strict=True):
            self.register_buffer(name, torch.tensor(values))

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs [B, F] -> [B, pieces]."""
        if inputs.dim() != 2 or inputs.shape[1] != self.in_features:
            raise ValueError(
                f"PiecewiseLinear was built for inputs [B, {self.in_features}], got {list(inputs.shape)}"
            )
        return ((inputs[:, self.column] - self.low) / self.width).clamp(self.least, self.most)


def quantile_edges(inputs: Tensor, *, pieces: int = 48) -> list[list[float]]:
    """Edges of each column for `PiecewiseLinear`: quantiles of the different values it has.

    Each value counts once, however many rows have it: where nine rows of ten are 0, the quantiles of the rows would lie
    on the 0. A column with fewer values gets an edge at each, so that a 0/1 column is one piece; a constant one too.
    Of a column with a long tail take the ranks (`mtl.data.columns.ranked`): its pieces are then equally wide, where
    narrow ones would be steps in the model that integrated gradients cannot add up.

    Args:
        inputs: of the training rows, float [N, F].
        pieces: the most pieces of a column.

    Raises:
        ValueError: pieces below 1, or inputs that are not [N, F] with N >= 1.

    >>> quantile_edges(torch.tensor([[0.0, 1.0], [0.0, 1.0], [2.0, 0.0], [6.0, 0.0], [8.0, 0.0]]), pieces=2)
    [[0.0, 4.0, 8.0], [0.0, 1.0]]
    """
    if pieces < 1:
        raise ValueError(f"quantile_edges: pieces must be >= 1, got {pieces}")
    if inputs.dim() != 2 or not len(inputs):
        raise ValueError(f"quantile_edges: inputs must be [N, F] with N >= 1, got {list(inputs.shape)}")
    found = []
    for column in inputs.unbind(dim=1):
        values = column.double().unique()
        count = min(pieces, max(1, len(values) - 1))
        steps = torch.linspace(0, 1, count + 1, dtype=torch.float64, device=inputs.device)
        edges = values.quantile(steps).to(inputs.dtype).unique()  # two may round to the same
        found.append((edges if len(edges) > 1 else torch.cat([edges, edges + 1])).tolist())
    return found


def _check(edges: Sequence[Sequence[float]]) -> None:
    if not edges:
        raise ValueError("PiecewiseLinear needs the edges of one column at least")
    for number, own in enumerate(edges):
        ascending = all(low < high for low, high in pairwise(own))
        if len(own) < 2 or not ascending or not (-inf < own[0] and own[-1] < inf):
            raise ValueError(
                f"PiecewiseLinear: the edges of column {number} must be two or more finite numbers, each above the one "
                f"before, got {len(own)} edges"
            )
