"""What is kept between the micro-batches of one step: losses, heads' gradients, which tasks took part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mtl.balancing.engine import combine_rows
from mtl.balancing.method import Answer
from mtl.balancing.rows import Rows, accumulate
from mtl.balancing.shards import Shards


@dataclass(eq=False)
class Pending:
    """The sum over the micro-batches so far; the tasks' gradients themselves add up in the balancer's rows."""

    losses: Tensor  # [all tasks]
    seen: Tensor  # [all tasks]
    heads: dict[nn.Parameter, Tensor] = field(default_factory=dict)

    @classmethod
    def start(cls, tasks: int) -> Pending:
        return cls(torch.zeros(tasks, dtype=torch.float64), torch.zeros(tasks, dtype=torch.bool))

    def add(
        self,
        places: Sequence[int],
        losses: Tensor,
        heads: Sequence[nn.Parameter],
        gradients: Sequence[Tensor | None] | None,
    ) -> None:
        at = torch.tensor(places)
        self.losses = self.losses.index_add(0, at, losses)
        self.seen = self.seen.index_fill(0, at, True)
        for parameter, gradient in zip(heads, gradients or [], strict=False):
            if gradient is not None:
                before = self.heads.get(parameter)
                self.heads[parameter] = gradient if before is None else before + gradient

    def places(self) -> list[int]:
        """Which tasks had a label in any micro-batch."""
        return list(map(int, self.seen.nonzero().flatten()))

    def writer(self, rows: Rows, shared: int, shards: Shards) -> Writer:
        places = self.places()
        everyone = len(places) == len(self.seen)
        found = shards.summed(rows[:] if everyone else rows[places])
        return Writer(self, rows, found, shards.own_starts([shared])[0], shards)


@dataclass
class Writer:
    """Writes like a `Step`, from what was kept."""

    pending: Pending
    rows: Rows
    found: Tensor  # [T, N] of the tasks that took part
    shared: int  # columns of the shared parameters; any others are of heads that the method weights
    shards: Shards

    def write(
        self, answer: Answer, starts: Sequence[int] = (), *, factor: float = 1.0, weigh_heads: bool = False
    ) -> None:
        del weigh_heads  # heads that are weighted are among the rows
        direction = combine_rows(answer.weights, answer.direction, self.found, starts)
        if factor != 1:
            direction = torch.cat([factor * direction[: self.shared], direction[self.shared :]])
        direction, heads = self.shards.complete(direction, answer), list(self.pending.heads)
        own, self.rows.reached = self.shards.gradients(
            heads, list(self.pending.heads.values()), self.rows.reached
        )
        self.rows.write(direction)
        for parameter, gradient in zip(heads, own, strict=True):
            if gradient is not None:
                accumulate(parameter, gradient)
