"""Tests of several comparisons together: Holm's adjustment, exact permutations, and words for the size of an effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb, isfinite, nan

import numpy as np

from reports.statistics.estimates import common_seeds

SIGNIFICANT = 0.05
MOST_ARRANGEMENTS = 2**14  # as many as are tried one by one


def holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """Holm's adjusted p-values, for all comparisons that are shown together; NaN stays NaN and does not count.

    Calling significant what is at most 0.05 after the adjustment makes one false claim or more in at most 5% of all
    families, whatever depends on what.

    Args:
        p_values: of the family.
        weights: how the 5% are shared before any is known to be free, positive; equal where None.

    Source: Holm 1979, section 4 for weights.

    >>> [round(p, 3) for p in holm([0.01, 0.04, float("nan"), 0.03])]
    [0.03, 0.06, nan, 0.06]
    >>> [round(p, 3) for p in holm([0.01, 0.04], weights=[3, 1])]
    [0.013, 0.04]
    """
    shares = [1.0] * len(p_values) if weights is None else list(weights)
    known = sorted((p / shares[i], i) for i, p in enumerate(p_values) if isfinite(p))
    adjusted, largest = [nan] * len(p_values), 0.0
    left = sum(shares[i] for _, i in known)
    for scaled, i in known:
        largest = max(largest, min(1.0, scaled * left))
        adjusted[i] = largest
        left -= shares[i]
    return adjusted


def exact_p(ours: Mapping[int, float], theirs: Mapping[int, float]) -> tuple[float, float]:
    """The exact two-sided permutation p of a difference of means, and the smallest that these seeds could give.

    Pairs (over `common_seeds`) change their signs, 2ⁿ ways; two groups change their members. It assumes no shape of
    the distribution and pays with resolution: with three pairs no result can give less than 2/2³ = 0.25. Two-sided
    means twice the smaller side. NaN beyond `MOST_ARRANGEMENTS`, where the t-test is trusted.

    Source: Fisher 1935; equal to `scipy.stats.permutation_test` with all permutations.

    >>> exact_p({0: 1.0, 1: 2.0, 2: 3.0}, {0: 0.0, 1: 0.0, 2: 0.0})
    (0.25, 0.25)
    >>> exact_p({0: 1.0, 1: 2.0, 2: 3.0}, {3: 4.0, 4: 5.0, 5: 6.0})
    (0.1, 0.1)
    """
    common = common_seeds(list(ours), list(theirs))
    if common:
        values = np.array([ours[seed] - theirs[seed] for seed in common])
        ways = 2 ** len(values)
        if ways > MOST_ARRANGEMENTS or not np.isfinite(values).all():
            return nan, nan
        bits = np.arange(ways)[:, None] >> np.arange(len(values)) & 1  # [2^n, n]
        found, seen = ((1 - 2 * bits) * values).mean(axis=1), float(values.mean())
    else:
        a, b = np.array(list(ours.values())), np.array(list(theirs.values()))
        ways = comb(len(a) + len(b), len(a))
        if not len(a) or not len(b) or ways > MOST_ARRANGEMENTS or not np.isfinite([*a, *b]).all():
            return nan, nan
        both = np.concatenate([a, b])
        chosen = np.array(list(combinations(range(len(both)), len(a))))  # [ways, n]
        sums = both[chosen].sum(axis=1)
        found, seen = sums / len(a) - (both.sum() - sums) / len(b), float(a.mean() - b.mean())
    slack = 1e-14 * max(1.0, abs(seen)) if seen else 1e-14  # equal sums in another order are equal
    sides = [np.mean(found >= seen - slack), np.mean(found <= seen + slack)]
    return min(1.0, 2 * float(min(sides))), min(1.0, 2 / ways)


def effect_words(effect: float) -> str:
    """The name of an effect's size: negligible, small, medium, large, very_large, or undefined.

    Source: Cohen 1988 for 0.2, 0.5 and 0.8; Sawilowsky 2009 for 1.2. They are habits, not laws.

    >>> effect_words(0.6), effect_words(-3.0), effect_words(float("nan"))
    ('medium', 'very_large', 'undefined')
    """
    if not isfinite(effect):
        return "undefined"
    size = abs(effect)
    bounds = {"negligible": 0.2, "small": 0.5, "medium": 0.8, "large": 1.2}
    return next((name for name, bound in bounds.items() if size < bound), "very_large")
