"""The losses of a batch with the number of labels behind each, so that processes can join them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mtl.distributed.ranks import Ranks


class Losses(dict[str, Tensor]):
    """{task: mean loss}, as `mtl.MultiTaskModel.losses` gives it; a plain dict for all who ask no more.

    Args:
        losses: {task: scalar}, each a mean over ``counts[task]`` labels of this process.
        counts: {task: labels}; where several processes join, a loss counts by its share of all labels.
        absent: {task: zero scalar with a graph} for tasks without a label in this process: other processes may have
            some, and all must pass the same graph backward.

    Attributes:
        joined: {task: value} over all processes, once a balancer's backward has joined them; else None.

    Dividing or multiplying by a number keeps the counts (micro-batches). A loss that is no mean over labels (a
    penalty on weights, say) goes with the same count on every process, and is then the mean over processes.

    >>> losses = Losses({"a": torch.tensor(4.0)}, {"a": 8})
    >>> losses / 2, (losses / 2).counts
    ({'a': tensor(2.)}, {'a': 8})
    """

    def __init__(
        self,
        losses: Mapping[str, Tensor],
        counts: Mapping[str, int],
        absent: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(losses)
        wrong = {name: counts.get(name, 0) for name in losses if counts.get(name, 0) < 0}
        if wrong or not set(losses) <= set(counts):
            raise ValueError(f"Losses needs a count >= 0 for each of {list(losses)}, got {dict(counts)}")
        self.counts, self.absent = dict(counts), dict(absent or {})
        self.joined: dict[str, float] | None = None

    def __mul__(self, factor: float | Tensor) -> Losses:
        return Losses({name: factor * loss for name, loss in self.items()}, self.counts, self.absent)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float | Tensor) -> Losses:
        return Losses({name: loss / divisor for name, loss in self.items()}, self.counts, self.absent)


class Joint(NamedTuple):
    """The joined batch's losses, of the tasks that have a label in any process, in the model's order."""

    tasks: tuple[str, ...]
    values: Tensor  # [T] float64, over all processes
    parts: list[Tensor]  # T scalars with a graph: this process's shares, which add up to the joined losses


def join(
    losses: Mapping[str, Tensor], names: tuple[str, ...], together: Ranks, problem: Exception | None
) -> Joint:
    """What the processes' losses are together, by one exchange of 3 T + 1 numbers.

    Args:
        losses: of this process; `Losses`.
        names: all tasks of the model.
        problem: what this process would refuse its losses for: then every process raises.
    """
    T = len(names)
    counts, sums = torch.zeros(T, dtype=torch.float64), torch.zeros(T, dtype=torch.float64)
    if problem is None and not isinstance(losses, Losses):
        problem = ValueError(
            "several processes join their losses by the number of labels behind each, and a plain dict does not tell "
            "it: use model.losses(...), or mtl.Losses(losses, counts={task: labels})"
        )
    if problem is None and losses:
        assert isinstance(losses, Losses)
        at = torch.tensor([names.index(name) for name in losses])
        values = torch.stack([loss.detach() for loss in losses.values()]).double().cpu()
        own = torch.tensor([float(losses.counts[name]) for name in losses], dtype=torch.float64)
        counts[at], sums[at] = own, torch.where(own > 0, own * values, 0.0)
    lacking = torch.tensor(
        [name not in losses and name not in getattr(losses, "absent", ()) for name in names]
    )
    failed = torch.tensor([problem is not None])
    counts_of_all, sums, lacking, failed = together.sums(counts, sums, lacking, failed)
    if problem is not None:
        raise problem
    if float(failed) > 0:
        raise ValueError(f"rank {together.rank} stops: another process refuses its losses, and says why")
    assert isinstance(losses, Losses)
    tasks = tuple(name for name, count in zip(names, counts_of_all.tolist(), strict=True) if count > 0)
    gaps = [name for name in tasks if lacking[names.index(name)] > 0]
    if gaps:
        raise ValueError(
            f"some processes have labels of task '{gaps[0]}', and others give no loss: use model.losses(...), or "
            "give a zero loss with a graph and count 0"
        )
    share = dict(zip(names, (counts / counts_of_all.clamp(min=1)).tolist(), strict=True))
    parts = [
        losses.absent[n] if share[n] == 0 and n in losses.absent else losses[n] * share[n] for n in tasks
    ]
    here = torch.tensor([names.index(name) for name in tasks], dtype=torch.long)
    joint = Joint(tasks, sums[here] / counts_of_all[here], parts)
    losses.joined = dict(zip(tasks, joint.values.tolist(), strict=True))
    return joint


def joined_values(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The losses' values, detached: of the joined batch where several processes have joined them."""
    joined = losses.joined if isinstance(losses, Losses) else None
    if joined is None:
        return {name: loss.detach() for name, loss in losses.items()}
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in joined.items()}
