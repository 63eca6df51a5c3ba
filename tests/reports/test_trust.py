"""The section on trust: verdicts in words, scores beside the controls, and a star only where it is earned."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reports import RunWriter, read_runs
from reports.sections.localisation import localisation
from reports.sections.trust import trust
from reports.sections.verdict import findings
from reports.tables import Experiment
from reports.wording import LANGUAGES, Say
from tests.reports.make import describe, three_variants


def write(root: Path, seed: int, deletion: float, random: float) -> None:
    with RunWriter(
        root / f"shared--s{seed}",
        experiment={"name": "toy", "question": "?", "baseline": None, "reference": "shared"},
        variant="shared",
        seed=seed,
        tasks=[describe("left"), describe("right")],
        config={"steps": 1},
        command=["python"],
        data={"toy": "sha256:00"},
        selection="last",
        tuning_budget="none",
    ) as run:
        rows = [
            {"example": i, "task": task, "method": "gradient", "metric": "deletion", "region": "", "map": kind,
             "value": value + shift, "higher_is_better": False}
            for i in range(2) for task, shift in (("left", -0.01), ("right", 0.01))
            for kind, value in (("given", deletion), ("random", random))
        ]  # fmt: skip
        run.save_scores(pd.DataFrame(rows))
        checks = [
            {"method": "gradient", "task": task, "check": check, "value": value, "absolute": 0.5, "verdict": verdict,
             "words": words}
            for task in ("left", "right")
            for check, value, verdict, words in (
                ("last layer", 0.1, "passes", "changes"), ("other layers", 0.0, "passes", "alone"),
                ("all", float("nan"), "fails" if (seed, task) == (0, "left") else "passes", "changes <b>"),
            )
        ]  # fmt: skip
        run.save_sanity(pd.DataFrame(checks))
        run.log(
            [
                {"step": 1, "epoch": 0, "split": "test", "task": t, "metric": "accuracy", "value": 0.9}
                for t in ("left", "right")
            ]
        )
        run.finish(summary={})


@pytest.mark.parametrize(("random", "star"), [(0.5, True), (0.2, False), (0.1, False)])
def test_verdicts_and_scores(tmp_path: Path, random: float, star: bool) -> None:
    """Deletion: less is better, so 0.2 beats a random map of 0.5 and no other."""
    for seed in range(3):
        write(tmp_path, seed, 0.2 + 0.001 * seed, random)
    section = trust(Experiment(read_runs(tmp_path)), Say())
    verdicts, scores = section.tables
    same = "0.10 [0.10, 0.10]"
    assert verdicts.texts() == [
        ["gradient", "passes (5 of 6)", "changes <b>", same, "n/a", "n/a", "0.00 [0.00, 0.00]"]
    ]
    assert scores.columns == ["method", "deletion ↓"]
    assert [row[0] for row in scores.texts()] == ["gradient", "(random)"]
    given, control = (row[1] for row in scores.rows)
    assert given.text == "0.201 [0.1985, 0.2035]"
    assert (given.n, given.points) == (3, pytest.approx((0.2, 0.201, 0.202)))  # seeds, not inputs
    assert (given.strong, "after Holm" in given.note) == (star, star)
    assert control.value == pytest.approx(random)
    assert not any(cell.strong for table in section.more for row in table.rows for cell in row)
    assert [table.rows[0][1].text[:5] for table in section.more] == ["0.191", "0.211"]
    [found] = [f for f in findings(Experiment(read_runs(tmp_path))) if "Sanity" in f.heading]
    assert (found.heading, found.tone) == ("Sanity checks: 1 of 1 method pass", "good")
    assert found.text.startswith("Passes: gradient.")


def test_bold_is_after_holm_over_all_that_is_shown(tmp_path: Path) -> None:
    """One comparison of p 0.02 is bold; among twenty methods that are random maps it is not."""
    rng = np.random.default_rng(0)
    gains = np.array([0.9, 1.0, 1.1, 1.25])
    assert 0.0001 < stats.ttest_1samp(gains, 0).pvalue < 0.05 / 21 * 2
    for methods, bold in ((1, True), (400, False)):
        root = tmp_path / str(methods)
        for seed, gain in enumerate(gains):
            write(root, seed, 0.2, 0.5)
            rows = [
                {"example": 0, "task": "left", "method": f"m{m}", "metric": "road", "region": "", "map": kind,
                 "value": (gain if m == 0 else rng.standard_normal()) if kind == "given" else 0.0,
                 "higher_is_better": True}
                for m in range(methods) for kind in ("given", "random")
            ]  # fmt: skip
            pd.DataFrame(rows).to_csv(root / f"shared--s{seed}" / "attributions" / "scores.csv", index=False)
        table = trust(Experiment(read_runs(root)), Say()).tables[1]
        assert f"for the {methods} comparisons" in table.caption
        assert table.rows[0][1].strong is bold
        assert not any(row[1].strong for row in table.rows[1:])


@pytest.mark.parametrize("language", LANGUAGES)
def test_in_every_language(tmp_path: Path, language: str) -> None:
    three_variants(tmp_path, seeds=2)
    experiment = Experiment(read_runs(tmp_path))
    assert localisation(experiment, Say(language)).tables
    write(tmp_path / "other", 0, 0.2, 0.5)
    assert trust(Experiment(read_runs(tmp_path / "other")), Say(language)).tables


def test_nothing_scored_says_so(tmp_path: Path) -> None:
    from tests.reports.make import write_run

    write_run(tmp_path, "equal", 0, {"left": {"accuracy": 0.9}}, maps=True)
    assert "no finished run checked" in trust(Experiment(read_runs(tmp_path)), Say()).missing


def test_many_methods_are_told_together(tmp_path: Path) -> None:
    """Five methods have findings by what is said of them, not one each; every one keeps its number."""
    masses = {"a": 0.6, "b": 0.7, "c": 0.1, "d": 0.2, "e": 0.65}
    for seed in range(3):
        write(tmp_path, seed, 0.2, 0.5)
        rows = [
            {"example": 0, "task": task, "method": method, "metric": "relevance_mass", "region": region, "map": kind,
             "value": value + 0.001 * seed * ((kind, region) == ("given", task)), "higher_is_better": True}
            for task in ("left", "right") for method, mass in masses.items()
            for kind, region, value in (
                ("given", task, mass), ("given", "right" if task == "left" else "left", 0.3), ("random", task, 0.15),
                ("image", task, 0.3),
            )
        ]  # fmt: skip
        pd.DataFrame(rows).to_csv(tmp_path / f"shared--s{seed}" / "attributions" / "scores.csv", index=False)
    found = {finding.heading: finding.text for finding in findings(Experiment(read_runs(tmp_path)))}
    own = found["3 methods: each task looks at its own region"]
    assert all(
        f"{method} {mass:.1%}".replace("%", "") in own
        for method, mass in (("a", 0.601), ("b", 0.701), ("e", 0.651))
    )
    assert "c 10.1%" in found["1 method: no better than a random map"]
    assert "d 20.1%" in found["1 method: does not tell the tasks apart"]
