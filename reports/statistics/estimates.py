"""Means and differences with t-intervals that hold for a handful of seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import comb, isfinite, nan, sqrt

import numpy as np
from scipy import optimize, special, stats

LEVEL = 0.95
POWER = 0.8


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference of means, with its t-interval.

    Attributes:
        mean: NaN without values.
        low, high: the 95% interval; NaN where n = 1, which allows none.
        n: values (seeds); of two groups those of the smaller.
        p: two-sided p of "the true value is 0", NaN where there is no interval.
        detectable: the smallest true difference from 0 that this many seeds would find in 4 of 5 cases, by a test
            at 5% and with the spread seen here.
        paired: for a difference, whether it was taken seed by seed.
        points: the values of a mean or of a paired difference, one a seed; empty for other estimates.
        effect: the standardised size: of a mean or a paired difference the mean over the standard deviation (Cohen's
            d_z), of two groups Hedges' g; NaN where nothing varies or there is no interval.
    """

    mean: float
    low: float = nan
    high: float = nan
    n: int = 0
    p: float = nan
    detectable: float = nan
    paired: bool = False
    points: tuple[float, ...] = ()
    effect: float = nan

    @property
    def has_interval(self) -> bool:
        return isfinite(self.low)

    @property
    def sign(self) -> int:
        """1 above 0, -1 below 0, 0 where the interval holds 0 or is missing.

        For one look at one number; where several are shown together, `holm` their ``p`` first.
        """
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
    n, points = len(array), tuple(array.tolist())
    if n == 0 or not np.isfinite(array).all():
        return Estimate(nan, n=n, paired=paired, points=points)
    mean = float(array.mean())
    if n == 1:
        return Estimate(mean, n=1, paired=paired, points=points)
    spread = _spread(array)
    found = _with_error(mean, spread / sqrt(n), n - 1, n, paired, 2.0**n)
    return replace(found, points=points, effect=mean / spread if spread else nan)


def clustered_mean(clusters: Sequence[Sequence[float]]) -> Estimate:
    """The mean over clusters of the mean within each, with the interval of the clusters' means.

    A thousand inputs of one model are one cluster, not a thousand values: its inputs share what is particular to it.

    >>> clustered_mean([[1.0, 3.0], [4.0]]).points
    (2.0, 4.0)
    """
    return mean_interval([float(np.mean(cluster)) if len(cluster) else nan for cluster in clusters])


def common_seeds(ours: Sequence[int], theirs: Sequence[int]) -> list[int]:
    """The seeds by which two variants are compared pair by pair; none where they are compared as two groups.

    Pairs are taken where at least half of the seeds of each are common. A single pair counts where it is all there is.

    >>> common_seeds([0, 1, 2], [0, 1, 2, 3]), common_seeds([0, 1, 2], [2, 3, 4])
    ([0, 1, 2], [])
    """
    common = sorted(set(ours) & set(theirs))
    most = max(len(ours), len(theirs))
    return common if 2 * len(common) >= most and len(common) >= min(2, most) else []


def difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Estimate:
    """Ours minus theirs, {seed: value} each: seed by seed over `common_seeds`, else Welch's interval.

    >>> difference({0: 2.0, 1: 4.0}, {0: 1.0, 1: 2.0}).mean
    1.5
    >>> difference({0: 2.0, 1: 4.0}, {5: 1.0, 6: 2.0}).paired
    False
    """
    common = common_seeds(list(ours), list(theirs))
    if common:
        return mean_interval([ours[seed] - theirs[seed] for seed in common], paired=True)
    return welch(list(ours.values()), list(theirs.values()))


def welch(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """The difference of two independent means with Welch's interval, and Hedges' g as its effect.

    Source: Welch 1947 for unequal variances and the degrees of freedom; Hedges 1981 for g, whose exact correction of
    the small sample is used.

    >>> round(welch([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]).effect, 3)
    -2.394
    """
    a, b = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    n = min(len(a), len(b))
    if n == 0 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return Estimate(nan, n=n)
    mean = float(a.mean() - b.mean())
    if n == 1:
        return Estimate(mean, n=n)
    u, v = _spread(a) ** 2 / len(a), _spread(b) ** 2 / len(b)
    error = sqrt(u + v)
    whole = len(a) + len(b) - 2
    freedom = (u + v) ** 2 / (u**2 / (len(a) - 1) + v**2 / (len(b) - 1)) if error else whole
    pooled = sqrt(((len(a) - 1) * len(a) * u + (len(b) - 1) * len(b) * v) / whole)
    effect = _small_sample(whole) * mean / pooled if pooled else nan
    found = _with_error(mean, error, float(freedom), n, False, comb(len(a) + len(b), n))
    return replace(found, effect=effect)


def correlation(x: Sequence[float], y: Sequence[float]) -> Estimate:
    """Pearson's correlation with Fisher's interval, e.g. of map agreement and gradient conflict over models.

    The pairs must be independent: one a model, not one an image. Below four pairs there is no interval; where x or y
    does not vary there is no correlation. ``p`` is of Student's test, ``detectable`` stays NaN.

    Raises:
        ValueError: x and y differ in length.

    Source: Fisher 1921.

    >>> found = correlation([1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 2.0, 4.0, 3.0])
    >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3)
    (0.832, -0.189, 0.989)
    >>> correlation([1.0, 2.0, 3.0], [1.0, 2.0, 2.0]).has_interval
    False
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"x and y must have the same length, got {len(a)} and {len(b)}")
    n = len(a)
    if n < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()) or a.std() == 0 or b.std() == 0:
        return Estimate(nan, n=n)
    r = float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))
    if n < 4:
        return Estimate(r, n=n)
    if abs(r) > 1 - 1e-12:
        return Estimate(r, r, r, n, 0.0)
    half = float(special.ndtri(0.5 + LEVEL / 2)) / sqrt(n - 3)
    low, high = (float(np.tanh(np.arctanh(r) + side * half)) for side in (-1, 1))
    t = r * sqrt((n - 2) / (1 - r * r))
    return Estimate(r, low, high, n, float(2 * special.stdtr(n - 2, -abs(t))))


def _spread(values: np.ndarray) -> float:
    """The standard deviation; 0 where values differ by rounding alone."""
    spread = float(values.std(ddof=1))
    return spread if spread > 1e-12 * float(np.abs(values).max()) else 0.0


def _with_error(mean: float, error: float, freedom: float, n: int, paired: bool, ways: float) -> Estimate:
    """The t-interval. Where nothing varies (scores in steps of an example do that) a t-test would be certain of any
    difference; then p is the smallest that exact permutations in so many ways could give.
    """
    quantile = float(special.stdtrit(freedom, 0.5 + LEVEL / 2))
    unvaried = 1.0 if mean == 0 else min(1.0, 2 / ways)
    p = float(2 * special.stdtr(freedom, -abs(mean) / error)) if error else unvaried
    half = quantile * error
    return Estimate(mean, mean - half, mean + half, n, p, _found_mostly(round(freedom, 1)) * error, paired)


@lru_cache(maxsize=1024)
def _found_mostly(freedom: float) -> float:
    """How many standard errors from 0 a true value must lie to be found in 4 of 5 cases (noncentral t)."""
    quantile = float(special.stdtrit(freedom, 0.5 + LEVEL / 2))

    def missed(far: float) -> float:
        return float(stats.nct.cdf(quantile, freedom, far)) - (1 - POWER)

    return float(optimize.brentq(missed, 1.0, 10 * quantile))


@lru_cache
def _small_sample(freedom: int) -> float:
    """Hedges' exact correction of a standardised difference.

    >>> round(_small_sample(4), 4)
    0.7979
    """
    return float(np.exp(special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2))) / sqrt(
        freedom / 2
    )
