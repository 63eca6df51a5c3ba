"""Every kind of interval that the page shows covers the truth in 93 to 97 of 100 cases, by simulation."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reports.statistics import Estimate, clustered_mean, correlation, difference, mean_interval, welch
from reports.statistics.gains import estimated, gain_of
from tests.reports.simulate import drawn, experiment_of, give

SEEDS = (3, pytest.param(5, marks=pytest.mark.slow), pytest.param(10, marks=pytest.mark.slow))
DRAWS = 5000
LEVEL, SPREAD = 0.8, 0.02  # accuracies as seeds give them


def coverage(draw: Callable[[np.random.Generator], Estimate], truth: float, draws: int = DRAWS) -> float:
    rng = np.random.default_rng(0)
    found = (draw(rng) for _ in range(draws))
    return sum(one.low <= truth <= one.high for one in found) / draws


def pairs(
    rng: np.random.Generator, n: int, means: tuple[float, float], alike: float
) -> list[dict[int, float]]:
    """Two variants on the same seeds, whose scores correlate."""
    own, shared = rng.normal(size=(2, n)), rng.normal(size=n)
    scores = np.array(means)[:, None] + SPREAD * (np.sqrt(1 - alike) * own + np.sqrt(alike) * shared)
    return [dict(enumerate(row)) for row in scores.tolist()]


def apart(
    rng: np.random.Generator, n: int, means: tuple[float, float], spreads: tuple[float, float]
) -> list[dict[int, float]]:
    """Two variants on seeds of their own."""
    return [
        {100 * i + s: v for s, v in enumerate(rng.normal(mean, spread, n).tolist())}
        for i, (mean, spread) in enumerate(zip(means, spreads, strict=True))
    ]


@pytest.mark.parametrize("n", SEEDS)
def test_a_mean(n: int) -> None:
    assert 0.93 < coverage(lambda rng: mean_interval(rng.normal(LEVEL, SPREAD, n).tolist()), LEVEL) < 0.97


@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize("alike", [0.0, 0.8])
def test_a_paired_difference(n: int, alike: float) -> None:
    found = coverage(lambda rng: difference(*pairs(rng, n, (0.82, 0.8), alike)), 0.02)
    assert 0.93 < found < 0.97


@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize("spreads", [(0.02, 0.02), (0.02, 0.03), (0.04, 0.02), (0.02, 0.1)])
def test_a_difference_of_groups(n: int, spreads: tuple[float, float]) -> None:
    """Welch's interval is widest for three against three of equal spread, where it covers .966."""
    found = coverage(lambda rng: difference(*apart(rng, n, (0.82, 0.8), spreads)), 0.02, 12000)
    assert 0.93 < found < 0.97


@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize("alike", [0.0, 0.8])
@pytest.mark.parametrize("means", [(0.8, 0.8), (0.84, 0.8), (0.4, 0.8)])
def test_a_paired_gain(n: int, alike: float, means: tuple[float, float]) -> None:
    def draw(rng: np.random.Generator) -> Estimate:
        ours, base = pairs(rng, n, means, alike)
        return estimated(gain_of(ours, base, True, list(ours)))

    assert 0.93 < coverage(draw, means[0] / means[1] - 1) < 0.97


@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize(("means", "spreads"), [
    ((0.8, 0.8), (0.02, 0.02)), ((0.3, 0.2), (0.01, 0.02)), ((0.1, 0.2), (0.02, 0.02)), ((0.4, 0.1), (0.02, 0.01)),
])  # fmt: skip
def test_a_gain_of_groups(n: int, means: tuple[float, float], spreads: tuple[float, float]) -> None:
    """Up to errors that rise fourfold over a base with a spread of a tenth of it."""

    def draw(rng: np.random.Generator) -> Estimate:
        ours, base = apart(rng, n, means, spreads)
        return estimated(gain_of(ours, base, False, []))

    assert 0.93 < coverage(draw, 1 - means[0] / means[1], 12000) < 0.97


@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize(("shift", "common"), [(0, 0.0), (0, 0.8), (1, 0.8), (100, 0.0)])
def test_delta_m_as_the_page_computes_it(tmp_path: Path, n: int, shift: int, common: float) -> None:
    """Equal seeds, seeds of which one differs (where half are common: pairs), and seeds of their own."""
    experiment = experiment_of(tmp_path, {"single": range(n), "equal": range(shift, n + shift)})
    rng = np.random.default_rng(n)
    hits, draws = 0, 2000
    for _ in range(draws):
        give(experiment, drawn(experiment, rng, {"single": 0.8, "equal": 0.84}, SPREAD, common))
        gain = experiment.compare("equal", "single").over_tasks
        hits += gain.low <= 0.05 <= gain.high
    assert 0.93 < hits / draws < 0.97


@pytest.mark.parametrize("n", SEEDS)
def test_a_mean_over_inputs_of_models(n: int) -> None:
    """200 maps a model, each model a little other: the maps of one model are not 200 models."""

    def draw(rng: np.random.Generator) -> Estimate:
        models = rng.normal(0.5, 0.1, n)
        return clustered_mean(rng.normal(models[:, None], 0.3, (n, 200)).tolist())

    assert 0.93 < coverage(draw, 0.5, 2000) < 0.97


def test_the_maps_as_independent_values_would_not_cover() -> None:
    """The checker can fail: 200 maps a model taken as 200 models."""

    def draw(rng: np.random.Generator) -> Estimate:
        models = rng.normal(0.5, 0.1, 3)
        return mean_interval(rng.normal(models[:, None], 0.3, (3, 200)).ravel().tolist())

    assert coverage(draw, 0.5, 500) < 0.6


@pytest.mark.parametrize("n", [4, 5, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize("truth", [0.0, 0.6])
def test_a_correlation(n: int, truth: float) -> None:
    def draw(rng: np.random.Generator) -> Estimate:
        x, noise = rng.normal(size=(2, n))
        y = truth * x + np.sqrt(1 - truth**2) * noise
        return correlation(x.tolist(), y.tolist())

    assert 0.93 < coverage(draw, truth) < 0.97


@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize("shift", [0, 100])
def test_a_ratio_of_costs(tmp_path: Path, n: int, shift: int) -> None:
    """Seconds a step, 1.8 times the reference's, on a machine that makes them a third longer or shorter."""
    experiment = experiment_of(tmp_path, {"single": range(n), "equal": range(shift, n + shift)})

    def draw(rng: np.random.Generator) -> Estimate:
        for run in experiment.done:
            mean = 0.018 if run.variant == "equal" else 0.010
            run.info["cost"]["step_s"] = mean * float(np.exp(0.3 * rng.normal()))
        return experiment.cost_ratio("equal", "single", "step_s")

    assert 0.93 < coverage(draw, 1.8, 8000) < 0.97


def test_groups_of_three_pooled_would_not_cover() -> None:
    """Why Welch: with one spread five times the other, Student's pooled interval covers too little."""
    from scipy import stats

    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 5, (4000, 3)), rng.normal(0, 1, (4000, 3))
    interval = stats.ttest_ind(a, b, axis=1).confidence_interval(0.95)
    pooled = float(np.mean((interval.low <= 0) & (interval.high >= 0)))
    ours = np.mean([welch(x.tolist(), y.tolist()).sign == 0 for x, y in zip(a, b, strict=True)])
    assert pooled < 0.93 < ours


@pytest.mark.slow
@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize(("shift", "common"), [(0, 0.8), (0, 0.0), (100, 0.0)])
def test_ten_identical_methods_are_told_apart_on_at_most_one_page_in_twenty(
    tmp_path: Path, n: int, shift: int, common: float
) -> None:
    """Any word of better or worse, any bold number, on a page of 51 comparisons; the margin is of the simulation."""
    names = [f"method{k}" for k in range(10)]
    seeds = {name: range(shift * k, shift * k + n) for k, name in enumerate(names)}
    experiment = experiment_of(tmp_path, seeds)
    rng = np.random.default_rng(1)
    pages, claims, careless = 600, 0, 0
    for _ in range(pages):
        give(experiment, drawn(experiment, rng, dict.fromkeys(names, LEVEL), SPREAD, common))
        claims += any(one.verdict for one in experiment.contrasts)
        careless += any(one.estimate.sign for one in experiment.contrasts)
    margin = 2.6 * (0.05 * 0.95 / pages) ** 0.5
    assert claims / pages <= 0.05 + margin
    assert careless / pages > 0.5  # what unadjusted intervals would have said
