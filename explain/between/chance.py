"""What would have come out by chance: p-values that never fall below what the number of draws allows."""

from __future__ import annotations

from itertools import permutations as all_orders
from math import factorial

import numpy as np

ROUNDING = 1e-12  # equal values count as equal, whatever the order of summation


def p_value(observed: float, draws: np.ndarray, centre: float) -> float:
    """The share of the draws that lie as far from the centre as the observed value: two-sided.

    The observed value must be one of the draws (a permutation test counts its own arrangement), so that the smallest
    possible value is one in the number of draws. Source: Phipson and Smyth 2010, section 3.

    >>> p_value(3.0, np.array([3.0, 1.0, 2.0, 0.0]), centre=1.5)
    0.5
    """
    if np.isnan(observed):
        return float("nan")
    distance = abs(observed - centre)
    return float(np.mean(np.abs(draws - centre) >= distance - ROUNDING * max(1.0, distance)))


def orders(n: int, draws: int, seed: int) -> np.ndarray:
    """Orders of n things [<= draws + 1, n], the first of which is 0, 1, ...: all of them where there are no more.

    >>> orders(2, 99, seed=0).tolist()
    [[0, 1], [1, 0]]
    """
    if n < 20 and factorial(n) <= draws + 1:
        return np.array(list(all_orders(range(n))))
    generator = np.random.default_rng((seed, n))
    drawn = [generator.permutation(n) for _ in range(draws)]
    return np.stack([np.arange(n), *drawn])


def holm(p: np.ndarray) -> np.ndarray:
    """p-values corrected for their number; NaN is no test. Source: Holm 1979.

    >>> holm(np.array([0.01, 0.04, 0.03, np.nan])).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    corrected = np.full(len(p), np.nan)
    tests = np.flatnonzero(~np.isnan(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    factors = len(order) - np.arange(len(order))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return corrected
