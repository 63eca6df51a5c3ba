"""What the tasks' gradients do during training: losses, weights, norms and cosines at logged steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtl.balancing.last import Last
from mtl.conflict import Conflict


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

    def record(
        self,
        step: int,
        tasks: Sequence[str],
        losses: Mapping[str, Tensor],
        conflict: Conflict,
        last: Last | None,
    ) -> None:
        """Add the row of a step.

        Args:
            step: 1-based.
            tasks: all of the model's.
            losses: {task: scalar} of those that took part.
            conflict: of the same.
            last: what the balancer did in this step; None where the step was skipped.
        """
        self.tasks, self.groups = list(tasks), list(conflict.groups)
        T, at = len(self.tasks), [self.tasks.index(name) for name in conflict.tasks]
        weights = None if last is None else last.weights
        self.step.append(step)
        self._rows.append(
            {
                "losses": _spread(torch.stack([losses[name].detach() for name in conflict.tasks]), at, T),
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

    def state_dict(self) -> dict[str, Any]:
        """Everything measured, as plain containers and tensors."""
        return {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else list(value)
            for name, value in self.arrays().items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self.step, self.tasks, self.groups = (
            state["step"].tolist(),
            list(state["tasks"]),
            list(state["groups"]),
        )
        columns = {
            name: value.numpy() for name, value in state.items() if name not in ("step", "tasks", "groups")
        }
        self._rows = [{name: column[n] for name, column in columns.items()} for n in range(len(self.step))]


def _stack(values: list[Tensor], at: list[int], T: int) -> np.ndarray:
    return np.stack([_spread(value, at, T) for value in values]) if values else np.empty((0, T, T))


def _spread(values: Tensor, at: list[int], T: int) -> np.ndarray:
    """Values [t] or [t, t] of some tasks, placed among all T with NaN elsewhere."""
    whole = np.full((T,) * values.dim(), np.nan)
    whole[np.ix_(*[at] * values.dim())] = values.double().cpu().numpy()
    return whole
