"""Metrics of a task, each with its unit and direction, and their running computation over a split.

torchmetrics computes the numbers; this file says which ones belong to which task and leaves missing labels out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
import torchmetrics
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities import dim_zero_cat

from mtl.distributed.ranks import ranks

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
        ratio: whether its zero is none of it, as of errors and accuracies, so that relative differences (Δm) mean
            something; of R2 they do not, whose zero is the error of the mean.
    """

    name: str
    unit: str
    higher_is_better: bool
    make: Callable[[], torchmetrics.Metric]
    ratio: bool = True


class R2(torchmetrics.R2Score):
    """The coefficient of determination; NaN for fewer than two values, where it is not defined.

    >>> metric = R2()
    >>> metric.update(torch.tensor([1.0]), torch.tensor([1.0]))
    >>> metric.compute()
    tensor(nan)
    """

    def compute(self) -> Tensor:
        return super().compute() if self.total >= 2 else torch.tensor(float("nan"))


class RocAuc(torchmetrics.classification.BinaryAUROC):
    """The area under the ROC curve of two classes, from logits [N, 2]; NaN where only one class is there.

    >>> metric = RocAuc()
    >>> metric.update(torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]]), torch.tensor([0, 1, 0]))
    >>> metric.compute()
    tensor(0.5000)
    """

    def __init__(self) -> None:
        super().__init__(validate_args=False)

    def update(self, logits: Tensor, classes: Tensor) -> None:
        # the order is all that counts, and a sigmoid would make confident predictions equal
        super().update((F.softsign((logits[:, 1] - logits[:, 0]).float()) + 1) / 2, classes)

    def update_with_nothing(self) -> None:
        """Give the states their types in a process that has seen no label."""
        self.update(
            torch.zeros(0, 2, device=self.device), torch.zeros(0, dtype=torch.long, device=self.device)
        )

    def compute(self) -> Tensor:
        classes = dim_zero_cat(self.target)
        return torch.tensor(float("nan")) if len(classes.unique()) < 2 else super().compute()


class LabelsRocAuc(torchmetrics.Metric):
    """The mean of `RocAuc` over labels, from probabilities [N, L] and labels [N, L] (-1: missing).

    Labels of which only one value is there do not count; NaN where none is left.

    >>> metric = LabelsRocAuc(2)
    >>> metric.update(torch.tensor([[0.1, 0.5], [0.2, 0.5]]), torch.tensor([[0, 1], [1, -1]]))
    >>> metric.compute()
    tensor(1.)
    """

    full_state_update = False
    predictions: list[Tensor]
    labels: list[Tensor]

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.width = labels
        self.add_state("predictions", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        self.predictions.append(probabilities)
        self.labels.append(labels)

    def update_with_nothing(self) -> None:
        """Give the states their shapes in a process that has seen no label."""
        nothing = torch.zeros(0, self.width, device=self.device)
        self.update(nothing, nothing.long())

    def compute(self) -> Tensor:
        predictions, labels = dim_zero_cat(self.predictions), dim_zero_cat(self.labels)
        areas = []
        for probability, label in zip(predictions.T, labels.T, strict=True):
            there = label >= 0
            if len(label[there].unique()) == 2:
                areas.append(binary_auroc(probability[there], label[there], validate_args=False))
        return torch.stack(areas).mean() if areas else torch.tensor(float("nan"))


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
        for metric in (m for metrics in self._metrics.values() for m in metrics.values()):
            metric.dist_sync_fn = _gathered
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
        """{task: {metric: value}} with ``"loss"`` last; a task without a single label is left out.

        Several processes add up what each has seen, and all get the same: every one of them must call this.
        """
        names, together = [task.name for task in self.tasks], ranks()
        losses = torch.stack([self._loss[name] for name in names])
        counts = torch.tensor([self._count[name] for name in names], dtype=torch.float64)
        if together is not None:
            losses, counts = together.sums(losses, counts)
        values: dict[str, dict[str, float]] = {}
        for name, loss, count in zip(names, losses.tolist(), counts.tolist(), strict=True):
            if count == 0:
                continue
            metrics = self._metrics[name].items()
            for metric in self._metrics[name].values():
                if (
                    together is not None
                    and isinstance(metric, RocAuc | LabelsRocAuc)
                    and not metric.update_called
                ):
                    metric.update_with_nothing()
            with warnings.catch_warnings():
                if together is not None:  # this process may have seen nothing of this task
                    warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
                values[name] = {label: float(metric.compute()) for label, metric in metrics}
            values[name]["loss"] = loss / count
        return values


def _gathered(state: Tensor, group: object = None) -> list[Tensor]:
    """A state of every process, in order; of one shape or of different ones along the first axis."""
    del group
    together = ranks()
    if together is None:
        return [state]
    if state.dim() == 0:
        return list(together.gather(state[None]))
    sizes = [int(n) for n in together.gather(torch.tensor([len(state)]))]
    padded = state.new_zeros(max(sizes), *state.shape[1:])
    padded[: len(state)] = state
    parts = together.gather(padded).split(max(sizes))
    return [part[:size] for part, size in zip(parts, sizes, strict=True)]
