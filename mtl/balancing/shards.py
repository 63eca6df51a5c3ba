"""What several processes do with their rows: add them up, each some of the columns, and put the answer together.

A step sends (T + 1) / (2 T) of what an all-reduce of [T, P] would: each process gets the sums of its columns of rows
[T, P / W] (one half of an all-reduce), the Gramians [T, T] of those add up, and the combined direction [P] is gathered.
A process alone has all columns, and every method here gives back what it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mtl.balancing.method import Answer
from mtl.distributed.ranks import Ranks, flat_sum


@dataclass(eq=False)
class Shards:
    """The columns of a step's rows that this process works on.

    Attributes:
        together: the processes; None alone.
        whole: every process works on all columns, for methods that must see them.
        buffers: what is sent and received, kept from step to step.
        columns, here: how many columns the joined rows have, and an index of those that are here.

    >>> Shards().summed(torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """

    together: Ranks | None = None
    whole: bool = False
    buffers: dict[object, Tensor] = field(default_factory=dict)
    columns: int = 0
    here: Any = field(default_factory=lambda: slice(None))
    _begin: int = 0
    _end: int = 0

    def summed(self, rows: Tensor) -> Tensor:
        """The sums over processes of rows [T, P], by this one's columns; ``rows`` may be written to."""
        if self.together is None:
            return rows
        T, P = rows.shape
        if P == 0:
            return rows
        W, rank = self.together.world, self.together.rank
        width = -(-P // W)
        self.columns, self._begin, self._end = P, min(rank * width, P), min((rank + 1) * width, P)
        self.here = slice(self._begin, self._end)
        if self.whole:
            self.here = slice(None)
            return self.together.sum(rows.contiguous())
        packed, found = (self._buffer(name, (W, T, width), rows) for name in ("send", "receive"))
        for part, columns in zip(packed, rows.split(width, dim=1), strict=False):
            part[:, : columns.shape[1]] = columns
        return self.together.exchange(packed, found).sum(dim=0)[:, : self._end - self._begin]

    def features(self, rows: Tensor, sizes: Sequence[int], *, place: bool) -> Tensor:
        """Rows [T, N] of the features, of this process's examples: they are some columns of the joined batch's.

        Args:
            rows: by this process's examples.
            sizes: the columns of each tensor of the features.
            place: whether it matters where among all columns these are.
        """
        if self.together is None or not place:
            return rows
        of_all = self.together.gather(torch.tensor(sizes)).view(-1, len(sizes))  # [W, tensors]
        rank, at, parts = self.together.rank, 0, []
        for counts in of_all.T.tolist():
            begin = at + sum(counts[:rank])
            parts.append(torch.arange(begin, begin + counts[rank]))
            at += sum(counts)
        self.columns, self.here = at, torch.cat(parts)
        if not self.whole:
            return rows
        joined = rows.new_zeros(len(rows), self.columns)
        joined[:, self.here.to(rows.device)] = rows
        return self.together.sum(joined)

    def total(self, value: Tensor) -> Tensor:
        """The sum over processes of what each found on its columns; as it is where each has seen all."""
        if self.together is None or self.whole:
            return value
        return self.together.sums(value)[0]

    def beside(self, value: Tensor) -> Tensor:
        """What every process has found alike, where `total` puts its sums."""
        return value if self.together is None else value.cpu()

    def which(self) -> tuple[int, Any] | None:
        """How many columns the joined rows have, and which are here; None where all are."""
        return None if self.together is None else (self.columns, self.here)

    def own_starts(self, starts: Sequence[int]) -> Sequence[int]:
        """Where groups of columns begin among those that are here."""
        if self.together is None or self.whole:
            return starts
        return [min(max(start, self._begin), self._end) - self._begin for start in starts]

    def complete(self, direction: Tensor, answer: Answer) -> Tensor:
        """The direction [P], from that of this process's columns."""
        if self.together is None or not self.columns:
            return direction
        if self.whole:  # of the first process, whatever a function of the user's may have drawn
            return direction if answer.direction is None else self.together.first(direction.contiguous())
        width = -(-self.columns // self.together.world)
        part = direction.new_zeros(width)
        part[: len(direction)] = direction
        return self.together.gather(part)[: self.columns]

    def of_features(self, direction: Tensor) -> Tensor:
        """The direction of this process's own examples' features."""
        if self.together is None or not self.whole:
            return direction
        return self.together.first(direction.contiguous())[self.here.to(direction.device)]

    def gradients(
        self, parameters: Sequence[nn.Parameter], found: Sequence[Tensor | None], reached: Sequence[bool] = ()
    ) -> tuple[list[Tensor | None], list[bool]]:
        """The sums over processes of the parameters' gradients; and what is ``reached`` in any."""
        if self.together is None:
            return list(found), list(reached)
        return flat_sum(self.together, found, parameters, reached)

    def agreed(self, answer: Answer) -> Answer:
        """The answer with the first process's weights: solvers may round differently on different machines."""
        if self.together is None or answer.weights is None:
            return answer
        return answer._replace(weights=self.together.first(answer.weights.clone()))

    def _buffer(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        key = (name, shape, like.dtype, like.device)
        if key not in self.buffers:
            for old in [old for old in self.buffers if old[0] == name]:  # type: ignore[index]  # keys are as above
                del self.buffers[old]
            self.buffers[key] = like.new_zeros(shape)
        return self.buffers[key]
