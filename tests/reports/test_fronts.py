"""Fronts and dominated volumes against values by hand, a grid and inclusion and exclusion."""

from itertools import combinations
from math import isnan

import numpy as np
import pytest

from reports.statistics import hypervolume, pareto_front, share_of_box
from reports.statistics.fronts import MOST_OBJECTIVES


def by_inclusion(points: np.ndarray) -> float:
    """The volume of a union of boxes [0, point], from all their intersections."""
    total = 0.0
    for size in range(1, len(points) + 1):
        for some in combinations(points, size):
            total += (-1) ** (size + 1) * float(np.prod(np.min(some, axis=0)))
    return total


@pytest.mark.parametrize("objectives", [1, 2, 3, 4, 5, 6])
def test_the_volume_is_that_of_inclusion_and_exclusion(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    for _ in range(5):
        points = rng.uniform(0, 1, (8, objectives))
        assert hypervolume(points.tolist(), [0.0] * objectives) == pytest.approx(by_inclusion(points))


def test_the_volume_in_two_dimensions_by_hand() -> None:
    """Steps at (1, 3), (2, 2), (3, 1): 3 + 2 + 1; a point below the reference adds nothing, nor a beaten one."""
    points = [[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [9.0, -1.0], [1.0, 1.0]]
    assert hypervolume(points, [0.0, 0.0]) == 6
    assert hypervolume([[2.0, 3.0]], [1.0, 1.0]) == 2
    assert hypervolume([], [0.0, 0.0]) == 0


def test_a_point_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="must have 2 objectives"):
        hypervolume([[1.0, 2.0, 3.0]], [0.0, 0.0])


def test_the_front_by_its_definition() -> None:
    rng = np.random.default_rng(0)
    points = rng.integers(0, 4, (40, 3)).astype(float)
    beaten = [any(all(q >= p) and any(q > p) for q in points) for p in points]
    assert pareto_front(points) == [i for i, lost in enumerate(beaten) if not lost]


def test_equal_points_share_the_front_and_unknown_ones_are_not_on_it() -> None:
    assert pareto_front([[1.0, 1.0], [1.0, 1.0], [float("nan"), 5.0]]) == [0, 1]
    assert pareto_front([]) == []


def test_the_share_of_the_box() -> None:
    assert share_of_box([[0.0, 0.0], [2.0, 5.0]])[0] == 1  # the second is best in everything
    assert share_of_box([[0.0, 5.0], [2.0, 0.0]])[0] == 0  # each is best in one and worst in the other
    share, worst = share_of_box([[-1.0, 30.0], [0.0, 20.0], [1.0, 10.0]])
    assert share == pytest.approx(0.25)
    assert worst == [-1, 10]


@pytest.mark.parametrize("points", [
    [], [[1.0, 2.0]], [[1.0, 2.0], [1.0, 3.0]], [[float("nan"), 1.0], [2.0, 3.0]],
    np.random.default_rng(0).uniform(size=(4, MOST_OBJECTIVES + 1)).tolist(),
])  # fmt: skip
def test_a_share_that_is_not_defined(points: list[list[float]]) -> None:
    assert isnan(share_of_box(points)[0])


def test_forty_variants_of_six_tasks_take_a_moment() -> None:
    points = np.random.default_rng(0).dirichlet(np.ones(MOST_OBJECTIVES), 40)
    assert 0 < share_of_box(points)[0] < 1
