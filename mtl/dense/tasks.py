"""Dense tasks: a label for each pixel, some of them missing.

Losses and metrics are over the pixels that have a label, of the whole data set. A head gives [B, C, H, W] at the
resolution of the labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
import torchmetrics
from torch import Tensor

from mtl.dense.metrics import OdsF, PixelMean, PixelMedian, angles
from mtl.metrics import Metric
from mtl.names import check_name
from mtl.tasks import MISSING, Task, count_of, count_or_names, names_of


def is_dense(task: Task) -> bool:
    """Whether the task has a label for each pixel; a task of your own says so by ``dense = True``.

    >>> is_dense(Depth("depth"))
    True
    """
    return bool(getattr(task, "dense", False))


@dataclass(frozen=True)
class Segmentation:
    """A class for each pixel: cross entropy on logits [B, C, H, W], int targets [B, H, W].

    Args:
        name: the task's name, unique in a model.
        classes: the number of classes, or their names.
        ignore_index: the target of a pixel without a label (-1; 255 is also common).
        auxiliary: trained, and left out of the selection, of Δm and of ranks.

    Metrics: mIoU (primary), the mean over classes of intersection over union, each over all pixels of the data set,
    without classes that neither labels nor predictions have; and pixel accuracy. Fractions, higher is better.

    >>> task = Segmentation("kind", classes=2)
    >>> task.loss_sum(torch.zeros(1, 2, 1, 3), torch.tensor([[[0, 1, -1]]]))   # 2 ln 2 over two pixels
    (tensor(1.3863), 2)
    """

    name: str
    classes: int | tuple[str, ...]
    ignore_index: int = MISSING
    auxiliary: bool = False
    kind = "segmentation"
    loss_unit = "nats"
    dense = True

    def __post_init__(self) -> None:
        check_name("Segmentation", self.name)
        object.__setattr__(self, "classes", count_or_names("Segmentation.classes", self.classes, least=2))
        if 0 <= self.ignore_index < self.output_size:
            raise ValueError(
                f"Segmentation.ignore_index must be no class of 0..{self.output_size - 1}, got {self.ignore_index}"
            )

    @property
    def output_size(self) -> int:
        return count_of(self.classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        return names_of(self.classes)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        options = {"task": "multiclass", "num_classes": self.output_size, "validate_args": False}
        return (
            Metric("miou", "fraction", True, partial(torchmetrics.JaccardIndex, average="macro", **options)),
            Metric(
                "pixel_accuracy", "fraction", True, partial(torchmetrics.Accuracy, average="micro", **options)
            ),
        )

    def check(self, target: Tensor, rows: int) -> None:
        """Raise unless ``target`` is int [rows, H, W] of classes 0..C-1 and ``ignore_index``."""
        _check_classes(self.name, target, rows, self.output_size, self.ignore_index)

    def loss_sum(self, output: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Sum of the cross entropies over the pixels that have a label, and their count."""
        self.check(target, len(output))
        _check_output(self.name, output, self.output_size, target)
        total = F.cross_entropy(output, target.long(), ignore_index=self.ignore_index, reduction="sum")
        return total, int((target != self.ignore_index).sum())

    def present(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The pixels that have a label: predicted classes [M], classes [M]."""
        there = target != self.ignore_index
        return output.argmax(dim=1)[there], target[there].long()


@dataclass(frozen=True)
class Depth:
    """The distance of each pixel, or another positive value: outputs [B, 1, H, W], float targets [B, H, W] (NaN: none).

    Args:
        name: the task's name, unique in a model.
        unit: of the targets.
        loss: ``"mae"``, the mean absolute error, or ``"mse"``.
        auxiliary: trained, and left out of the selection, of Δm and of ranks.

    Metrics: absolute error (primary) in ``unit``, and relative error |prediction - label| / label, a fraction; means
    over all pixels with a label, lower is better.

    >>> task = Depth("depth")
    >>> task.loss_sum(torch.ones(1, 1, 1, 2), torch.tensor([[[4.0, float("nan")]]]))
    (tensor(3.), 1)
    """

    name: str
    unit: str = "m"
    loss: Literal["mae", "mse"] = "mae"
    auxiliary: bool = False
    kind = "depth"
    class_names = ()
    output_size = 1
    dense = True

    def __post_init__(self) -> None:
        check_name("Depth", self.name)
        if self.loss not in ("mae", "mse"):
            raise ValueError(f"Depth.loss must be 'mae' or 'mse', got {self.loss!r}")

    @property
    def loss_unit(self) -> str:
        return f"({self.unit})²" if self.loss == "mse" else self.unit

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (
            Metric("abs_error", self.unit, False, partial(PixelMean, lambda p, y: (p - y).abs())),
            Metric("rel_error", "fraction", False, partial(PixelMean, lambda p, y: (p - y).abs() / y)),
        )

    def check(self, target: Tensor, rows: int) -> None:
        """Raise unless ``target`` is float [rows, H, W] of positive finite values and NaN."""
        _check_float(self.name, target, (rows, "H", "W"))
        if bool(((target <= 0) | target.isinf()).any()):
            raise ValueError(f"task '{self.name}': depths must be > 0 and finite (NaN where missing)")

    def loss_sum(self, output: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Sum of the errors over the pixels that have a label, and their count."""
        predictions, labels = self.present(output, target)
        compare = F.l1_loss if self.loss == "mae" else F.mse_loss
        return compare(predictions, labels, reduction="sum"), labels.numel()

    def present(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The pixels that have a label: predictions [M], labels [M]."""
        self.check(target, len(output))
        _check_output(self.name, output, 1, target)
        there = ~target.isnan()
        return output[:, 0][there], target[there].to(output.dtype)


@dataclass(frozen=True)
class Normals:
    """The direction that each pixel's surface faces: outputs and targets [B, 3, H, W], unit vectors (NaN: none).

    The loss is one minus the cosine of the angle between output and target; an output's length does not matter.

    Args:
        name: the task's name, unique in a model.
        auxiliary: trained, and left out of the selection, of Δm and of ranks.

    Metrics: the mean (primary) and the median of that angle in degrees, lower is better, and the fractions of pixels
    within 11.25, 22.5 and 30 degrees, higher is better (Eigen and Fergus 2015). The median is read from a histogram of
    2^20 bins and is within 0.0001 degrees.

    >>> task = Normals("normals")
    >>> output = torch.tensor([0.0, 2.0, 0.0]).reshape(1, 3, 1, 1)
    >>> task.loss_sum(output, torch.tensor([0.0, 0.0, 1.0]).reshape(1, 3, 1, 1))
    (tensor(1.), 1)
    """

    name: str
    auxiliary: bool = False
    kind = "normals"
    class_names = ()
    output_size = 3
    loss_unit = "1 - cosine"
    dense = True

    def __post_init__(self) -> None:
        check_name("Normals", self.name)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        def within(limit: float) -> Metric:
            inside = partial(PixelMean, lambda p, y: (angles(p, y) <= limit).double())
            return Metric(f"within_{limit:g}", "fraction", True, inside)

        return (
            Metric("mean_angle", "degrees", False, partial(PixelMean, angles)),
            Metric("median_angle", "degrees", False, partial(PixelMedian, angles, 180.0)),
            *(within(limit) for limit in (11.25, 22.5, 30.0)),
        )

    def check(self, target: Tensor, rows: int) -> None:
        """Raise unless ``target`` is float [rows, 3, H, W] of unit vectors, or NaN in all three."""
        _check_float(self.name, target, (rows, 3, "H", "W"))
        lengths = target.square().sum(dim=1)
        if bool(((lengths - 1).abs() > 0.02).any()):
            raise ValueError(f"task '{self.name}': normals must have length one (NaN where missing)")

    def loss_sum(self, output: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Sum of 1 - cos over the pixels that have a label, and their count."""
        predictions, labels = self.present(output, target)
        return (1 - F.cosine_similarity(predictions, labels, dim=1)).sum(), len(labels)

    def present(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The pixels that have a label: predictions [M, 3], labels [M, 3]."""
        self.check(target, len(output))
        _check_output(self.name, output, 3, target)
        there = ~target.isnan().any(dim=1)
        return output.movedim(1, -1)[there], target.movedim(1, -1)[there].to(output.dtype)


@dataclass(frozen=True)
class Boundary:
    """Whether each pixel lies on a boundary: binary cross entropy on logits [B, 1, H, W], int targets [B, H, W].

    Targets are 0, 1, or -1 where missing.

    Args:
        name: the task's name, unique in a model.
        positive_weight: the factor of boundary pixels in the loss, for they are few.
        auxiliary: trained, and left out of the selection, of Δm and of ranks.

    Metrics: F1 of the boundary pixels at probability 0.5 (primary), and ``ods_f``, F1 at the best of the thresholds
    0.01, 0.02, ..., 0.99 for the whole data set; pixel by pixel, without the tolerance in place of the usual benchmark
    of contours. Fractions, higher is better.

    >>> task = Boundary("edges")
    >>> task.loss_sum(torch.zeros(1, 1, 1, 3), torch.tensor([[[0, 1, -1]]]))   # 2 ln 2 over two pixels
    (tensor(1.3863), 2)
    """

    name: str
    positive_weight: float = 1.0
    auxiliary: bool = False
    kind = "boundary"
    class_names = ()
    output_size = 1
    loss_unit = "nats"
    dense = True

    def __post_init__(self) -> None:
        check_name("Boundary", self.name)
        if not 0 < self.positive_weight < float("inf"):
            raise ValueError(f"Boundary.positive_weight must be > 0 and finite, got {self.positive_weight}")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (
            Metric(
                "f1",
                "fraction",
                True,
                partial(torchmetrics.classification.BinaryF1Score, validate_args=False),
            ),
            Metric("ods_f", "fraction", True, OdsF),
        )

    def check(self, target: Tensor, rows: int) -> None:
        """Raise unless ``target`` is int [rows, H, W] of 0, 1 and -1."""
        _check_classes(self.name, target, rows, 2, MISSING)

    def loss_sum(self, output: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Sum of the (weighted) binary cross entropies over the pixels that have a label, and their count."""
        self.check(target, len(output))
        _check_output(self.name, output, 1, target)
        there = target != MISSING
        weight = output.new_tensor(self.positive_weight)
        total = F.binary_cross_entropy_with_logits(
            output[:, 0][there], target[there].to(output.dtype), pos_weight=weight, reduction="sum"
        )
        return total, int(there.sum())

    def present(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The pixels that have a label: probabilities [M], labels [M]."""
        there = target != MISSING
        return output[:, 0][there].float().sigmoid(), target[there].long()


def _check_output(name: str, output: Tensor, channels: int, target: Tensor) -> None:
    height, width = target.shape[-2:]
    if tuple(output.shape) != (len(target), channels, height, width):
        raise ValueError(
            f"task '{name}': the head must give [B, {channels}, {height}, {width}], the resolution of the labels, got "
            f"{list(output.shape)}"
        )


def _check_classes(name: str, target: Tensor, rows: int, classes: int, ignore: int) -> None:
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise TypeError(f"task '{name}': classes of pixels must be integers, got {target.dtype}")
    if target.dim() != 3 or len(target) != rows:
        raise ValueError(f"task '{name}': targets must be [{rows}, H, W], got {list(target.shape)}")
    wrong = ((target < 0) | (target >= classes)) & (target != ignore)
    if bool(wrong.any()):
        row, y, x = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"task '{name}': classes of pixels must be in 0..{classes - 1} (or {ignore} where missing), got "
            f"{int(target[row, y, x])}, first in row {row} at pixel ({y}, {x})"
        )


def _check_float(name: str, target: Tensor, shape: tuple[int | str, ...]) -> None:
    if not target.is_floating_point():
        raise TypeError(f"task '{name}': targets must be float (NaN where missing), got {target.dtype}")
    known = [(got, want) for got, want in zip(target.shape, shape, strict=False) if isinstance(want, int)]
    if target.dim() != len(shape) or any(got != want for got, want in known):
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"task '{name}': targets must be [{wanted}], got {list(target.shape)}")
