"""How alike maps are: rank correlation of absolute values, and the overlap of their top pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from reports.statistics import Estimate, mean_interval

TOP = 0.1  # the share of pixels that count as a map's top


@dataclass(frozen=True)
class Ranked:
    """Maps of one model, method and task, ready to be compared: ranks [N, P] of mean 0 and length 1, and tops [N, P].

    A map without any differing values (or with NaN) has NaN ranks: it is like nothing, and is left out of means.
    """

    ranks: np.ndarray
    tops: np.ndarray


@dataclass(frozen=True)
class Alike:
    """How alike two sets of maps are, means over inputs: of the same input, and of different ones as the control."""

    rank: float
    rank_other: float
    overlap: float
    overlap_other: float


def ranked(maps: np.ndarray) -> Ranked:
    """Ranks and top pixels of |maps| [N, ...].

    >>> found = ranked(np.array([[[0.0, -3.0], [1.0, 2.0]]]))
    >>> found.ranks.round(2).tolist(), found.tops.astype(int).tolist()
    ([[-0.67, 0.67, -0.22, 0.22]], [[0, 1, 0, 0]])
    """
    size = np.abs(maps.reshape(len(maps), -1).astype(float))
    known = np.isfinite(size).all(axis=1) & (size.max(axis=1) > size.min(axis=1))
    ranks = np.full(size.shape, np.nan, dtype=np.float32)
    tops = np.zeros(size.shape, dtype=bool)
    if known.any():
        found = stats.rankdata(size[known], axis=1)
        found -= found.mean(axis=1, keepdims=True)
        ranks[known] = found / np.linalg.norm(found, axis=1, keepdims=True)
        count = max(1, round(TOP * size.shape[1]))
        first = np.argsort(-size[known], axis=1, kind="stable")[:, :count]
        chosen = np.zeros(found.shape, dtype=bool)
        np.put_along_axis(chosen, first, True, axis=1)
        tops[known] = chosen
    return Ranked(ranks, tops)


def alike(ours: Ranked, theirs: Ranked) -> Alike:
    """Input by input, and each input against the next one as the control.

    >>> one = ranked(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    >>> alike(one, one)
    Alike(rank=1.0, rank_other=-1.0, overlap=1.0, overlap_other=0.0)
    """
    same = _each(ours, theirs)
    n = len(ours.ranks)
    after = np.roll(np.arange(n), -1)
    other = _each(ours, Ranked(theirs.ranks[after], theirs.tops[after])) if n > 1 else (np.array([]),) * 2
    return Alike(*(_mean(values) for pair in zip(same, other, strict=True) for values in pair))


def over_pairs(values: Mapping[tuple[int, int], float]) -> Estimate:
    """The mean over all pairs of seeds, with the jackknife's interval over seeds: the pairs share their seeds.

    Args:
        values: {(seed, seed): value}, of every two seeds. Two seeds are one pair and give no interval.

    Source: Arvesen 1969, the jackknife of U-statistics; with S seeds its t has S - 1 degrees of freedom.

    >>> found = over_pairs({(0, 1): 0.1, (0, 2): 0.2, (1, 2): 0.3})
    >>> round(found.mean, 3), found.n, round(found.low, 3)
    (0.2, 3, -0.297)
    >>> over_pairs({(0, 1): 0.5}).has_interval
    False
    """
    seeds = sorted({seed for pair in values for seed in pair})
    S, mean = len(seeds), float(np.mean(list(values.values()))) if values else float("nan")
    if S < 3 or not np.isfinite(mean):
        return Estimate(mean, n=S)
    without = [np.mean([v for pair, v in values.items() if seed not in pair]) for seed in seeds]
    found = mean_interval([float(S * mean - (S - 1) * left) for left in without])
    return Estimate(mean, found.low, found.high, S)


def chance_overlap() -> float:
    """The overlap of two random tops: K of P pixels each meet in K²/P.

    >>> round(chance_overlap(), 3)
    0.053
    """
    return TOP / (2 - TOP)


def _each(ours: Ranked, theirs: Ranked) -> tuple[np.ndarray, np.ndarray]:
    rank = (ours.ranks * theirs.ranks).sum(axis=1)
    both = (ours.tops & theirs.tops).sum(axis=1)
    either = (ours.tops | theirs.tops).sum(axis=1)
    return rank, np.where(np.isfinite(rank), both / np.maximum(either, 1), np.nan)


def _mean(values: Sequence[float] | np.ndarray) -> float:
    known = np.asarray(values)[np.isfinite(values)]
    return float(np.mean(known)) if len(known) else float("nan")
