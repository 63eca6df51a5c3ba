"""What the tasks' gradients do during training: losses, weights, norms and cosines at logged steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from mtl.conflict import measure_conflict
from mtl.model import MultiTaskModel


@dataclass(eq=False)
class Dynamics:
    """Rows of one logged step each; a task without a label in that batch has NaN there.

    Attributes (as arrays from `arrays`):
        step [n]; losses, weights, norms [n, T]; cosines [n, T, T]; group_cosines [n, G, T, T].
    """

    tasks: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    _rows: list[dict[str, np.ndarray]] = field(default_factory=list)

    def before(self, step: int, losses: Mapping[str, Tensor], model: MultiTaskModel) -> None:
        """Measure the gradients while the graph is there, before the balancer's backward."""
        conflict = measure_conflict(losses, model)
        self.tasks = [task.name for task in model.tasks]
        self.groups = list(conflict.groups)
        place = [self.tasks.index(name) for name in losses]
        self._rows.append(
            {
                "step": np.asarray(step),
                "losses": _spread([float(loss) for loss in losses.values()], place, len(self.tasks)),
                "norms": _spread(conflict.norms, place, len(self.tasks)),
                "cosines": _spread_square(conflict.cosines, place, len(self.tasks)),
                "group_cosines": np.stack(
                    [
                        _spread_square(group.cosines, place, len(self.tasks))
                        for group in conflict.groups.values()
                    ]
                ),
            }
        )
