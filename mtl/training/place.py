"""Where a run is in its data, so that a resumed one goes on with the next batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from mtl.training.batches import Batch, Data


@dataclass(frozen=True, eq=False)
class Place:
    """After batch ``batch`` (1-based; 0: before the first) of epoch ``epoch`` (1-based).

    ``starts`` holds the states at the epoch's start of the generators that decide which batches it has.
    """

    epoch: int
    batch: int
    starts: Mapping[str, Tensor]

    def plain(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "batch": self.batch, "starts": dict(self.starts)}


def walk(
    one_pass: Callable[[int], Iterator[Batch]], data: Data, order: torch.Generator, after: Place | None = None
) -> Iterator[tuple[Place, Batch]]:
    """Batches without end, each with the place after it; from the start, or on from the place ``after``.

    Examples that came before are not read again, but a DataLoader is asked for its batches from the epoch's start,
    with the generators of then; torch's default generator is afterwards as it was when the walk began.

    Args:
        one_pass: the batches of ``data`` once, in an order drawn from ``order``, without the first so many.
        data: what is passed; a DataLoader has generators of its own.
        order: the generator of the order.
        after: the place of a run that is resumed.

    >>> drawn = lambda skip: iter(torch.randperm(4, generator=order).tolist()[skip:])
    >>> order = torch.Generator().manual_seed(0)
    >>> whole = list(islice(walk(drawn, [], order), 6))
    >>> order = torch.Generator()
    >>> [batch for _, batch in islice(walk(drawn, [], order, after=whole[1][0]), 4)] == [b for _, b in whole[2:]]
    True
    """
    epoch, skip = (after.epoch, after.batch) if after else (1, 0)
    known = _generators(data, order)
    again = isinstance(data, DataLoader) and after is not None
    for name, state in (after.starts if after else {}).items():
        if name in known:
            known[name].set_state(state)
    while True:
        if isinstance(data, DataLoader) and isinstance(data.sampler, DistributedSampler):
            data.sampler.set_epoch(epoch - 1)  # each pass begins with the next
        default = torch.get_rng_state()
        if again and after is not None:
            torch.set_rng_state(after.starts["default"])
        starts = {name: generator.get_state() for name, generator in known.items()}
        if isinstance(data, DataLoader):
            starts["default"] = torch.get_rng_state()
        found = one_pass(0 if again else skip)
        if again:
            deque(islice(found, skip), maxlen=0)
            torch.set_rng_state(default)
            again = False
        number = skip
        for number, batch in enumerate(found, start=skip + 1):
            yield Place(epoch, number, starts), batch
        if number == 0:
            raise ValueError("the training data gives no batch")
        epoch, skip = epoch + 1, 0


def _generators(data: Data, order: torch.Generator) -> dict[str, torch.Generator]:
    """The generators that decide about batches, by where they are held: ours, or those of a DataLoader."""
    if not isinstance(data, DataLoader):
        return {"order": order}
    holders = {"loader": data, "sampler": data.sampler, "batch_sampler": data.batch_sampler}
    holders["batch_sampler.sampler"] = getattr(data.batch_sampler, "sampler", None)
    found = {name: getattr(holder, "generator", None) for name, holder in holders.items()}
    return {name: value for name, value in found.items() if isinstance(value, torch.Generator)}
