"""How far the tasks' gradients agree: inner products, cosines and norms, whole and by layer group."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from mtl.balancing.engine import Step
from mtl.balancing.gramian import cosines, gramian, norms
from mtl.balancing.joined import batch_losses
from mtl.balancing.last import Balanced, parts_of
from mtl.balancing.rows import Rows
from mtl.balancing.shards import Shards
from mtl.distributed.ranks import ranks


@dataclass(frozen=True)
class Agreement:
    """The Gramian [T, T] (float64) of the tasks' gradients with respect to some parameters.

    >>> import torch
    >>> Agreement(torch.tensor([[4.0, -2.0], [-2.0, 1.0]])).cosines[0, 1]
    tensor(-1.)
    """

    gramian: Tensor

    @property
    def cosines(self) -> Tensor:
        """[T, T] in -1..1; NaN where a gradient is zero."""
        return cosines(self.gramian)

    @property
    def norms(self) -> Tensor:
        """[T]."""
        return norms(self.gramian)


@dataclass(frozen=True)
class Conflict:
    """The agreement over all shared parameters, and over each layer group.

    Attributes:
        tasks: the tasks measured, in order.
        whole: `Agreement` over all shared parameters.
        groups: by name: the trainable children of ``model.backbone``, where it has several (of its only child, where it
            wraps another module).
    """

    tasks: tuple[str, ...]
    whole: Agreement
    groups: Mapping[str, Agreement]


def measure_conflict(losses: Mapping[str, Tensor], model: Balanced, *, scale: float = 1.0) -> Conflict:
    """The tasks' gradients of the shared parameters, compared; the graph is kept, ``.grad`` is untouched.

    Args:
        losses: {task: scalar}.
        model: what they were computed with.
        scale: multiplies the losses for the backward passes alone, so that fp16 gradients do not vanish.

    Of the joined batch, where several processes train together.

    Cost: T backward passes through the trunk, and T copies of its gradient.

    >>> import mtl, torch
    >>> model = mtl.MultiTaskModel(mtl.backbone("cnn", image_size=8), [mtl.Regression("a"), mtl.Regression("b")])
    >>> losses = model.losses(model(torch.ones(4, 1, 8, 8)), {"a": torch.ones(4), "b": torch.zeros(4)})
    >>> list(measure_conflict(losses, model).groups)
    ['convolutions', 'linear']
    """
    gathering = Gathering(model)
    gathering.add(losses, scale)
    return gathering.conflict()


class Gathering:
    """`measure_conflict` of a batch in micro-batches: `add` for each, then `conflict`."""

    def __init__(self, model: Balanced) -> None:
        self.model, self.names = model, [task.name for task in model.tasks]
        self.shared, self.heads = parts_of(model)
        self._rows, self._scale, self._seen = Rows(), 1.0, set[str]()
        self._rows.open(len(self.names), self.shared)
        self._rows.clear()
        self._shards = Shards(ranks())

    def add(self, losses: Mapping[str, Tensor], scale: float = 1.0) -> None:
        """Add the gradients of these losses, whose graph is kept; the scale must be the same in all calls."""
        joint = batch_losses(losses, tuple(self.names), self._shards.together)
        step = Step(joint.parts, self.shared, self.heads, self._rows, scale=scale, keep=True)
        step.rows(columns=self.shared, places=[self.names.index(name) for name in joint.tasks])
        self._seen.update(joint.tasks)
        self._scale = scale

    def conflict(self) -> Conflict:
        names = [name for name in self.names if name in self._seen]
        everyone = len(names) == len(self.names)
        rows = self._rows[:] if everyone else self._rows[[self.names.index(name) for name in names]]
        rows = self._shards.summed(rows)
        place = {id(p): i for i, p in enumerate(self.shared)}
        starts = [0, *itertools.accumulate(p.numel() for p in self.shared)]
        groups = {}
        for child, module in _parts(getattr(self.model, "backbone", self.model)):  # type: ignore[arg-type]
            columns = [
                slice(*self._shards.own_starts(starts[i : i + 2]))
                for p in module.parameters()
                if (i := place.get(id(p))) is not None
            ]
            if columns:
                products = sum(gramian(rows[:, part]).cpu() for part in columns)
                groups[child] = Agreement(self._shards.total(products) / self._scale**2)  # type: ignore[arg-type]
        whole = Agreement(self._shards.total(gramian(rows).cpu()) / self._scale**2)
        return Conflict(tuple(names), whole, groups if len(groups) > 1 else {})


def _parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The children by name, below modules that only wrap another."""
    children = list(module.named_children())
    return _parts(children[0][1]) if len(children) == 1 else children
