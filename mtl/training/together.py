"""A training run among several processes: one start, one who writes, one end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch.utils.data import DataLoader

from mtl.distributed.normalisation import joined_batch_norm
from mtl.distributed.ranks import ranks, send_model, sharded

if TYPE_CHECKING:
    from mtl.training.loop import Loop


@contextmanager
def together(loop: Loop) -> Iterator[None]:
    """The block of a run's steps: everyone has the first one's weights, and batch normalisation is over all.

    The first process alone logs and keeps checkpoints. Alone, nothing is done.

    Raises:
        ValueError: on every process, where their runs differ.
    """
    group = ranks()
    if group is None:
        yield
        return
    if loop.checkpoints is not None and sharded(loop.model):
        raise ValueError(
            "mtl.fit writes no checkpoints of a sharded model (fully_shard): give checkpoints=None, and save with "
            "torch.distributed.checkpoint"
        )
    loaders = {"train": loop.train, "validation": loop.validation}
    lengths = {name: len(data) for name, data in loaders.items() if isinstance(data, DataLoader)}
    settings = (loop.steps, loop.batch_size, loop.validate_every, loop.dynamics_every, loop.seed, lengths)
    group.check_same("the length, batch size, validations, seed and loaders of training", settings)
    send_model(loop.model, group)
    if group.rank != 0:
        loop.log = loop.checkpoints = None
    with joined_batch_norm(loop.model):
        yield
    group.wait()  # for the first to have written
