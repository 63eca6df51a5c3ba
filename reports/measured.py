"""What the runs measured of gradients and weights, as tidy tables."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from reports.reading import Run
from reports.statistics import Estimate

MOST_STEPS = 200  # of a run in a curve; of more, evenly spaced ones are drawn
MOST_POINTS = 4000  # of all runs in a curve


def task_pairs(run: Run) -> list[tuple[int, int, str, str]]:
    """(index, index, task, task) of every two tasks whose gradients a run compared; empty where it compared none."""
    d = run.dynamics
    if "cosines" not in d or len(d["step"]) == 0:
        return []
    names = [str(name) for name in d["tasks"]]
    return [(a, b, names[a], names[b]) for a, b in combinations(range(len(names)), 2)]


def cosine_curves(runs: Sequence[Run]) -> pd.DataFrame:
    """variant, seed, a, b, step, value: the cosine of every two tasks' gradients at every logged step that has one."""
    frames = []
    for run in runs:
        if not (pairs := task_pairs(run)):
            continue
        i, j, a, b = zip(*pairs, strict=True)
        steps, values = run.dynamics["step"], run.dynamics["cosines"][:, i, j].T  # [pairs, n]
        told = {
            "a": np.repeat(a, len(steps)),
            "b": np.repeat(b, len(steps)),
            "step": np.tile(steps, len(pairs)),
            "value": values.reshape(-1),
        }
        frame = pd.DataFrame(told)[np.isfinite(told["value"])]
        frames.append(frame.assign(variant=run.variant, seed=run.seed))
    columns = ["variant", "seed", "a", "b", "step", "value"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def group_cosines(run: Run) -> np.ndarray:
    """[n, G]: the mean cosine over all pairs of tasks in each layer group at each step; NaN where there is none."""
    pairs = task_pairs(run)
    if not pairs or "group_cosines" not in run.dynamics:
        return np.empty((0, 0))
    a, b = np.array([(i, j) for i, j, *_ in pairs]).T
    return mean_known(run.dynamics["group_cosines"][:, :, a, b], axis=-1)


def mean_known(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean over an axis of the values that are finite; NaN where none is.

    >>> mean_known(np.array([[1.0, np.nan], [np.nan, np.nan]]), axis=1)
    array([ 1., nan])
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean of nothing is NaN, as it should
        return np.asarray(np.nanmean(np.where(np.isfinite(values), values, np.nan), axis=axis))


def thinned(curves: pd.DataFrame) -> pd.DataFrame:
    """The rows of a curve's runs (variant, seed, step, ...) that are drawn: evenly spaced ones, with both ends.

    At most `MOST_STEPS` of each run and about `MOST_POINTS` in all, so that a hundred runs are drawn in a second.

    >>> long = pd.DataFrame({"variant": "a", "seed": 0, "step": range(1000)})
    >>> len(thinned(long)), thinned(long)["step"].iloc[-1], len(thinned(long[:3]))
    (200, np.int64(999), 3)
    """
    runs = [run for _, run in curves.groupby(["variant", "seed"], sort=False)]
    most = max(20, min(MOST_STEPS, MOST_POINTS // max(1, len(runs))))
    return pd.concat([run.iloc[spaced(len(run), most)] for run in runs])


def spaced(count: int, most: int) -> np.ndarray:
    """At most ``most`` of the places 0..count-1, evenly spaced, with both ends."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def within(estimate: Estimate, low: float, high: float) -> Estimate:
    """An estimate whose interval ends where its quantity does.

    >>> within(Estimate(0.1, -0.2, 0.4, 3), 0.0, 1.0).low
    0.0
    """
    if not estimate.has_interval:
        return estimate
    return replace(estimate, low=max(estimate.low, low), high=min(estimate.high, high))
