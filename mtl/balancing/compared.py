"""What a step has compared: the inner products of the tasks' gradients, and the gradients where a method reads them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from mtl.balancing.gramian import gramian
from mtl.balancing.method import Answer
from mtl.balancing.shards import Shards


class Compared:
    """Inner products of gradients that carry the factor ``scale`` of a gradient scaler, without it.

    Attributes:
        products: [T, T] float64 on the CPU.
        groups: [G, T, T], for groups of columns that begin at ``starts`` [G + 1]; None without.
        rows: [T, N] the gradients, with their scale; None where none were kept.
    """

    def __init__(
        self,
        products: Tensor,
        scale: float,
        rows: Tensor | None = None,
        groups: Tensor | None = None,
        starts: Sequence[int] = (),
        shards: Shards | None = None,
    ) -> None:
        self.products = products.cpu() / scale**2 if scale != 1.0 else products.cpu()
        self.groups = groups if groups is None or scale == 1.0 else groups / scale**2
        self.scale, self.rows, self.starts = scale, rows, starts
        self.shards = shards or Shards()

    @classmethod
    def of(
        cls, rows: Tensor, scale: float, starts: Sequence[int] = (), shards: Shards | None = None
    ) -> Compared:
        """Compare rows, as a whole or by groups of columns; with ``shards`` rows are some of all columns."""
        shards = shards or Shards()
        starts = shards.own_starts(starts)
        if not starts:
            return cls(shards.total(gramian(rows)), scale, rows, shards=shards)
        groups = torch.stack([gramian(rows[:, a:b]) for a, b in itertools.pairwise(starts)])
        groups = shards.total(groups).cpu()
        return cls(groups.sum(dim=0), scale, rows, groups, starts, shards)

    def unscaled(self) -> Tensor | None:
        """The rows without the scaler's factor."""
        return self.rows if self.rows is None or self.scale == 1.0 else self.rows / self.scale

    def not_finite(self) -> int | None:
        """The first task whose gradient is not finite."""
        squares = enumerate(self.products.diagonal().tolist())
        return next((task for task, square in squares if not square < float("inf")), None)

    def matching(self, answer: Answer) -> float:
        """The length of the plain sum over that of the answer's direction; 1 where that is zero."""
        plain, w = float(self.products.sum().clamp(min=0).sqrt()), answer.weights
        if w is None:
            assert answer.direction is not None
            length = float(self.shards.total(answer.direction.double().square().sum()).sqrt())
        elif w.dim() == 1:
            length = float((w @ self.products @ w).clamp(min=0).sqrt())
        else:
            assert self.groups is not None
            length = float(torch.einsum("gs,gst,gt->", w, self.groups, w).clamp(min=0).sqrt())
        return plain / length if length > 1e-12 * plain else 1.0
