"""Tasks: a name, the head's width, the loss, the metrics, and how a missing label looks.

A loss comes as a sum and a count over the labels that are there, so that any split of the data into batches,
micro-batches or processes gives the same mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
import torchmetrics
from torch import Tensor

from mtl.metrics import R2, LabelsRocAuc, Metric, RocAuc
from mtl.names import check_name, unknown

MISSING = -1  # the class index of a label that is not there; float targets use NaN


@runtime_checkable
class Task(Protocol):
    """What the rest of the toolkit asks of a task; see `Classification` for the shortest full example."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def output_size(self) -> int: ...
    @property
    def loss_unit(self) -> str: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def metrics(self) -> tuple[Metric, ...]: ...
    def loss_sum(self, output: Tensor, target: Tensor) -> tuple[Tensor, int]: ...
    def present(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]: ...
    def check(self, target: Tensor, rows: int) -> None: ...


@dataclass(frozen=True)
class Classification:
    """One class out of several: cross entropy on logits [B, C], int targets [B] in 0..C-1, -1 where missing.

    Args:
        name: the task's name, unique in a model.
        classes: the number of classes, or their names.
        label_smoothing: share of the target spread over all classes (Szegedy et al. 2016, section 7).
        primary: the metric that stands first and by which a checkpoint may be chosen; ``"roc_auc"`` suits two classes
            of which one is rare.
        auxiliary: trained, and left out of the selection, of Δm and of ranks.

    Metrics: accuracy and macro F1, and for two classes the area under the ROC curve; fractions, higher is better.

    >>> task = Classification("left", classes=10)
    >>> task.loss_sum(torch.zeros(3, 10), torch.tensor([0, 9, -1]))   # 2 ln 10 over the two labels that are there
    (tensor(4.6052), 2)
    """

    name: str
    classes: int | tuple[str, ...]
    label_smoothing: float = 0.0
    primary: str = "accuracy"
    auxiliary: bool = False
    kind = "classification"
    loss_unit = "nats"

    def __post_init__(self) -> None:
        check_name("Classification", self.name)
        object.__setattr__(self, "classes", count_or_names("Classification.classes", self.classes, least=2))
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"Classification.label_smoothing must be in [0, 1), got {self.label_smoothing}")
        known = [metric.name for metric in self.metrics]
        if self.primary not in known:
            raise unknown(f"metric of Classification with {self.output_size} classes", self.primary, known)

    @property
    def output_size(self) -> int:
        return count_of(self.classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        return names_of(self.classes)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        options = {"task": "multiclass", "num_classes": self.output_size, "validate_args": False}
        found = [
            Metric("accuracy", "fraction", True, partial(torchmetrics.Accuracy, average="micro", **options)),
            Metric("f1", "fraction", True, partial(torchmetrics.F1Score, average="macro", **options)),
        ]
        if self.output_size == 2:
            found.append(Metric("roc_auc", "fraction", True, RocAuc))
        return tuple(sorted(found, key=lambda metric: metric.name != self.primary))

    def check(self, target: Tensor, rows: int) -> None:
        """Raise unless ``target`` is int [rows] with values in -1..C-1."""
        if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
            raise TypeError(f"task '{self.name}': class targets must be integers, got {target.dtype}")
        if tuple(target.shape) != (rows,):
            raise ValueError(f"task '{self.name}': targets must be [{rows}], got {list(target.shape)}")
        lowest, highest = (int(v) for v in torch.aminmax(target)) if rows else (0, 0)
        if lowest < MISSING or highest >= self.output_size:
            raise ValueError(
                f"task '{self.name}': class targets must be in 0..{self.output_size - 1} (or {MISSING} where "
                f"missing), got values from {lowest} to {highest}"
            )

    def loss_sum(self, output: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Sum of the cross entropies over the labels that are there, and their count."""
        _check_output(self.name, output, self.output_size)
        self.check(target, output.shape[0])
        total = F.cross_entropy(
            output,
            target.long(),
            ignore_index=MISSING,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        return total, int((target != MISSING).sum())

    def present(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The rows whose label is there: logits [N, C], classes [N]."""
        there = target != MISSING
        return output[there], target[there].long()


@dataclass(frozen=True)
class MultiLabel:
    """Several yes/no labels an example: binary cross entropy on logits [B, L], targets 0, 1 or NaN (missing) [B, L].

    Args:
        name: the task's name, unique in a model.
        labels: the number of labels, or their names.
        auxiliary: trained, and left out of the selection, of Δm and of ranks.

    Metrics: macro F1 (primary; threshold 0.5), accuracy over labels, and the area under the ROC curve, a mean over
    labels; fractions, higher is better.

    >>> task = MultiLabel("attributes", labels=("smiling", "hat"))
    >>> task.loss_sum(torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [float("nan"), 1.0]]))   # 3 ln 2
    (tensor(2.0794), 3)
    """

    name: str
    labels: int | tuple[str, ...]
    auxiliary: bool = False
    kind = "multilabel"
    loss_unit = "nats"

    def __post_init__(self) -> None:
        check_name("MultiLabel", self.name)
        object.__setattr__(self, "labels", count_or_names("MultiLabel.labels", self.labels, least=1))

    @property
    def output_size(self) -> int:
        return count_of(self.labels)

    @property
    def class_names(self) -> tuple[str, ...]:
        return names_of(self.labels)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        options = {"num_labels": self.output_size, "ignore_index": MISSING, "validate_args": False}
        return (
            Metric("f1", "fraction", True, partial(torchmetrics.classification.MultilabelF1Score, **options)),
            Metric(
                "accuracy",
                "fraction",
                True,
                partial(torchmetrics.classification.MultilabelAccuracy, **options),
            ),
            Metric("roc_auc", "fraction", True, partial(LabelsRocAuc, self.output_size)),
        )

    def check(self, target: Tensor, rows: int) -> None:
        """Raise unless ``target`` is float [rows, L] of 0, 1 and NaN."""
        if not target.is_floating_point():
            raise TypeError(
                f"task '{self.name}': multi-label targets must be float (NaN where missing), got {target.dtype}"
            )
        if tuple(target.shape) != (rows, self.output_size):
            raise ValueError(
                f"task '{self.name}': targets must be [{rows}, {self.output_size}], got {list(target.shape)}"
            )
        if not bool(((target == 0) | (target == 1) | target.isnan()).all()):
            raise ValueError(f"task '{self.name}': multi-label targets must be 0, 1 or NaN (missing)")

    def loss_sum(self, output: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Sum of the binary cross entropies over the labels that are there, and their count."""
        _check_output(self.name, output, self.output_size)
        self.check(target, output.shape[0])
        there = ~target.isnan()
        total = F.binary_cross_entropy_with_logits(
            output[there], target[there].to(output.dtype), reduction="sum"
        )
        return total, int(there.sum())

    def present(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Rows with at least one label: probabilities [N, L], labels [N, L] int with -1 where missing."""
        rows = ~target.isnan().all(dim=1)
        labels = target[rows].nan_to_num(nan=float(MISSING)).long()
        return output[rows].float().sigmoid(), labels


@dataclass(frozen=True)
class Regression:
    """One or several real values: squared, absolute or Huber error on outputs [B, size], NaN where missing.

    Args:
        name: the task's name, unique in a model.
        size: how many values an example; targets are [B] or [B, 1] for one, [B, size] for several.
        unit: the target's unit, for the report.
        loss: ``"mse"``, ``"mae"`` or ``"huber"`` (delta 1), averaged over the values that are there.
        mean, deviation: of the training targets: the head then gives (y - mean) / deviation, and the loss is of that,
            so that tasks in different units weigh alike; targets and metrics stay in the target's unit.
        primary: the metric that stands first.
        auxiliary: trained, and left out of the selection, of Δm and of ranks.

    Metrics: rmse, mae, and for one value r2.

    >>> task = Regression("height", unit="cm")
    >>> task.loss_sum(torch.tensor([[1.0], [2.0]]), torch.tensor([4.0, float("nan")]))
    (tensor(9.), 1)
    """

    name: str
    size: int = 1
    unit: str = "units of the target"
    loss: Literal["mse", "mae", "huber"] = "mse"
    mean: float = 0.0
    deviation: float = 1.0
    primary: str = "rmse"
    auxiliary: bool = False
    kind = "regression"
    class_names = ()

    def __post_init__(self) -> None:
        check_name("Regression", self.name)
        if self.size < 1:
            raise ValueError(f"Regression.size must be >= 1, got {self.size}")
        if self.loss not in ("mse", "mae", "huber"):
            raise ValueError(f"Regression.loss must be 'mse', 'mae' or 'huber', got {self.loss!r}")
        if not (isfinite(self.mean) and 0 < self.deviation < float("inf")):
            raise ValueError(
                f"Regression needs a finite mean and a deviation > 0, got {self.mean} and {self.deviation}"
            )
        known = [metric.name for metric in self.metrics]
        if self.primary not in known:
            raise unknown(f"metric of Regression of {self.size} values", self.primary, known)

    @property
    def output_size(self) -> int:
        return self.size

    @property
    def loss_unit(self) -> str:
        unit = self.unit if self.deviation == 1 else "standard deviations"
        return f"({unit})²" if self.loss == "mse" else unit

    @property
    def metrics(self) -> tuple[Metric, ...]:
        always = (
            Metric("rmse", self.unit, False, partial(torchmetrics.MeanSquaredError, squared=False)),
            Metric("mae", self.unit, False, torchmetrics.MeanAbsoluteError),
        )
        found = always if self.size > 1 else (*always, Metric("r2", "fraction", True, R2, ratio=False))
        return tuple(sorted(found, key=lambda metric: metric.name != self.primary))

    def check(self, target: Tensor, rows: int) -> None:
        """Raise unless ``target`` is float [rows, size] (or [rows] for one value) without infinities."""
        if not target.is_floating_point():
            raise TypeError(f"task '{self.name}': regression targets must be float, got {target.dtype}")
        allowed = [(rows, self.size)] + ([(rows,)] if self.size == 1 else [])
        if tuple(target.shape) not in allowed:
            raise ValueError(
                f"task '{self.name}': targets must be [{rows}, {self.size}]"
                f"{f' or [{rows}]' if self.size == 1 else ''}, got {list(target.shape)}"
            )
        if bool(target.isinf().any()):
            raise ValueError(f"task '{self.name}': regression targets must be finite (NaN where missing)")

    def loss_sum(self, output: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Sum of the errors over the values that are there, and their count."""
        predictions, labels = self._present(output, target)
        labels = (labels - self.mean) / self.deviation
        if self.loss == "mse":
            return F.mse_loss(predictions, labels, reduction="sum"), labels.numel()
        if self.loss == "mae":
            return F.l1_loss(predictions, labels, reduction="sum"), labels.numel()
        return F.huber_loss(predictions, labels, reduction="sum"), labels.numel()

    def present(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The values whose label is there, flat, in the target's unit: predictions [N], labels [N]."""
        predictions, labels = self._present(output, target)
        return predictions * self.deviation + self.mean, labels

    def _present(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        _check_output(self.name, output, self.size)
        self.check(target, output.shape[0])
        target = target.reshape(output.shape)
        there = ~target.isnan()
        return output[there], target[there].to(output.dtype)


def scored(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """The tasks that are not auxiliary; a task of one's own that does not say counts.

    >>> [task.name for task in scored([Regression("y"), Regression("hint", auxiliary=True)])]
    ['y']
    """
    return tuple(task for task in tasks if not getattr(task, "auxiliary", False))


def _check_output(name: str, output: Tensor, size: int) -> None:
    if output.dim() != 2 or output.shape[1] != size:
        raise ValueError(f"task '{name}': the head must give [B, {size}], got {list(output.shape)}")


def count_of(value: int | tuple[str, ...]) -> int:
    """How many, of a count or names.

    >>> count_of(3), count_of(("no", "yes"))
    (3, 2)
    """
    return value if isinstance(value, int) else len(value)


def names_of(value: int | tuple[str, ...]) -> tuple[str, ...]:
    """The names, or the numbers from 0 where there is a count alone.

    >>> names_of(3), names_of(("no", "yes"))
    (('0', '1', '2'), ('no', 'yes'))
    """
    return tuple(map(str, range(value))) if isinstance(value, int) else value


def count_or_names(what: str, value: int | tuple[str, ...] | list[str], least: int) -> int | tuple[str, ...]:
    """An int as it is; names as a tuple of different strings."""
    if isinstance(value, bool) or not isinstance(value, int | tuple | list):
        raise TypeError(f"{what} must be a count or the names, got {type(value).__name__}")
    count = value if isinstance(value, int) else len(value)
    if count < least:
        raise ValueError(f"{what} must be at least {least}, got {count}")
    if isinstance(value, int):
        return value
    if len(set(value)) != count or not all(isinstance(v, str) for v in value):
        raise ValueError(f"{what} must be different strings, got {list(value)}")
    return tuple(value)


def mean_loss(task: Task, output: Tensor, target: Tensor) -> Tensor | None:
    """The mean loss over the labels that are there, [] with a graph; None where the batch has no label.

    >>> mean_loss(Regression("y"), torch.tensor([[3.0]]), torch.tensor([float('nan')])) is None
    True
    """
    total, count = task.loss_sum(output, target)
    return total / count if count else None
