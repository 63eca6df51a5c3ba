"""What the tasks' gradients do during training: losses, weights, norms and cosines at logged steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtl.balancing import Balancer
from mtl.conflict import measure_conflict
from mtl.distributed.losses import joined_values
from mtl.model import MultiTaskModel


@dataclass(eq=False)
class Dynamics:
    """One row a logged step; a task without a label in that batch has NaN there.

    Attributes:
        step: the logged steps, 1-based.
        tasks, groups: what the axes T and G of `arrays` stand for.
    """

    step: list[int] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    _rows: list[dict[str, np.ndarray]] = field(default_factory=list)

    def measure(
        self, step: int, losses: Mapping[str, Tensor], model: MultiTaskModel, balancer: Balancer
    ) -> None:
        """Compare the tasks' gradients, then let the balancer do this step's backward, unchanged by it."""
        conflict = measure_conflict(losses, model)
        balancer.backward(losses, model)
        values = joined_values(losses)
        self.tasks = [task.name for task in model.tasks]
        self.groups = list(conflict.groups)
        T, at = len(self.tasks), [self.tasks.index(name) for name in conflict.tasks]
        weights = balancer.last.weights if balancer.last is not None else None
        self.step.append(step)
        self._rows.append(
            {
                "losses": _spread(torch.stack([values[name] for name in conflict.tasks]), at, T),
                "weights": np.full(T, np.nan)
                if weights is None or weights.dim() > 1
                else _spread(weights, at, T),
                "norms": _spread(conflict.whole.norms, at, T),
                "gramian": _spread(conflict.whole.gramian, at, T),
                "cosines": _spread(conflict.whole.cosines, at, T),
                "group_gramian": _stack([group.gramian for group in conflict.groups.values()], at, T),
                "group_cosines": _stack([group.cosines for group in conflict.groups.values()], at, T),
            }
        )

    def arrays(self) -> dict[str, Any]:
        """step [n]; losses, weights, norms [n, T]; gramian, cosines [n, T, T]; the same by group [n, G, T, T]; names.

        >>> Dynamics().arrays()["step"]
        array([], dtype=int64)
        """
        names = self._rows[0] if self._rows else {}
        columns = {name: np.stack([row[name] for row in self._rows]) for name in names}
        return {
            "step": np.asarray(self.step, dtype=np.int64),
            "tasks": self.tasks,
            "groups": self.groups,
            **columns,
        }


def _stack(values: list[Tensor], at: list[int], T: int) -> np.ndarray:
    return np.stack([_spread(value, at, T) for value in values]) if values else np.empty((0, T, T))


def _spread(values: Tensor, at: list[int], T: int) -> np.ndarray:
    """Values [t] or [t, t] of some tasks, placed among all T with NaN elsewhere."""
    whole = np.full((T,) * values.dim(), np.nan)
    whole[np.ix_(*[at] * values.dim())] = values.double().cpu().numpy()
    return whole
