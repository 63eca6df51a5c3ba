"""How far the tasks' gradients agree: inner products, cosines and norms, whole and by layer group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from mtl.balancing.engine import Step
from mtl.balancing.gramian import cosines, gramian, norms
from mtl.balancing.last import Balanced
from mtl.balancing.rows import Rows


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

    Cost: T backward passes through the trunk, and T copies of its gradient.

    >>> import mtl, torch
    >>> model = mtl.MultiTaskModel(mtl.backbone("cnn", image_size=8), [mtl.Regression("a"), mtl.Regression("b")])
    >>> losses = model.losses(model(torch.ones(4, 1, 8, 8)), {"a": torch.ones(4), "b": torch.zeros(4)})
    >>> list(measure_conflict(losses, model).groups)
    ['convolutions', 'linear']
    """
    names = [task.name for task in model.tasks if task.name in losses]
    shared = model.shared_parameters()
    own = {id(p) for p in shared}
    heads = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
    step = Step([losses[name] for name in names], shared, heads, Rows(), keep=True)
    rows = step.rows(columns=shared)
    place = {id(p): i for i, p in enumerate(shared)}
    starts = [0]
    for parameter in shared:
        starts.append(starts[-1] + parameter.numel())
    groups = {}
    for child, module in getattr(model, "backbone", model).named_children():  # type: ignore[union-attr]
        columns = [
            slice(starts[i], starts[i + 1])
            for p in module.parameters()
            if (i := place.get(id(p))) is not None
        ]
        if columns:
            groups[child] = Agreement(sum(gramian(rows[:, part]).cpu() for part in columns))  # type: ignore[arg-type]
    whole = Agreement(gramian(rows).cpu())
    return Conflict(tuple(names), whole, groups if len(groups) > 1 else {})
