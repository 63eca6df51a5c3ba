"""Δm by hand, its two conventions, pairing, and what takes part."""

from pathlib import Path

import pytest

from reports import read_runs
from reports.tables import Experiment
from tests.reports.make import describe, write_run


def experiment(root: Path) -> Experiment:
    return Experiment(read_runs(root))


def test_delta_m_by_hand(tmp_path: Path) -> None:
    """left +10%, right an error that falls by 20%: mean +15%."""
    tasks = [describe("left"), describe("right", {"error": False})]
    for seed in (0, 1):
        scale = 1 + seed
        write_run(
            tmp_path,
            "single",
            seed,
            {"left": {"accuracy": 0.4 * scale}, "right": {"error": 0.2 * scale}},
            tasks=tasks,
        )
        write_run(
            tmp_path,
            "equal",
            seed,
            {"left": {"accuracy": 0.44 * scale}, "right": {"error": 0.16 * scale}},
            tasks=tasks,
        )
    found = experiment(tmp_path).compare("equal", "single")
    assert found.over_tasks.mean == pytest.approx(0.15)
    assert found.by_task["left"].mean == pytest.approx(0.1)
    assert found.by_task["right"].mean == pytest.approx(0.2)
    assert found.over_tasks.paired
    assert found.over_tasks.sign == 1  # paired, the spread over seeds is gone
    assert experiment(tmp_path).compare("single", "equal").over_tasks.mean < 0


def test_the_two_conventions_can_disagree_in_sign(tmp_path: Path) -> None:
    """One task of three metrics at +10%, one of one metric at -20%: tasks -5%, metrics +2.5%."""
    many = {"a": True, "b": True, "c": True}
    tasks = [describe("left", many), describe("right")]
    write_run(
        tmp_path, "single", 0, {"left": dict.fromkeys(many, 0.5), "right": {"accuracy": 0.5}}, tasks=tasks
    )
    write_run(
        tmp_path, "equal", 0, {"left": dict.fromkeys(many, 0.55), "right": {"accuracy": 0.4}}, tasks=tasks
    )
    found = experiment(tmp_path).compare("equal", "single")
    assert found.over_tasks.mean == pytest.approx(-0.05)
    assert found.over_metrics.mean == pytest.approx(0.025)
    assert not found.over_tasks.has_interval  # one seed


def test_other_seeds_are_compared_unpaired_with_the_variance_of_both(tmp_path: Path) -> None:
    for seed, value in enumerate((0.5, 0.6)):
        write_run(tmp_path, "single", seed, {"left": {"accuracy": value}}, maps=False)
        write_run(tmp_path, "equal", seed + 5, {"left": {"accuracy": value + 0.1}}, maps=False)
    gain = experiment(tmp_path).compare("equal", "single").over_tasks
    assert not gain.paired
    assert gain.mean == pytest.approx(0.1 / 0.55)
    assert gain.low < 0 < gain.high


def test_the_loss_is_no_part_of_delta_m(tmp_path: Path) -> None:
    for variant, loss in (("single", 1.0), ("equal", 99.0)):
        write_run(
            tmp_path,
            variant,
            0,
            {"left": {"accuracy": 0.5, "loss": loss}},
            tasks=[describe("left")],
            maps=False,
        )
    assert experiment(tmp_path).compare("equal", "single").over_tasks.mean == 0


def test_a_base_that_changes_its_sign_has_no_relative_gain(tmp_path: Path) -> None:
    """R² of -0.1 and 0.1: any ratio to their mean is noise."""
    for seed, value in enumerate((-0.1, 0.1)):
        write_run(tmp_path, "single", seed, {"left": {"r2": value, "accuracy": 0.5}}, maps=False)
        write_run(tmp_path, "equal", seed, {"left": {"r2": 0.5, "accuracy": 0.6}}, maps=False)
    found = experiment(tmp_path).compare("equal", "single")
    assert found.undefined == ["left r2"]
    assert found.over_tasks.mean == pytest.approx(0.2)


def test_seeds_are_the_units_of_localisation(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, "equal", seed, {"left": {"accuracy": 0.5}, "right": {"accuracy": 0.5}})
    frame = experiment(tmp_path).localisation()
    own = frame[
        (frame["region"] == frame["task"]) & (frame["map"] == "given") & (frame["metric"] == "relevance_mass")
    ]
    assert len(own) == 2 * 3  # tasks x seeds, whatever the number of examples


def test_validation_stands_in_where_there_is_no_test(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "equal", 0, {"left": {"accuracy": 0.5}}, maps=False)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join(line for line in lines if '"test"' not in line) + "\n")
    scores = experiment(tmp_path).scores
    assert list(scores["split"]) == ["validation"]
    assert scores["value"].iloc[0] == pytest.approx(0.45)  # the last of the two


def test_the_two_kinds_of_comparison_get_half_of_the_claims_each(tmp_path: Path) -> None:
    """Weights by hand: one Δm and two tasks; p of .01 each are .02 for Δm and .04 for a task, before steps down."""
    for seed in range(3):
        write_run(tmp_path, "single", seed, {t: {"accuracy": 0.8} for t in ("left", "right")}, maps=False)
        noisy = {t: {"accuracy": 0.8 + 0.01 * (seed + 1) * (i + 1)} for i, t in enumerate(("left", "right"))}
        write_run(tmp_path, "equal", seed, noisy, maps=False)
    found = experiment(tmp_path).contrasts
    assert [(one.task, one.metric) for one in found] == [
        ("", ""),
        ("left", "accuracy"),
        ("right", "accuracy"),
    ]
    p = found[0].estimate.p  # the same for all three: each is a multiple of 1, 2, 3
    assert [one.estimate.p for one in found] == pytest.approx([p] * 3)
    assert found[0].adjusted == pytest.approx(2 * p)  # all weights over its own
    assert found[1].adjusted == found[2].adjusted == pytest.approx(2 * p)  # half is left, and shared by two


def test_lower_is_better_turns_the_verdict_and_not_the_difference(tmp_path: Path) -> None:
    tasks = [describe("left", {"error": False})]
    for seed in range(3):
        write_run(tmp_path, "single", seed, {"left": {"error": 0.4}}, tasks=tasks, maps=False)
        write_run(tmp_path, "equal", seed, {"left": {"error": 0.2 + 0.001 * seed}}, tasks=tasks, maps=False)
    found = experiment(tmp_path).contrast("equal", "single", "left")
    assert found is not None
    assert found.estimate.mean == pytest.approx(-0.199)
    assert found.verdict == 1


def test_the_baseline_is_not_compared_with_the_reference_a_second_time(tmp_path: Path) -> None:
    for variant in ("single", "equal", "upgrad"):
        write_run(tmp_path, variant, 0, {"left": {"accuracy": 0.5}}, maps=False)
    found = experiment(tmp_path)
    assert found.bases == ["single", "equal"]
    assert found.compared_with("single") == ["equal", "upgrad"]
    assert found.compared_with("equal") == ["upgrad"]


def test_a_metric_of_other_seeds_is_no_part_of_pairs(tmp_path: Path) -> None:
    """Runs share their seeds, but one metric was measured for others on either side: no mean of unlike things."""
    tasks = [describe("left", {"a": True, "b": True})]
    for variant, has_b in (("single", 0), ("equal", 1)):
        for seed in (0, 1):
            scores = {"a": 0.5 + 0.1 * (variant == "equal")} | ({"b": 0.9} if seed == has_b else {})
            write_run(tmp_path, variant, seed, {"left": scores}, tasks=tasks, maps=False)
    assert experiment(tmp_path).compare("equal", "single").over_tasks.mean == pytest.approx(0.2)


def test_ranks_by_hand(tmp_path: Path) -> None:
    for variant, left, right in (("single", 0.9, 0.5), ("equal", 0.8, 0.7), ("upgrad", 0.8, 0.6)):
        write_run(
            tmp_path, variant, 0, {"left": {"accuracy": left}, "right": {"accuracy": right}}, maps=False
        )
    assert experiment(tmp_path).ranks() == {"single": 2.0, "equal": 1.75, "upgrad": 2.25}
