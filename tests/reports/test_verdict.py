"""What the page says in words: only what holds after Holm, with its cost, its worst task and its uncertainty."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

import reports
from reports.document import Finding, Section, Table
from reports.sections.cost import cost
from reports.sections.learning import learning
from reports.sections.noise import noise
from reports.sections.scores import scores
from reports.sections.verdict import findings
from reports.tables import Experiment
from reports.wording import Say
from tests.reports.make import describe, three_variants, write_run


def answers(experiment: Experiment, language: str = "en") -> dict[str, Finding]:
    return {finding.key: finding for finding in findings(experiment, Say(language))}


def costing(root: Path, steps: Mapping[str, float], seeds: int = 3, **roles: object) -> Experiment:
    """Variants of the same scores whose seconds a step differ."""
    for i, (variant, step_s) in enumerate(steps.items()):
        for seed in range(seeds):
            test = {"left": {"accuracy": 0.8 + 0.01 * seed}, "right": {"accuracy": 0.7 - 0.01 * seed}}
            experiment = {"baseline": None, "reference": "fp32", **roles}
            folder = write_run(root, variant, seed, test, maps=False, experiment=experiment)
            info = json.loads((folder / "run.json").read_text())
            info["cost"] |= {
                "step_s": step_s * (1 + 0.001 * ((i + 1) * seed % 5)),
                "peak_memory_mib": 100 + 10 * len(variant) + seed,
            }
            (folder / "run.json").write_text(json.dumps(info))
    return Experiment(reports.read_runs(root))


def table(section: Section, key: str) -> Table:
    return next(one for one in (*section.tables, *section.more) if one.key == key)


def column(found: Table, heading: str) -> list[str]:
    place = found.columns.index(heading)
    return [row[place].text for row in found.rows]


def test_variants_that_score_alike_are_told_apart_by_cost(tmp_path: Path) -> None:
    experiment = costing(tmp_path, {"fp32": 0.02, "bf16": 0.01, "compiled": 0.015})
    found = answers(experiment)["cost"]
    assert found.heading == "Same scores as far as can be seen; cheaper: bf16"
    assert "No score differs significantly from fp32." in found.text
    assert (
        "Fastest: bf16, 0.5005 [0.4993, 0.5017] times the seconds a step of fp32 (Holm-adjusted p"
        in found.text
    )
    assert "Least memory: fp32 itself." in found.text
    assert answers(experiment)["gains"].heading == "No variant is significantly better than fp32"


def test_cost_is_no_claim_with_one_seed(tmp_path: Path) -> None:
    found = answers(costing(tmp_path, {"fp32": 0.02, "bf16": 0.01}, seeds=1))["cost"]
    assert found.heading == "Same scores as far as can be seen; none is significantly cheaper than fp32"
    assert "Fastest: bf16, 0.5 (one seed: no interval)" in found.text
    assert found.tone == "open"


def test_cost_is_no_verdict_where_scores_differ_or_sharing_is_asked(tmp_path: Path) -> None:
    worse = costing(tmp_path / "a", {"fp32": 0.02, "bf16": 0.01}, seeds=4)
    for seed in range(4):
        test = {"left": {"accuracy": 0.5 + 0.011 * seed}, "right": {"accuracy": 0.4 - 0.01 * seed}}
        write_run(
            tmp_path / "b", "bf16", seed, test, maps=False, experiment={"baseline": None, "reference": "fp32"}
        )
    worse = Experiment([*worse.of("fp32"), *reports.read_runs(tmp_path / "b")])
    assert answers(worse)["losses"].heading == "Worse than fp32"
    assert "cost" not in answers(worse)
    assert "cost" not in answers(Experiment(reports.read_runs(three_variants(tmp_path / "c"))))


def test_words_rest_on_the_adjusted_p(tmp_path: Path) -> None:
    """A gain whose own interval is above 0, one of many comparisons: not called better, in no word and no bold."""
    names = ["single", "equal", *(f"method{k}" for k in range(8))]
    for k, name in enumerate(names):
        for seed in range(3):
            wiggle = [(0, 1, 2), (2, 0, 1), (1, 2, 0)][k % 3][seed]
            level = 0.82 if name == "method0" else 0.8
            test = {task: {"accuracy": level + 0.004 * wiggle} for task in ("left", "right")}
            write_run(tmp_path, name, seed, test, maps=False)
    experiment = Experiment(reports.read_runs(tmp_path))
    contrast = experiment.contrast("method0", "equal")
    assert contrast is not None
    assert contrast.estimate.sign == 1
    assert contrast.estimate.p < 0.05 < contrast.adjusted
    assert contrast.verdict == 0
    found = answers(experiment)["gains"]
    assert found.heading == "No significant gain over the plain sum (equal)"
    assert "not the same as equal" in found.text
    every = [scores(experiment, Say()), noise(experiment, Say())]
    cells = [c for s in every for t in (*s.tables, *s.more) for row in t.rows for c in row]
    assert not any(cell.strong for cell in cells)


def test_one_seed_has_no_bold_no_p_and_no_interval(tmp_path: Path) -> None:
    experiment = Experiment(reports.read_runs(three_variants(tmp_path, gain=0.1, seeds=1)))
    for section in (scores(experiment, Say()), noise(experiment, Say())):
        for one in (*section.tables, *section.more):
            assert not any(cell.strong or cell.low is not None for row in one.rows for cell in row)
    found = table(noise(experiment, Say()), "tests-equal")
    assert set(column(found, "finding")) == {"no test"}
    assert set(column(found, "p (Holm)")) == set(column(found, "exact p")) == {"n/a"}


def test_bold_is_what_is_better_than_the_reference(tmp_path: Path) -> None:
    experiment = Experiment(reports.read_runs(three_variants(tmp_path, gain=0.05, seeds=4)))
    found = table(scores(experiment, Say()), "scores")
    strong = {row[0].text: [cell.strong for cell in row[2:]] for row in found.rows}
    assert strong == {"single": [False, False], "equal": [False, False], "upgrad": [True, True]}
    assert "Bold: significantly better than equal" in found.caption
    assert all(len(cell.points) == cell.n == 4 for row in found.rows for cell in row[2:])


def test_every_comparison_has_what_a_reader_needs(tmp_path: Path) -> None:
    experiment = Experiment(reports.read_runs(three_variants(tmp_path, gain=0.05)))
    section = noise(experiment, Say())
    assert [one.key for one in section.tables] == ["tests-single", "tests-equal"]
    assert [one.key for one in section.more] == ["tests-tasks-single", "tests-tasks-equal"]
    assert "All 9 comparisons" in section.intro  # three of Δm, and as many for each of two tasks
    assert sum(len(one.rows) for one in (*section.tables, *section.more)) == 9
    row = dict(zip(section.tables[1].columns, section.tables[1].rows[0], strict=True))
    assert row["finding"].text == "better"
    assert row["least exact p"].text == row["exact p"].text == "0.25"
    assert "very large" in row["effect size"].text
    assert row["seeds"].text == "3 pairs"
    assert any("no exact p can be below 0.25" in note for note in section.notes)
    tasks = section.more[1]
    assert column(tasks, "difference")[0].startswith("+5.")
    assert " pp [" in column(tasks, "difference")[0]


def test_a_seed_without_a_partner_is_named(tmp_path: Path) -> None:
    three_variants(tmp_path)
    write_run(tmp_path, "upgrad", 7, {"left": {"accuracy": 0.8}, "right": {"accuracy": 0.8}}, maps=False)
    experiment = Experiment(reports.read_runs(tmp_path))
    section = noise(experiment, Say())
    assert any("upgrad against equal" in note and "upgrad seed 7" in note for note in section.notes)
    contrast = experiment.contrast("upgrad", "equal")
    assert contrast is not None
    assert contrast.estimate.n == 3


def test_without_a_base_nothing_is_tested_and_that_is_said(tmp_path: Path) -> None:
    root = three_variants(tmp_path, experiment={"baseline": None, "reference": None})
    experiment = Experiment(reports.read_runs(root))
    assert "no variant is a baseline or reference" in noise(experiment, Say()).missing
    assert scores(experiment, Say()).tables[0].key == "scores"
    assert experiment.contrasts == []


def test_the_worst_task_is_named(tmp_path: Path) -> None:
    for seed in range(3):
        noise = 0.001 * seed
        write_run(
            tmp_path, "single", seed, {"left": {"accuracy": 0.8}, "right": {"accuracy": 0.8}}, maps=False
        )
        test = {"left": {"accuracy": 0.9 + noise}, "right": {"accuracy": 0.7 + 2 * noise}}
        write_run(tmp_path, "equal", seed, test, maps=False)
    experiment = Experiment(reports.read_runs(tmp_path))
    text = answers(experiment)["sharing"].text
    assert "Significantly worse: right." in text
    assert "Significantly better: left." in text
    assert "Lowest: right with -12.3%" in text
    assert column(table(scores(experiment, Say()), "delta-single"), "worst task") == ["right"]


def test_a_base_near_zero_is_named(tmp_path: Path) -> None:
    tasks = [describe("left", {"r2": True, "accuracy": True})]
    for seed, value in enumerate((-0.1, 0.1)):
        write_run(tmp_path, "single", seed, {"left": {"r2": value, "accuracy": 0.5}}, tasks=tasks, maps=False)
        write_run(tmp_path, "equal", seed, {"left": {"r2": 0.5, "accuracy": 0.6}}, tasks=tasks, maps=False)
    experiment = Experiment(reports.read_runs(tmp_path))
    assert "Left out, for the base is not clear of zero: left r2." in answers(experiment)["sharing"].text
    assert any("left r2" in note for note in scores(experiment, Say()).notes)
    # the difference itself has a meaning, and is tested
    assert column(table(noise(experiment, Say()), "tests-tasks-single"), "metric") == ["r2"]


def test_a_unit_called_points_is_a_unit_like_any_other(tmp_path: Path) -> None:
    tasks = [describe(name, {"rmse": False}) for name in ("exam", "sport")]
    for task in tasks:
        task["metrics"][0]["unit"] = "points"
    for seed in range(3):
        for variant, value in (("single", 10.5), ("equal", 9.25)):
            values = {"exam": {"rmse": value}, "sport": {"rmse": 2.0 + seed}}
            write_run(tmp_path, variant, seed, values, tasks=tasks, maps=False)
    experiment = Experiment(reports.read_runs(tmp_path))
    assert column(table(scores(experiment, Say()), "scores"), "exam: rmse [points] ↓")[0].startswith("10.5 [")
    tests = noise(experiment, Say())
    told = " ".join(" ".join(row) for t in [*tests.tables, *tests.more] for row in t.texts())
    assert "-1.25" in told
    assert "pp" not in told


def test_fronts_say_who_is_beaten(tmp_path: Path) -> None:
    experiment = costing(tmp_path, {"fp32": 0.02, "bf16": 0.01, "compiled": 0.03})
    section = cost(experiment, Say())
    fronts = table(section, "fronts")
    row = {one[0].text: [cell.text for cell in one[1:]] for one in fronts.rows}
    members, always, share, reference = row["Δm over fp32 and ms a step"]
    assert (members, always) == ("bf16", "bf16")
    assert share == "not defined"  # Δm is 0 for all
    assert reference == "ms a step 30.04; Δm over fp32 0.0%"
    assert {chart.kind for chart in section.charts} == {"pareto"}
    relative = column(table(section, "cost"), "relative to fp32")
    assert relative[:2] == ["1", "0.5005 [0.4993, 0.5017]"]


def test_the_selected_step_stands_beside_the_last(tmp_path: Path) -> None:
    for seed in range(3):
        folder = write_run(tmp_path, "equal", seed, {"left": {"accuracy": 0.8 + 0.01 * seed}}, maps=False)
        file = folder / "summary.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"best_step": {"left": 1}}))
    found = table(learning(Experiment(reports.read_runs(tmp_path)), Say()), "selected")
    assert column(found, "selected step") == ["1"]
    assert column(found, "when selected")[0].startswith("71.0%")
    assert column(found, "at the last step")[0].startswith("76.0%")
    assert column(found, "last - selected")[0].startswith("+5.0 pp")


def test_the_single_task_curve_is_held_against_the_others(tmp_path: Path) -> None:
    section = learning(Experiment(reports.read_runs(three_variants(tmp_path))), Say())
    assert "Thick: single" in section.intro
    assert all(chart.data["baseline"] == "single" for chart in section.charts)


def test_long_curves_are_thinned_and_that_is_said(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "equal", 0, {"left": {"accuracy": 0.8}}, maps=False)
    with (folder / "metrics.jsonl").open("a") as stream:
        for step in range(1, 1001):
            row = {
                "step": step,
                "epoch": 0,
                "split": "train",
                "task": "left",
                "metric": "accuracy",
                "value": 0.5,
            }
            stream.write(json.dumps(row) + "\n")
    section = learning(Experiment(reports.read_runs(tmp_path)), Say())
    steps = next(chart for chart in section.charts if chart.key.endswith("train")).data["step"]
    assert (len(steps), steps[0], steps[-1]) == (200, 1, 1000)
    assert "more than 200 steps" in section.notes[0]


@pytest.mark.parametrize("seeds", [1, 3])
def test_all_of_it_in_chinese(tmp_path: Path, seeds: int) -> None:
    """Every text that is asked for is there, and no English sentence is left in these sections."""
    experiment = Experiment(reports.read_runs(three_variants(tmp_path, gain=0.05, seeds=seeds)))
    say = Say("zh")
    told = [f.heading + f.text for f in answers(experiment, "zh").values()]
    for section in (part(experiment, say) for part in (scores, noise, cost, learning)):
        told += [section.heading, section.intro, *section.notes]
        for one in (*section.tables, *section.more):
            told += [one.caption, *one.columns[one.labels :]]
    words = " ".join(told)
    for english in (" the ", " of ", " seeds", " is ", "better", "mean"):
        assert english not in words
    assert "共享" in words
