"""A training run among several processes: one start, one who writes, one end."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader

from mtl.distributed.normalisation import joined_batch_norm
from mtl.distributed.ranks import ranks, send_model, sharded
from mtl.training.state import restored
from mtl.training.streams import own_stream, stream_seed

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


def together_restored(loop: Loop, folder: Path, allow: Collection[str]) -> bool:
    """`restored` on every process, which all must see the folder; the first one mends it where it was cut short.

    A checkpoint holds the first one's streams of dropout and augmentation. The others begin new ones at its step: the
    same in every session that resumes there, but not those of a run that was never stopped.
    """
    group = ranks()
    if group is None:
        return restored(loop, folder, allow)
    found = restored(loop, folder, allow) if group.rank == 0 else False
    group.wait()
    if group.rank != 0:
        loop.checkpoints = None
        found = restored(loop, folder, allow)
        torch.manual_seed(stream_seed(loop.seed, f"{own_stream('train')} from step {loop.result.steps}"))
        loop.shake.manual_seed(
            stream_seed(loop.seed, f"{own_stream('augment')} from step {loop.result.steps}")
        )
    return found
