"""Metrics of a task, each with its unit and direction, and their running computation over a split.

torchmetrics computes the numbers; this file says which ones belong to which task and leaves missing labels out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torchmetrics
from torch import Tensor

if TYPE_CHECKING:
    from mtl.tasks import Task


@dataclass(frozen=True)
class Metric:
    """One number that a task is judged by.

    Args:
        name: the field's name for it, e.g. ``"accuracy"``.
        unit: ``"fraction"`` for values in 0..1, else the unit in words.
        higher_is_better: its direction.
        make: builds the torchmetrics object that computes it.
    """

    name: str
    unit: str
    higher_is_better: bool
    make: Callable[[], torchmetrics.Metric]


class R2(torchmetrics.R2Score):
    """The coefficient of determination; NaN for fewer than two values, where it is not defined.

    >>> metric = R2()
    >>> metric.update(torch.tensor([1.0]), torch.tensor([1.0]))
    >>> metric.compute()
    tensor(nan)
    """

    def compute(self) -> Tensor:
        return super().compute() if self.total >= 2 else torch.tensor(float("nan"))


class Scores:
    """Loss and metrics of every task over one pass through a split: sums and counts, never means of batch means.

    >>> import mtl
    >>> task = mtl.Regression("height", unit="cm")
    >>> scores = Scores([task])
    >>> scores.update({"height": torch.tensor([[1.0], [2.0]])}, {"height": torch.tensor([1.0, float("nan")])})
    >>> scores.compute()["height"]["mae"]
    0.0
    """

    def __init__(self, tasks: tuple[Task, ...] | list[Task], device: torch.device | str = "cpu") -> None:
        self.tasks = tuple(tasks)
        self._metrics = {t.name: {m.name: m.make().to(device) for m in t.metrics} for t in self.tasks}
        self._loss = {t.name: torch.zeros((), dtype=torch.float64) for t in self.tasks}
        self._count = {t.name: 0 for t in self.tasks}

    @torch.no_grad()
    def update(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> None:
        """Add a batch: ``outputs`` {task: [B, ...]}, ``targets`` {task: [B, ...]}; missing labels do not count."""
        for task in self.tasks:
            if task.name not in targets:
                continue
            output, target = outputs[task.name], targets[task.name]
            total, count = task.loss_sum(output, target)
            if count == 0:
                continue
            self._loss[task.name] += total.double().cpu()
            self._count[task.name] += count
            predictions, labels = task.present(output, target)
            for metric in self._metrics[task.name].values():
                metric.update(predictions, labels)

    def compute(self) -> dict[str, dict[str, float]]:
        """{task: {metric: value}} with ``"loss"`` last; a task without a single label is left out."""
        values: dict[str, dict[str, float]] = {}
        for task in self.tasks:
            count = self._count[task.name]
            if count == 0:
                continue
            values[task.name] = {
                name: float(metric.compute()) for name, metric in self._metrics[task.name].items()
            }
            values[task.name]["loss"] = float(self._loss[task.name]) / count
        return values
