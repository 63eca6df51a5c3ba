"""Statistics that hold for a handful of seeds: intervals, tests, relative gains, Pareto fronts."""

from reports.statistics.estimates import (
    Estimate,
    clustered_mean,
    common_seeds,
    correlation,
    difference,
    mean_interval,
    welch,
)
from reports.statistics.fronts import hypervolume, pareto_front, share_of_box
from reports.statistics.gains import DeltaM, delta_m, relative_gain
from reports.statistics.testing import SIGNIFICANT, effect_words, exact_p, holm

__all__ = [
    "SIGNIFICANT",
    "DeltaM",
    "Estimate",
    "clustered_mean",
    "common_seeds",
    "correlation",
    "delta_m",
    "difference",
    "effect_words",
    "exact_p",
    "holm",
    "hypervolume",
    "mean_interval",
    "pareto_front",
    "relative_gain",
    "share_of_box",
    "welch",
]
