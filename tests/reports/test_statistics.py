"""Intervals, tests, effects and gains against values by hand and against scipy, statsmodels and scikit-posthocs."""

from itertools import product
from math import isnan, nan, sqrt

import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
from scipy import stats
from statsmodels.stats.multitest import multipletests

from reports.statistics import (
    clustered_mean,
    common_seeds,
    correlation,
    difference,
    effect_words,
    exact_p,
    holm,
    mean_interval,
    relative_gain,
    welch,
)
from reports.statistics.gains import comparable, estimated, gain_of


def groups(seed: int, sizes: tuple[int, ...], spread: float = 1.0) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0.3 * i, spread, size).tolist() for i, size in enumerate(sizes)]


def test_t_interval_by_hand() -> None:
    """n = 3: mean 2, sd 1, t(.975, 2) = 4.3027; d_z = 2."""
    estimate = mean_interval([1.0, 2.0, 3.0])
    assert estimate.mean == 2
    assert estimate.high - 2 == pytest.approx(4.30265 / sqrt(3), rel=1e-5)
    assert estimate.p == pytest.approx(stats.ttest_1samp([1, 2, 3], 0).pvalue)
    assert estimate.effect == 2
    assert estimate.sign == 0


def test_one_seed_has_no_interval_and_no_sign() -> None:
    for estimate in (mean_interval([5.0]), difference({0: 1.0}, {0: 2.0}), welch([1.0], [2.0, 3.0])):
        assert not estimate.has_interval
        assert estimate.sign == 0
        assert isnan(estimate.p)
        assert isnan(estimate.effect)
        assert isnan(estimate.detectable)


def test_values_that_are_not_finite_are_not_dropped() -> None:
    assert isnan(mean_interval([1.0, nan]).mean)
    assert isnan(welch([1.0, 2.0], [nan, 1.0]).mean)
    assert isnan(clustered_mean([[1.0], []]).mean)
    assert isnan(exact_p({0: 1.0, 1: nan}, {0: 1.0, 1: 2.0})[0])


def test_equal_values_have_an_interval_of_no_width() -> None:
    estimate = mean_interval([0.0, 0.0, 0.0])
    assert (estimate.low, estimate.high, estimate.p) == (0, 0, 1)


@pytest.mark.parametrize("gap", [0.01, 1e-9, 100.0])
def test_a_difference_without_spread_is_not_certain(gap: float) -> None:
    """Accuracies move in steps of an example, so three seeds may well gain alike; a t-test would say p = 0."""
    base = {0: 0.81, 1: 0.82, 2: 0.83}
    assert difference({s: v + gap for s, v in base.items()}, base).p == 0.25
    assert welch([gap] * 3, [0.0] * 3).p == pytest.approx(2 / 20)


def test_differences_are_paired_by_seed_where_the_seeds_agree() -> None:
    """Seeds differ by 10, variants by 1: pairing sees the 1."""
    ours, theirs = {0: 1.0, 1: 11.1, 2: 20.9}, {2: 20.0, 1: 10.0, 0: 0.0}
    paired = difference(ours, theirs)
    assert paired.paired
    assert paired.sign == 1
    unpaired = difference(ours, {5: 0.0, 6: 10.0, 7: 20.0})
    assert not unpaired.paired
    assert unpaired.sign == 0


@pytest.mark.parametrize(("ours", "theirs", "pairs"), [
    ([0, 1, 2], [2, 1, 0], [0, 1, 2]),
    ([0, 1, 2, 3], [0, 1, 2], [0, 1, 2]),  # one run failed
    ([0, 1, 2], [0, 1, 5, 6, 7], []),  # fewer than half
    ([0], [0], [0]),
    ([0], [0, 1], []),  # one pair of two seeds would be no comparison of two
    ([], [0], []),
])  # fmt: skip
def test_which_seeds_make_pairs(ours: list[int], theirs: list[int], pairs: list[int]) -> None:
    assert common_seeds(ours, theirs) == pairs


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_a_paired_difference_is_scipys(n: int) -> None:
    a, b = groups(n, (n, n))
    found, expected = difference(dict(enumerate(a)), dict(enumerate(b))), stats.ttest_rel(a, b)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


@pytest.mark.parametrize("sizes", [(2, 2), (3, 3), (4, 3), (10, 5)])
def test_welch_is_scipys(sizes: tuple[int, int]) -> None:
    a, b = groups(7, sizes)
    found, expected = welch(a, b), stats.ttest_ind(a, b, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_hedges_g_by_hand() -> None:
    """Means 2 and 5, pooled sd 1, correction for 4 degrees of freedom 0.7979 (1 - 3 / 15 is its approximation)."""
    assert welch([4.0, 5.0, 6.0], [1.0, 2.0, 3.0]).effect == pytest.approx(3 * 0.797885, rel=1e-5)


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_the_exact_p_is_scipys(n: int) -> None:
    a, b = groups(n, (n, n + (n < 8)))
    if len(a) == len(b):
        b = b[:n]
    paired = exact_p(dict(enumerate(a)), dict(enumerate(b[:n])))

    def mean_difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return x.mean(axis=axis) - y.mean(axis=axis)

    more = {"vectorized": True, "n_resamples": 10**6}
    expected = stats.permutation_test((a, b[:n]), mean_difference, permutation_type="samples", **more)
    assert paired == (pytest.approx(expected.pvalue), min(1, 2 / 2**n))
    found = exact_p(dict(enumerate(a)), dict(enumerate(b, 100)))
    expected = stats.permutation_test((a, b), mean_difference, permutation_type="independent", **more)
    assert found[0] == pytest.approx(expected.pvalue)


def test_no_exact_p_goes_below_what_it_says_is_least() -> None:
    """The clearest possible difference reaches the least, and none is below."""
    for n in range(2, 9):
        clear = exact_p({s: 5.0 + s for s in range(n)}, dict.fromkeys(range(n), 0.0))
        assert clear[0] == clear[1] == 2 / 2**n
    apart = exact_p({s: 5.0 + s for s in range(3)}, {s: 0.0 + s for s in range(10, 13)})
    assert apart[0] < 1
    assert apart[1] == 2 / 20


def test_too_many_arrangements_are_not_tried() -> None:
    many = {s: float(s) for s in range(30)}
    assert isnan(exact_p(many, dict.fromkeys(many, 0.0))[0])


def test_holm_by_hand() -> None:
    """Sorted .01, .03, .04: times 3, 2, 1, and never falling."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("count", [1, 4, 30])
def test_holm_is_statsmodels(count: int) -> None:
    p_values = np.random.default_rng(count).uniform(0, 0.2, count)
    assert holm(list(p_values)) == pytest.approx(list(multipletests(p_values, method="holm")[1]))
    assert holm(list(p_values), [7.0] * count) == pytest.approx(holm(list(p_values)))


def test_weighted_holm_by_hand() -> None:
    """p / w: .02 / 1, .01 / 2 -> first .005 * 3 = .015, then .02 * 1 = .02."""
    assert holm([0.02, 0.01], [1.0, 2.0]) == pytest.approx([0.02, 0.015])


def test_weighted_holm_is_the_closed_test() -> None:
    """Its definition: rejected where every intersection that holds it is, by a weighted Bonferroni test."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        p, w = rng.uniform(0, 0.1, 4), rng.uniform(0.5, 3, 4)
        sets = [s for s in product((False, True), repeat=4) if any(s)]
        level = {s: min(p[i] * w[list(s)].sum() / w[i] for i in range(4) if s[i]) for s in sets}
        expected = [min(1, max(level[s] for s in sets if s[i])) for i in range(4)]
        assert holm(list(p), list(w)) == pytest.approx(expected)


def test_all_pairs_are_scikit_posthocs() -> None:
    """Welch's tests of every pair of five methods, adjusted by Holm over all ten."""
    values = groups(3, (4, 5, 4, 6, 4))
    pairs = [(i, j) for i in range(5) for j in range(i)]
    found = holm([welch(values[i], values[j]).p for i, j in pairs])
    frame = pd.DataFrame(
        [(v, i) for i, group in enumerate(values) for v in group], columns=["value", "group"]
    )
    expected = scikit_posthocs.posthoc_ttest(
        frame, val_col="value", group_col="group", equal_var=False, p_adjust="holm"
    )
    assert found == pytest.approx([expected.iloc[i, j] for i, j in pairs])


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_detectable_difference_is_found_in_four_of_five_cases(n: int) -> None:
    """With the true spread known, the noncentral t gives 80% exactly."""
    rng = np.random.default_rng(n)
    spread = 0.3
    sample = np.array([-1.0, 0, 1] if n == 3 else np.linspace(-1, 1, n))
    at = mean_interval(list(spread * sample / sample.std(ddof=1))).detectable
    found = np.mean([mean_interval(list(rng.normal(at, spread, n))).sign == 1 for _ in range(4000)])
    assert 0.78 < found < 0.82


def test_correlation_is_scipys() -> None:
    x, y = groups(1, (9, 9))
    found, expected = correlation(x, y), stats.pearsonr(x, y)
    assert found.mean == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_no_correlation_is_claimed_where_there_is_none() -> None:
    assert isnan(correlation([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0]).mean)
    few = correlation([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    assert few.n == 3
    assert not few.has_interval
    with pytest.raises(ValueError, match="same length, got 2 and 1"):
        correlation([1.0, 2.0], [1.0])


@pytest.mark.parametrize(("value", "base", "higher", "gain"), [
    (0.9, 0.8, True, 0.125), (0.9, 0.8, False, -0.125), (-1.0, -2.0, True, 0.5), (-1.0, -2.0, False, -0.5),
])  # fmt: skip
def test_relative_gain_is_positive_where_it_is_better(
    value: float, base: float, higher: bool, gain: float
) -> None:
    assert relative_gain(value, base, higher) == pytest.approx(gain)


def test_no_gain_relative_to_zero() -> None:
    assert isnan(relative_gain(1.0, 0.0, True))
    assert not comparable([0.0])
    assert not comparable([nan])
    assert not comparable([])


@pytest.mark.parametrize("higher", [True, False])
def test_the_gain_of_two_groups_has_the_error_of_the_delta_method(higher: bool) -> None:
    """Var(X/B) = Var(X) / B² + X² Var(B) / B⁴ at the means; errors that halve, where both terms differ."""
    ours, base = [0.10, 0.11, 0.12, 0.09], [0.20, 0.24, 0.22, 0.18]
    found = estimated(gain_of(dict(enumerate(ours)), dict(enumerate(base, 50)), higher, []))
    mean, level = np.mean(ours), np.mean(base)
    u = np.var(ours, ddof=1) / 4 / level**2
    v = mean**2 * np.var(base, ddof=1) / 4 / level**4
    freedom = (u + v) ** 2 / (u**2 / 3 + v**2 / 3)
    half = stats.t.ppf(0.975, freedom) * sqrt(u + v)
    assert found.mean == pytest.approx((mean / level - 1) * (1 if higher else -1))
    assert found.high - found.low == pytest.approx(2 * half)


def test_a_base_below_zero_keeps_its_direction() -> None:
    """Log-likelihoods: -1 is better than -2 by half, paired or not."""
    ours, base = {0: -1.0, 1: -1.1}, {0: -2.0, 1: -2.2}
    assert estimated(gain_of(ours, base, True, [0, 1])).mean == pytest.approx(0.5)
    apart = {s + 9: v for s, v in base.items()}
    assert estimated(gain_of(ours, apart, True, [])).mean == pytest.approx(0.5)


def test_words_of_effects() -> None:
    assert [effect_words(x) for x in (0.1, -0.3, 0.6, -1.0, 1.3)] == [
        "negligible", "small", "medium", "large", "very_large",
    ]  # fmt: skip
