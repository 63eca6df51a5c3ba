"""Every method against its slow reference, in every case."""

import numpy as np
import pytest
import torch

import mtl
from mtl.balancing.registry import build
from tests.mtl.balancing.references import REFERENCES, Step
from tests.mtl.balancing.scenarios import (
    CANCEL,
    CASES,
    HARD,
    G,
    H,
    directions,
    expected,
    gap,
    outcome,
    rows,
    run,
)

NUMBERED = [(name, number) for name in mtl.BALANCERS for number in range(len(CASES.get(name, [])))]


def test_every_method_has_a_reference_and_cases() -> None:
    assert set(REFERENCES) == set(CASES) == set(mtl.BALANCERS)
    assert all(CASES.values())


@pytest.mark.parametrize(("name", "number"), NUMBERED)
def test_a_method_answers_what_its_reference_answers(name: str, number: int) -> None:
    options, steps = CASES[name][number]
    assert gap(outcome(build(name, options), steps), expected(name, number), steps) < 1e-6


def test_only_krum_with_too_few_tasks_is_refused() -> None:
    refused = [CASES[name][number] for name, number in NUMBERED if expected(name, number) is None]
    assert [(case.options, len(case.steps[0].J)) for case in refused] == [({"outliers": 2}, 4)]


@pytest.mark.xfail(
    raises=ArithmeticError,
    reason="the solver goes on to |e| = c |g|, where the shortest e already does all that can be done",
)
def test_cagrad_with_a_large_c_where_gradients_cancel() -> None:
    """To go among the cases of cagrad once it holds: two opposed gradients among three, and c of one and a half."""
    wanted = REFERENCES["cagrad"](CANCEL, c=1.5)
    assert (CANCEL[0].J @ wanted[0]).min() > -1e-9  # no task gets worse
    assert gap(directions(build("cagrad", {"c": 1.5}), CANCEL), wanted, CANCEL) < 1e-6


@pytest.mark.xfail(
    raises=torch.linalg.LinAlgError, reason="the Newton system is singular before weights are large"
)
@pytest.mark.parametrize("steps", HARD[-2:])
def test_fairgrad_with_a_small_alpha_gives_zero_where_gradients_cancel(steps: tuple[Step, ...]) -> None:
    """To go among the cases of fairgrad once it holds, as with an alpha of one and above."""
    assert not directions(build("fairgrad", {"alpha": 0.5}), steps)[0].any()


@pytest.mark.xfail(raises=AssertionError, reason="large weights are taken for a sign that gradients cancel")
def test_fairgrad_with_a_large_alpha_and_lengths_far_apart() -> None:
    """Two gradients at an angle of 123 degrees, of lengths 1e-4 and 1e4: a solution exists."""
    steps = rows(tuple(1e-4 * x for x in G), tuple(1e4 * x for x in H))
    wanted = REFERENCES["fairgrad"](steps, alpha=10.0)
    assert gap(directions(build("fairgrad", {"alpha": 10.0}), steps), wanted, steps) < 1e-6


def test_the_comparison_can_fail() -> None:
    steps = run(2)
    wanted = [step.J.sum(axis=0) for step in steps]
    assert gap(wanted, wanted, steps) == 0
    assert gap([wanted[0], wanted[1] * 1.01], wanted, steps) > 1e-3
    assert np.isnan(gap([wanted[0], wanted[1] * np.nan], wanted, steps))
    assert gap([wanted[0], 0 * wanted[1] + 1], [wanted[0], 0 * wanted[1]], steps) > 1e-3  # zero is wanted
    assert gap(None, None, steps) == 0
    assert gap(wanted, None, steps) == gap(None, wanted, steps) == np.inf
