"""Pareto fronts and the volume they dominate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST_OBJECTIVES = 6  # exact volumes grow with the power of the objectives


def pareto_front(points: Sequence[Sequence[float]] | np.ndarray) -> list[int]:
    """The points that no other beats: as good in every objective and better in one. More is better in each.

    Equal points are on the front together; a point with a value that is not finite is not.

    >>> pareto_front([[1.0, 3.0], [2.0, 2.0], [1.0, 2.0]])
    [0, 1]
    """
    if not len(points):
        return []
    array = np.asarray(points, dtype=float)
    known = np.flatnonzero(np.isfinite(array).all(axis=1))
    front = []
    for i in known:
        others = array[known]
        beaten = (others >= array[i]).all(axis=1) & (others > array[i]).any(axis=1)
        if not beaten.any():
            front.append(int(i))
    return front


def hypervolume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """The volume between a reference point and the points that are better in every objective. More is better in each.

    Points that do not beat the reference in some objective add nothing.

    Raises:
        ValueError: a point and the reference differ in length.

    Source: While, Bradstreet and Barone 2012 (WFG): the sum of what each point adds alone.

    >>> hypervolume([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]], [0.0, 0.0])
    6.0
    """
    corner = np.asarray(reference, dtype=float)
    if any(len(point) != len(corner) for point in points):
        raise ValueError(f"every point must have {len(corner)} objectives, as the reference has")
    sizes = np.asarray(points, dtype=float).reshape(-1, len(corner)) - corner
    return _volume(sizes[(sizes > 0).all(axis=1)])


def share_of_box(points: Sequence[Sequence[float]] | np.ndarray) -> tuple[float, list[float]]:
    """The share of the box between the worst and the best value of each objective that the points dominate, and the
    reference: the worst value of each. 1: one point is best in everything; 0: each is best in one and worst in another.

    NaN where it is not defined: fewer than two points, an objective that does not vary, more than `MOST_OBJECTIVES`.

    >>> share_of_box([[1.0, 3.0], [2.0, 2.5], [3.0, 1.0]])
    (0.375, [1.0, 1.0])
    """
    array = np.asarray(points, dtype=float)
    if array.ndim == 2:
        array = array[np.isfinite(array).all(axis=1)]
    if len(array) < 2:
        return float("nan"), []
    worst, span = array.min(axis=0), np.ptp(array, axis=0)
    if (span == 0).any() or array.shape[1] > MOST_OBJECTIVES:
        return float("nan"), worst.tolist()
    return hypervolume((array - worst) / span, [0.0] * array.shape[1]), worst.tolist()


def _volume(sizes: np.ndarray) -> float:
    """The volume of the union of boxes [0, size], sizes [K, D]."""
    front = sizes[pareto_front(sizes)] if len(sizes) else sizes
    front = np.unique(front, axis=0)[::-1]
    if sizes.shape[1] == 1:
        return float(front.max(initial=0.0))
    total = 0.0
    for i, size in enumerate(front):  # what it adds to those that follow
        total += float(np.prod(size)) - _volume(np.minimum(front[i + 1 :], size))
    return total
