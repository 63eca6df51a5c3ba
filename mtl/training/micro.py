"""A batch in micro-batches whose losses add up to those of the whole."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

import torch
from torch import Tensor

from mtl.dense.tasks import is_dense
from mtl.distributed import joined_values, ranks
from mtl.inputs import Inputs, each
from mtl.tasks import Task
from mtl.training.batches import Batch, examples


class Part(NamedTuple):
    """A micro-batch, and the share of each task's labels that it holds; no shares where it is the whole batch."""

    inputs: Inputs
    targets: Mapping[str, Tensor]
    shares: Mapping[str, float] | None = None

    def shared(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """The part's mean losses as terms of the joined batch's."""
        if self.shares is None:
            return losses
        terms = copy.copy(losses)
        terms.update({name: loss * self.shares[name] for name, loss in losses.items()})
        return terms


@torch.no_grad()
def label_counts(tasks: Sequence[Task], targets: Mapping[str, Tensor]) -> list[int]:
    """How many labels each task has in these targets, as its loss counts them.

    >>> import mtl
    >>> tasks = [mtl.Classification("a", classes=2), mtl.Regression("b")]
    >>> label_counts(tasks, {"a": torch.tensor([0, -1, 1])})
    [2, 0]
    """
    counts = []
    for task in tasks:
        target = targets.get(task.name)
        if target is None or not len(target):
            counts.append(0)
            continue
        places = target.shape[-2:] if is_dense(task) else ()
        outputs = torch.zeros((), device=target.device).expand(len(target), task.output_size, *places)
        counts.append(task.loss_sum(outputs, target)[1])
    return counts


def micro_batches(batch: Batch, count: int, tasks: Sequence[Task]) -> list[Part]:
    """The batch in ``count`` parts of nearly equal size.

    A mean over labels is no mean of means where labels are missing or parts differ in size, so each part tells its
    share of the batch's labels, task by task. Parts without any label (or row) are left out.

    >>> import mtl
    >>> tasks = [mtl.Regression("y")]
    >>> batch = (torch.ones(5, 2), {"y": torch.tensor([1.0, 2.0, 3.0, float("nan"), 5.0])})
    >>> [(len(part.inputs), part.shares) for part in micro_batches(batch, 2, tasks)]
    [(2, {'y': 0.5}), (3, {'y': 0.5})]
    """
    inputs, targets = batch
    if count == 1:
        return [Part(inputs, targets)]
    rows, together = examples(inputs), ranks()
    odd = any(len(target) != rows for target in targets.values())  # the loss refuses them
    ends = [k * rows // count for k in range(count + 1)]
    slices = [slice(start, end) for start, end in itertools.pairwise(ends)]
    labels = [{name: target[part] for name, target in targets.items()} for part in slices]
    counts = torch.tensor([[0] * len(tasks) if odd else label_counts(tasks, own) for own in labels])
    if together is not None:  # every process must have the same parts, with their shares of all labels
        counts, odds = together.sums(counts, torch.tensor([odd]))
        odd = bool(odds)
    if odd or not bool(counts.any()):
        return [Part(inputs, targets)]
    shares = counts.double() / counts.sum(dim=0).clamp(min=1)
    names = [task.name for task in tasks]
    return [
        Part(each(itemgetter(part), inputs), own, dict(zip(names, of_all.tolist(), strict=True)))
        for part, own, of_all in zip(slices, labels, shares, strict=True)
        if bool(of_all.any())
    ]


def add_up(total: dict[str, Tensor], losses: Mapping[str, Tensor]) -> None:
    """Add the values of a part's losses (of all processes, where they were joined) to those so far."""
    for name, loss in joined_values(losses).items():
        total[name] = total[name] + loss if name in total else loss
