"""Metrics over the pixels of a data set that torchmetrics lacks, or sums in float32.

States are counts, or sums in float64, so that batches and processes change nothing but the last digits.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchmetrics
from torch import Tensor

Compare = Callable[[Tensor, Tensor], Tensor]


class PixelMean(torchmetrics.Metric):
    """The mean over all pixels of a function (predictions [M, ...], labels [M, ...]) -> [M].

    >>> metric = PixelMean(lambda p, y: (p - y).abs())
    >>> metric.update(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 5.0]))
    >>> metric.compute()
    tensor(1.5000, dtype=torch.float64)
    """

    total: Tensor
    count: Tensor

    def __init__(self, compare: Compare) -> None:
        super().__init__()
        self.compare = compare
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        values = self.compare(predictions.double(), labels.double())
        self.total += values.sum()
        self.count += values.numel()

    def compute(self) -> Tensor:
        return self.total / self.count


class PixelMedian(torchmetrics.Metric):
    """The median over all pixels of such a function with values in 0..``top``, by a histogram of 2^20 equal bins.

    Of an even number of values it is the mean of the two in the middle. The error is at most half a bin, top / 2^21,
    and the memory is the same for any number of pixels: 8 MiB.

    >>> metric = PixelMedian(lambda p, y: (p - y).abs(), 10.0)
    >>> metric.update(torch.tensor([1.0, 2.0, 9.0]), torch.zeros(3))
    >>> round(float(metric.compute()), 4)
    2.0
    """

    BINS = 2**20
    bins: Tensor

    def __init__(self, compare: Compare, top: float) -> None:
        super().__init__()
        self.compare, self.top = compare, top
        self.add_state("bins", torch.zeros(self.BINS, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        values = self.compare(predictions.double(), labels.double())
        places = (values * (self.BINS / self.top)).long().clamp(max=self.BINS - 1)
        self.bins += torch.bincount(places, minlength=self.BINS)

    def compute(self) -> Tensor:
        ends = self.bins.cumsum(dim=0)
        last = int(ends[-1])
        ranks = torch.tensor(
            [(last + 1) // 2, last // 2 + 1], device=ends.device
        )  # the one or two in the middle
        return (torch.searchsorted(ends, ranks).double().mean() + 0.5) * (self.top / self.BINS)


class OdsF(torchmetrics.Metric):
    """F1 at the best of the thresholds 0.01, ..., 0.99, one for the whole data set; zero without a positive pixel.

    "Optimal data set scale" of Martin et al. 2004, but pixel by pixel: no tolerance in place.

    >>> metric = OdsF()
    >>> metric.update(torch.tensor([0.3, 0.2, 0.1]), torch.tensor([1, 1, 0]))
    >>> float(metric.compute())
    1.0
    """

    positives: Tensor
    negatives: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.thresholds = torch.arange(1, 100) / 100
        for name in ("positives", "negatives"):  # how many pixels reach so many of the thresholds
            self.add_state(name, torch.zeros(100, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        reached = torch.bucketize(predictions.float(), self.thresholds.to(predictions.device), right=True)
        self.positives += torch.bincount(reached[labels == 1], minlength=100)
        self.negatives += torch.bincount(reached[labels == 0], minlength=100)

    def compute(self) -> Tensor:
        hits, false = (count.flip(0).cumsum(0).flip(0)[1:] for count in (self.positives, self.negatives))
        f = 2 * hits.double() / (hits + false + self.positives.sum()).clamp(min=1)
        return f.max()


def angles(predictions: Tensor, labels: Tensor) -> Tensor:
    """The angle between vectors [M, 3] in degrees, [M]; exact for small angles too, where arccos is not.

    >>> angles(torch.tensor([[0.0, 0.0, 3.0]]), torch.tensor([[0.0, 1.0, 1.0]]))
    tensor([45.])
    """
    sine = torch.linalg.cross(predictions, labels).norm(dim=1)
    return torch.rad2deg(torch.atan2(sine, (predictions * labels).sum(dim=1)))
