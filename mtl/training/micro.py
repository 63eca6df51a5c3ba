"""A batch in micro-batches whose losses add up to those of the whole."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mtl.inputs import Inputs, each
from mtl.tasks import Task
from mtl.training.batches import Batch, examples


class Part(NamedTuple):
    """A micro-batch, and the share of each task's labels that it holds; no shares where it is the whole batch."""

    inputs: Inputs
    targets: Mapping[str, Tensor]
    shares: Mapping[str, float] | None = None

    def shared(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The part's mean losses as terms of the joined batch's."""
        if self.shares is None:
            return dict(losses)
        return {name: loss * self.shares[name] for name, loss in losses.items()}


@torch.no_grad()
def label_counts(tasks: Sequence[Task], targets: Mapping[str, Tensor]) -> dict[str, int]:
    """How many labels each task has in these targets, as its loss counts them.

    >>> import mtl
    >>> label_counts([mtl.Classification("a", classes=2)], {"a": torch.tensor([0, -1, 1])})
    {'a': 2}
    """
    counts = {}
    for task in tasks:
        if task.name in targets:
            target = targets[task.name]
            outputs = torch.zeros(len(target), task.output_size, device=target.device)
            counts[task.name] = task.loss_sum(outputs, target)[1]
    return counts


def micro_batches(batch: Batch, count: int, tasks: Sequence[Task]) -> list[Part]:
    """The batch in ``count`` parts of nearly equal size, fewer where it has fewer rows.

    A mean over labels is no mean of means where labels are missing or parts differ in size, so each part tells its
    share of the batch's labels, task by task. Parts without any label are left out.

    >>> import mtl
    >>> tasks = [mtl.Regression("y")]
    >>> batch = (torch.ones(5, 2), {"y": torch.tensor([1.0, 2.0, 3.0, float("nan"), 5.0])})
    >>> [(len(part.inputs), part.shares) for part in micro_batches(batch, 2, tasks)]
    [(2, {'y': 0.5}), (3, {'y': 0.5})]
    """
    inputs, targets = batch
    rows = examples(inputs)
    count = min(count, rows)
    if count <= 1:
        return [Part(inputs, targets)]
    cuts = [k * rows // count for k in range(count + 1)]
    total = label_counts(tasks, targets)
    parts = []
    for start, end in itertools.pairwise(cuts):
        own = {name: target[start:end] for name, target in targets.items()}
        counts = label_counts(tasks, own)
        if any(counts.values()):
            shares = {name: found / total[name] for name, found in counts.items() if found}
            parts.append(Part(each(lambda x, a=start, b=end: x[a:b], inputs), own, shares))  # type: ignore[misc]  # bound now
    return parts or [Part(inputs, targets)]  # without a label at all the loss says so


def add_up(total: dict[str, Tensor], losses: Mapping[str, Tensor]) -> None:
    """Add the values of a part's losses to those so far."""
    for name, loss in losses.items():
        total[name] = total[name] + loss.detach() if name in total else loss.detach()
