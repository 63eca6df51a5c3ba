"""How far the tasks' gradients agree: inner products, cosines and norms, whole and by layer group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from mtl.balancing.engine import Step
from mtl.balancing.gramian import cosines, gramian, norms
from mtl.balancing.joined import batch_losses
from mtl.balancing.last import Balanced
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
        groups: by name: the trainable children of ``model.backbone``, where it has several.
    """

    tasks: tuple[str, ...]
    whole: Agreement
    groups: Mapping[str, Agreement]


def measure_conflict(losses: Mapping[str, Tensor], model: Balanced) -> Conflict:
    """The tasks' gradients of the shared parameters, compared; the graph is kept, ``.grad`` is untouched.

    Cost: T backward passes through the trunk, and T copies of its gradient. Of the joined batch, where several
    processes train together.

    >>> import mtl, torch
    >>> model = mtl.MultiTaskModel(mtl.backbone("cnn", image_size=8), [mtl.Regression("a"), mtl.Regression("b")])
    >>> losses = model.losses(model(torch.ones(4, 1, 8, 8)), {"a": torch.ones(4), "b": torch.zeros(4)})
    >>> list(measure_conflict(losses, model).groups)
    ['convolutions', 'linear']
    """
    together, names = ranks(), tuple(task.name for task in model.tasks)
    joint = batch_losses(losses, names, together)
    shared = model.shared_parameters()
    own = {id(p) for p in shared}
    heads = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
    shards = Shards(together)
    rows = Step(joint.parts, shared, heads, Rows(), keep=True, shards=shards).rows(columns=shared)
    place = {id(p): i for i, p in enumerate(shared)}
    starts = [0]
    for parameter in shared:
        starts.append(starts[-1] + parameter.numel())
    groups = {}
    for child, module in getattr(model, "backbone", model).named_children():  # type: ignore[union-attr]
        columns = [
            slice(*shards.own_starts(starts[i : i + 2]))
            for p in module.parameters()
            if (i := place.get(id(p))) is not None
        ]
        if columns:
            found = sum(gramian(rows[:, part]).cpu() for part in columns)
            groups[child] = Agreement(shards.total(found))  # type: ignore[arg-type]  # a tensor: there are columns
    whole = Agreement(shards.total(gramian(rows).cpu()))
    return Conflict(joint.tasks, whole, groups if len(groups) > 1 else {})
