"""Δm: the mean relative gain over a base, by both conventions, with the variance of both sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import NamedTuple

import numpy as np

from reports.statistics.estimates import Estimate, mean_interval, welch

MOST_APART = 3.0  # how many times its smallest value (over seeds) a base's largest may be


class DeltaM(NamedTuple):
    """Δm by both conventions, as fractions; positive is better."""

    over_tasks: float
    over_metrics: float


@dataclass(frozen=True)
class Gain:
    """A relative gain seed by seed.

    Attributes:
        ours: {seed: gain over the base}; of pairs over the base of the same seed, else over the mean of the base.
        base: {seed: what the base's own deviation adds}; empty for pairs, which hold it already.
    """

    ours: dict[int, float]
    base: dict[int, float]


def delta_m(
    values: Sequence[float],
    base: Sequence[float],
    higher_is_better: Sequence[bool],
    tasks: Sequence[str] | None = None,
) -> DeltaM:
    """Δm of one row of a plain table against its base row, e.g. of a published table.

    Each metric's gain is ``(value - base) / |base|``, its sign changed where lower is better. ``over_tasks`` averages
    the metrics of each task, then the tasks (Maninis et al. 2019; LibMTL prints it as Δp); ``over_metrics`` averages
    all metrics alike. Papers that print "Δm%, lower is better" (Navon et al. 2022 and others) print
    ``-100 * over_metrics``.

    Args:
        values, base: one number a metric, in the same order and units.
        higher_is_better: for each metric.
        tasks: the task of each metric; each metric is its own task where None.

    Raises:
        ValueError: the lengths differ, there is no metric, or a base is 0 or not finite.

    >>> found = delta_m([0.44, 0.16], [0.40, 0.20], [True, False])
    >>> round(found.over_tasks, 3), round(found.over_metrics, 3)
    (0.15, 0.15)
    >>> delta_m([0.5, 0.5, 0.4], [0.4, 0.4, 0.5], [True] * 3, ["a", "a", "b"])
    DeltaM(over_tasks=0.025, over_metrics=0.1)
    """
    of_task = [str(i) for i in range(len(values))] if tasks is None else list(tasks)
    lengths = {"base": len(base), "higher_is_better": len(higher_is_better), "tasks": len(of_task)}
    wrong = [f"{name} has {length}" for name, length in lengths.items() if length != len(values)]
    if wrong or not len(values):
        told = f": {', '.join(wrong)}" if wrong else ""
        raise ValueError(f"delta_m needs one entry a metric, {len(values)} as in values{told}")
    gains = np.array([relative_gain(*three) for three in zip(values, base, higher_is_better, strict=True)])
    if not np.isfinite(gains).all():
        place = int(np.flatnonzero(~np.isfinite(gains))[0])
        raise ValueError(
            f"metric {place} (of task {of_task[place]}) has no relative gain: value {values[place]}, base "
            f"{base[place]}; leave it out"
        )
    means = [gains[[name == task for name in of_task]].mean() for task in dict.fromkeys(of_task)]
    return DeltaM(float(np.mean(means)), float(gains.mean()))


def relative_gain(value: float, base: float, higher_is_better: bool) -> float:
    """How much better a value is than its base, as a fraction of |base|: positive is better.

    >>> relative_gain(0.9, 1.0, higher_is_better=False)
    0.1
    """
    if base == 0:
        return nan
    gain = (value - base) / abs(base)
    return gain if higher_is_better else -gain


def comparable(base: Iterable[float]) -> bool:
    """Whether a base is clear of 0, without which a gain relative to it means nothing: one sign, and no seed's value
    more than three times another's.

    >>> comparable([0.8, 0.82]), comparable([-0.1, 0.1]), comparable([0.001, 0.4, 0.2])
    (True, False, False)
    """
    values = np.array(list(base), dtype=float)
    if not len(values) or not np.isfinite(values).all() or not (values.min() > 0 or values.max() < 0):
        return False
    sizes = np.abs(values)
    return bool(sizes.max() <= MOST_APART * sizes.min())


def gain_of(
    ours: Mapping[int, float], base: Mapping[int, float], higher_is_better: bool, pairs: Sequence[int]
) -> Gain:
    """The gain of one metric, {seed: value} on both sides.

    Pairs: the gain of each. Two groups: the gain is a ratio of means, linearised at them (delta method), so a
    deviation e of the base counts as ``-(mean / base) * e / |base|``, and not as ``-e / |base|``: the base's noise
    weighs more on a variant that is much better.
    """
    if pairs:
        return Gain({seed: relative_gain(ours[seed], base[seed], higher_is_better) for seed in pairs}, {})
    level, mean = float(np.mean(list(base.values()))), float(np.mean(list(ours.values())))
    return Gain(
        {seed: relative_gain(value, level, higher_is_better) for seed, value in ours.items()},
        {seed: relative_gain(value, level, higher_is_better) * mean / level for seed, value in base.items()},
    )


def mean_gain(gains: Sequence[Gain]) -> Gain:
    """The mean over several gains, seed by seed; seeds that one of them lacks fall out of the mean.

    >>> mean_gain([Gain({0: 0.1, 1: 0.2}, {}), Gain({0: 0.3}, {})])
    Gain(ours={0: 0.2}, base={})
    """

    def mean(sides: list[dict[int, float]]) -> dict[int, float]:
        seeds = sorted(set.intersection(*(set(side) for side in sides))) if sides else []
        return {seed: float(np.mean([side[seed] for side in sides])) for seed in seeds}

    return Gain(mean([gain.ours for gain in gains]), mean([gain.base for gain in gains]))


def estimated(gain: Gain) -> Estimate:
    """Its mean and interval: of pairs a t-interval, of two groups Welch's.

    >>> estimated(Gain({0: 0.1, 1: 0.2}, {})).paired
    True
    """
    if gain.base:
        return welch(list(gain.ours.values()), list(gain.base.values()))
    found = mean_interval(list(gain.ours.values()), paired=True)
    return found if all(map(isfinite, found.points)) else Estimate(nan, n=found.n, paired=True)
