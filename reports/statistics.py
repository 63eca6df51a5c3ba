"""Intervals and comparisons that hold for a handful of seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan, sqrt

import numpy as np
from scipy import stats

LEVEL = 0.95
POWER = 0.8


@dataclass(frozen=True)
class Estimate:
    """A mean with its t-interval.

    Attributes:
        mean: NaN without values.
        low, high: the 95% interval; NaN where n = 1, which allows none.
        n: values (seeds).
        p: two-sided p of "the true value is 0", NaN where there is no interval.
        detectable: the smallest true difference from 0 that this many seeds would find with 80% power.
        paired: for a difference, whether it was taken seed by seed.
    """

    mean: float
    low: float = nan
    high: float = nan
    n: int = 0
    p: float = nan
    detectable: float = nan
    paired: bool = False

    @property
    def has_interval(self) -> bool:
        return isfinite(self.low)

    @property
    def sign(self) -> int:
        """1 above 0, -1 below 0, 0 where the interval holds 0 or is missing."""
        if not self.has_interval:
            return 0
        return int(self.low > 0) - int(self.high < 0)


def mean_interval(values: Sequence[float], *, paired: bool = False) -> Estimate:
    """Mean and t-interval over seeds; values that are not finite make the mean NaN, they are never dropped.

    >>> estimate = mean_interval([1.0, 2.0, 3.0])
    >>> round(estimate.low, 3), round(estimate.high, 3)
    (-0.484, 4.484)
    """
    array = np.asarray(values, dtype=float)
    n = len(array)
    if n == 0 or not np.isfinite(array).all():
        return Estimate(nan, n=n, paired=paired)
    mean = float(array.mean())
    if n == 1:
        return Estimate(mean, n=1, paired=paired)
    return _with_error(mean, float(array.std(ddof=1)) / sqrt(n), n - 1, n, paired)


def difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Estimate:
    """Ours minus theirs, {seed: value} each: seed by seed where the seeds agree, else Welch's interval.

    Source: Welch 1947 for unequal variances and the degrees of freedom.

    >>> difference({0: 2.0, 1: 4.0}, {0: 1.0, 1: 2.0}).mean
    1.5
    >>> difference({0: 2.0, 1: 4.0}, {5: 1.0, 6: 2.0}).paired
    False
    """
    if set(ours) == set(theirs):
        return mean_interval([ours[seed] - theirs[seed] for seed in sorted(ours)], paired=True)
    return welch(list(ours.values()), list(theirs.values()))


def welch(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """The difference of two independent means with Welch's interval."""
    a, b = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    n = min(len(a), len(b))
    if n == 0 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return Estimate(nan, n=n)
    mean = float(a.mean() - b.mean())
    if n == 1:
        return Estimate(mean, n=n)
    u, v = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    error = sqrt(u + v)
    freedom = (u + v) ** 2 / (u**2 / (len(a) - 1) + v**2 / (len(b) - 1)) if error else len(a) + len(b) - 2
    return _with_error(mean, error, float(freedom), n, False)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, for all comparisons that are shown together; NaN stays NaN and does not count.

    Source: Holm 1979.

    >>> [round(p, 3) for p in holm([0.01, 0.04, float("nan"), 0.03])]
    [0.03, 0.06, nan, 0.06]
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if isfinite(p))
    adjusted, largest = [nan] * len(p_values), 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = largest
    return adjusted


def relative_gain(value: float, base: float, higher_is_better: bool) -> float:
    """How much better a value is than its base, as a fraction of |base|: positive is better.

    >>> relative_gain(0.9, 1.0, higher_is_better=False)
    0.1
    """
    if base == 0:
        return nan
    gain = (value - base) / abs(base)
    return gain if higher_is_better else -gain


def _with_error(mean: float, error: float, freedom: float, n: int, paired: bool) -> Estimate:
    quantile = float(stats.t.ppf(0.5 + LEVEL / 2, freedom))
    p = float(2 * stats.t.sf(abs(mean) / error, freedom)) if error else float(mean == 0)
    power = float(stats.t.ppf(POWER, freedom))
    half = quantile * error
    return Estimate(mean, mean - half, mean + half, n, p, (quantile + power) * error, paired)
