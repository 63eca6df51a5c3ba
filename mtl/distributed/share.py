"""Which rows of a batch are this process's own: the processes take turns of one batch, none gets a copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from mtl.distributed.ranks import Ranks, ranks


def share(rows: Any, together: Ranks | None = None) -> Any:
    """This process's part of ``rows`` (a tensor's first axis, or a list): parts differ by one row at most.

    Alone, all of them. A batch of fewer rows than processes leaves some with none.

    >>> [share([0, 1, 2, 3, 4], Ranks(rank, world=3)) for rank in range(3)]
    [[0, 1], [2, 3], [4]]
    """
    together = ranks() if together is None else together
    if together is None:
        return rows
    small, larger = divmod(len(rows), together.world)
    begin = together.rank * small + min(together.rank, larger)
    return rows[begin : begin + small + (together.rank < larger)]


class SharedSampler:
    """Gives of each batch of indices this process's own; one index stands in for none (see `shared_loader`)."""

    def __init__(self, batches: Any, together: Ranks, sizes: list[int]) -> None:
        self.batches, self.together, self.sizes = batches, together, sizes

    def __iter__(self) -> Iterator[list[int]]:
        for indices in self.batches:
            own = share(list(indices), self.together)
            self.sizes.append(len(own))
            yield own or list(indices)[:1]

    def __len__(self) -> int:
        return len(self.batches)


def shared_loader(loader: DataLoader[Any]) -> Iterator[Any]:
    """The batches of ``loader`` in its own order, of each this process's rows alone (the others are never loaded)."""
    together = ranks()
    if together is None:
        yield from loader
        return
    sizes: list[int] = []  # of the batches drawn so far; workers draw ahead
    sampler = SharedSampler(loader.batch_sampler, together, sizes)
    own: DataLoader[Any] = DataLoader(
        loader.dataset,
        batch_sampler=sampler,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
        generator=loader.generator,
        persistent_workers=False,
    )
    for number, batch in enumerate(own):
        yield batch if sizes[number] else _map(lambda x: x[:0], batch)


def open_pass(loader: DataLoader[Any]) -> None:
    """Refuse a DataLoader of the user's that gives every process the same; let a DistributedSampler shuffle anew."""
    plain = (
        type(loader.batch_sampler).__module__ == type(loader.sampler).__module__ == "torch.utils.data.sampler"
    )
    if plain and ranks() is not None:
        raise ValueError(
            "this DataLoader gives every process the same examples: give it "
            "sampler=torch.utils.data.DistributedSampler(dataset), or give mtl.fit the Dataset itself"
        )
    if isinstance(loader.sampler, DistributedSampler):
        loader.sampler.set_epoch(loader.sampler.epoch + 1)


def _map(change: Callable[[Any], Any], batch: Any) -> Any:
    if isinstance(batch, dict):
        return {name: _map(change, part) for name, part in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch)(_map(change, part) for part in batch)
    return change(batch)
