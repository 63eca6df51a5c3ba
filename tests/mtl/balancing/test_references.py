"""Every method against its slow reference, in every case."""

import numpy as np
import pytest

import mtl
from mtl.balancing.registry import build
from tests.mtl.balancing.references import REFERENCES
from tests.mtl.balancing.scenarios import (
    CASES,
    expected,
    gap,
    outcome,
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


def test_the_comparison_can_fail() -> None:
    steps = run(2)
    wanted = [step.J.sum(axis=0) for step in steps]
    assert gap(wanted, wanted, steps) == 0
    assert gap([wanted[0], wanted[1] * 1.01], wanted, steps) > 1e-3
    assert np.isnan(gap([wanted[0], wanted[1] * np.nan], wanted, steps))
    assert gap([wanted[0], 0 * wanted[1] + 1], [wanted[0], 0 * wanted[1]], steps) > 1e-3  # zero is wanted
    assert gap(None, None, steps) == 0
    assert gap(wanted, None, steps) == gap(None, wanted, steps) == np.inf
