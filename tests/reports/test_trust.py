"""The section on trust: verdicts in words, scores beside the controls, and a star only where it is earned."""

from pathlib import Path

import pandas as pd
import pytest

from reports import RunWriter, read_runs
from reports.tables import Experiment
from reports.trust import trust
from reports.verdict import findings
from tests.reports.make import describe


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
    section = trust(Experiment(read_runs(tmp_path)))
    verdicts, scores = section.tables
    assert verdicts.rows == [["gradient", "passes (5 of 6)", "changes <b>", "0.1", "n/a", "n/a", "0"]]
    assert scores.columns == ["method", "deletion (down)"]
    assert scores.rows == [["gradient", "0.201" + " *" * star], ["(random)", str(random)]]
    assert [table.rows[0][1][:5] for table in section.more] == ["0.191", "0.211"]
    [found] = [f for f in findings(Experiment(read_runs(tmp_path))) if "Sanity" in f.heading]
    assert (found.heading, found.tone) == ("Sanity checks: 1 of 1 method pass", "good")
    assert found.text.startswith("Passes: gradient.")


def test_nothing_scored_says_so(tmp_path: Path) -> None:
    from tests.reports.make import write_run

    write_run(tmp_path, "equal", 0, {"left": {"accuracy": 0.9}}, maps=True)
    assert "no finished run checked" in trust(Experiment(read_runs(tmp_path))).missing


def test_many_methods_are_told_together(tmp_path: Path) -> None:
    """Five methods have findings by what is said of them, not one each; every one keeps its number."""
    masses = {"a": 0.6, "b": 0.7, "c": 0.1, "d": 0.2, "e": 0.65}
    for seed in range(3):
        write(tmp_path, seed, 0.2, 0.5)
        rows = [
            {"example": 0, "task": task, "method": method, "metric": "relevance_mass", "region": region, "map": kind,
             "value": value + 0.001 * seed * (kind == "given"), "higher_is_better": True}
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
