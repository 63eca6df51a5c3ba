"""A report of very many tasks shows what stands out and says what it leaves out, so that it can still be opened."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from reports import read_runs
from reports.document import Section
from reports.measured import cosine_curves
from reports.sections.agreement import agreement
from reports.sections.conflict import conflict
from reports.sections.learning import learning
from reports.sections.scores import scores
from reports.tables import Experiment
from reports.wording import Say
from tests.reports.make import write_run
from tests.reports.test_dynamics import write

MANY = [f"task {number:02d}" for number in range(40)]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Forty tasks; the cosine of two is 1 less their numbers' distance over 20, the maps of 8 and 9 are alike."""
    root, numbers = tmp_path_factory.mktemp("many"), np.arange(len(MANY))
    cosines = np.tile(1 - np.abs(numbers[:, None] - numbers) / 20, (4, 1, 1))
    drawn = np.random.default_rng(1).random((len(MANY), 2, 6, 6))
    drawn[9] = drawn[8]
    write(root, "equal", 0, MANY, dict(zip(MANY, drawn, strict=True)), cosines=cosines)
    return Experiment(read_runs(root))


def table(section: Section, key: str) -> list[list[str]]:
    return next(t.texts() for t in [*section.tables, *section.more] if t.key == key)


def test_the_pairs_most_in_conflict_are_told(many: Experiment) -> None:
    section = conflict(many, Say())
    told = [row[1] for row in table(section, "cosines")]
    wanted = sorted(combinations(range(40), 2), key=lambda pair: pair[0] - pair[1])[
        :28
    ]  # distances of 33 and more
    assert len(told) == 30
    assert {f"{MANY[a]} and {MANY[b]}" for a, b in wanted} <= set(told)
    assert any("Of 780 pairs of tasks the 30" in note for note in section.notes)


def test_the_pairs_with_the_most_alike_maps_are_told(many: Experiment) -> None:
    section = agreement(many, Say())
    rows = table(section, "agreement-pairs")
    assert len(rows) == 30
    assert ["task 08", "task 09"] in [row[2:4] for row in rows]
    assert any("Of 780 pairs of tasks the 30" in note for note in section.notes)
    [scatter] = [chart for chart in section.charts if chart.kind == "scatter"]
    assert len(scatter.data["x"]) == len(scatter.data["label"]) == 500
    [relation] = [finding for finding in section.findings if finding.key == "agreement-conflict"]
    assert "over 780 pairs" in relation.text  # the correlation is that of all


def test_points_and_curves_of_some_tasks_are_drawn_and_the_tables_have_all(tmp_path: Path) -> None:
    for variant in ("single", "equal"):
        write_run(tmp_path, variant, 0, {task: {"accuracy": 0.5} for task in MANY}, maps=False)
    experiment = Experiment(read_runs(tmp_path))
    found = scores(experiment, Say())
    assert len([chart for chart in found.charts if chart.kind == "dots"]) == 24
    assert any("24 of 40 tasks" in note for note in found.notes)
    assert len(table(found, "scores")[0]) == 2 + len(MANY)
    curves = learning(experiment, Say())
    assert len(curves.charts) == 24
    assert any("24 of 40 tasks" in note for note in curves.notes)


def test_curves_hold_the_finite_cosines_of_every_pair_in_order(tmp_path: Path) -> None:
    cosines = np.full((4, 3, 3), 0.5)
    cosines[1, 0, 2] = np.nan
    cosines[:, 1, 2] = [0.1, 0.2, 0.3, np.inf]
    write(tmp_path, "equal", 7, ["a", "b", "c"], {}, cosines=cosines)
    frame = cosine_curves(read_runs(tmp_path))
    found = list(zip(frame["a"], frame["b"], frame["step"], frame["value"], strict=True))
    assert found == [
        *[("a", "b", step, 0.5) for step in (1, 2, 3, 4)],
        *[("a", "c", step, 0.5) for step in (1, 3, 4)],
        *[("b", "c", step, step / 10) for step in (1, 2, 3)],
    ]
    assert set(frame["variant"]) == {"equal"}
    assert set(frame["seed"]) == {7}
