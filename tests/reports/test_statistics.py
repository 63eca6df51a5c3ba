"""Intervals and tests against values by hand and against scipy."""

from math import isnan, nan, sqrt

import numpy as np
import pytest
from scipy import stats

from reports.statistics import difference, holm, mean_interval, relative_gain, welch


def test_t_interval_by_hand() -> None:
    """n = 3: mean 2, sd 1, t(.975, 2) = 4.3027."""
    estimate = mean_interval([1.0, 2.0, 3.0])
    assert estimate.mean == 2
    assert estimate.high - 2 == pytest.approx(4.30265 / sqrt(3), rel=1e-5)
    assert estimate.p == pytest.approx(stats.ttest_1samp([1, 2, 3], 0).pvalue)
    assert estimate.sign == 0


def test_the_interval_covers_at_three_seeds() -> None:
    """A percentile bootstrap over 3 values covers about .73; this one must hold its level."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        estimate = mean_interval(list(rng.normal(1.0, 0.3, 3)))
        hits += estimate.low <= 1.0 <= estimate.high
    assert 0.935 < hits / 2000 < 0.965


def test_one_seed_has_no_interval_and_no_sign() -> None:
    estimate = mean_interval([5.0])
    assert not estimate.has_interval
    assert estimate.sign == 0
    assert isnan(estimate.p)


def test_values_that_are_not_finite_are_not_dropped() -> None:
    assert isnan(mean_interval([1.0, nan]).mean)
    assert isnan(welch([1.0, 2.0], [nan, 1.0]).mean)


def test_equal_values_have_an_interval_of_no_width() -> None:
    estimate = mean_interval([0.0, 0.0, 0.0])
    assert (estimate.low, estimate.high, estimate.p) == (0, 0, 1)


def test_differences_are_paired_by_seed_where_the_seeds_agree() -> None:
    """Seeds differ by 10, variants by 1: pairing sees the 1."""
    ours, theirs = {0: 1.0, 1: 11.1, 2: 20.9}, {2: 20.0, 1: 10.0, 0: 0.0}
    paired = difference(ours, theirs)
    assert paired.paired
    assert paired.sign == 1
    unpaired = difference(ours, {5: 0.0, 6: 10.0, 7: 20.0})
    assert not unpaired.paired
    assert unpaired.sign == 0


def test_welch_is_scipys() -> None:
    a, b = [1.0, 2.0, 4.0, 4.5], [0.0, 0.5, 3.0]
    found, expected = welch(a, b), stats.ttest_ind(a, b, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_holm_by_hand() -> None:
    """Sorted .01, .03, .04: times 3, 2, 1, and never falling."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_the_detectable_difference_is_found_in_four_of_five_cases() -> None:
    rng = np.random.default_rng(1)
    error = 0.3 / sqrt(5)
    t = stats.t
    detectable = (t.ppf(0.975, 4) + t.ppf(0.8, 4)) * error
    found = np.mean([mean_interval(list(rng.normal(detectable, 0.3, 5))).sign == 1 for _ in range(2000)])
    assert 0.74 < found < 0.9


@pytest.mark.parametrize(("value", "base", "higher", "gain"), [
    (0.9, 0.8, True, 0.125), (0.9, 0.8, False, -0.125), (-1.0, -2.0, True, 0.5), (-1.0, -2.0, False, -0.5),
])  # fmt: skip
def test_relative_gain_is_positive_where_it_is_better(
    value: float, base: float, higher: bool, gain: float
) -> None:
    assert relative_gain(value, base, higher) == pytest.approx(gain)


def test_no_gain_relative_to_zero() -> None:
    assert isnan(relative_gain(1.0, 0.0, True))
