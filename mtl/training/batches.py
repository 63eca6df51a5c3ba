"""Mini-batches from examples in memory, a torch Dataset or a DataLoader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mtl.data.task_data import TaskData
from mtl.distributed.share import open_pass, share, shared_loader
from mtl.inputs import Inputs, each

Batch = tuple[Inputs, Mapping[str, Tensor]]
Data = TaskData | Dataset[Any] | DataLoader[Any]


def batch_count(data: Data, batch_size: int) -> int:
    """Batches in one epoch; the last may be short."""
    if isinstance(data, DataLoader):
        return len(data)
    if not hasattr(data, "__len__") or not (isinstance(data, TaskData) or hasattr(data, "__getitem__")):
        raise TypeError(
            f"training data must be TaskData, a map-style Dataset or a DataLoader, got {type(data).__name__}"
        )
    return -(-len(data) // batch_size)  # type: ignore[arg-type]  # it has __len__, as just checked


def batches(data: Data, batch_size: int, order: torch.Generator | None = None) -> Iterator[Batch]:
    """One pass over ``data``: (inputs [B, *S] or {name: [B, *S]}, {task: targets}).

    Args:
        data: `TaskData` (indexed in memory), a map-style Dataset of such pairs, or a DataLoader of such batches,
            which keeps its own batch size and order.
        batch_size: examples a batch; the last batch may be short. Of several processes each gets its share of the
            batch, which may be empty; a DataLoader must give each process its own.
        order: shuffles by this generator; None keeps the order.
    """
    if isinstance(data, TaskData):
        rows = torch.arange(len(data)) if order is None else torch.randperm(len(data), generator=order)
        for part in map(share, rows.split(batch_size)):
            if order is None:  # a slice: no copy
                part = slice(int(part[0]), int(part[-1]) + 1) if len(part) else slice(0)
            inputs = each(itemgetter(part), data.inputs)
            yield inputs, {name: target[part] for name, target in data.targets.items()}
    elif isinstance(data, DataLoader):
        open_pass(data)
        yield from map(_checked, data)
    else:
        loader = DataLoader(data, batch_size=batch_size, shuffle=order is not None, generator=order)
        yield from map(_checked, shared_loader(loader))


def _checked(batch: Any) -> Batch:
    """A batch as (inputs, targets), or an error that shows the expected form."""
    if not (isinstance(batch, tuple | list) and len(batch) == 2 and isinstance(batch[1], Mapping)):
        raise TypeError(
            f"a batch must be (inputs, {{task: targets}}), got {type(batch).__name__}; make the Dataset "
            "return such pairs"
        )
    return batch[0], batch[1]


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on the model's device; nothing is copied when it is there already."""
    inputs, targets = batch
    return each(lambda x: x.to(device, non_blocking=True), inputs), {
        name: t.to(device, non_blocking=True) for name, t in targets.items()
    }
