"""Gradient conflict, the tasks' weights, and how alike maps are: each figure worked out by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from reports import RunWriter, read_runs
from reports.agreeing import agreement_of, planned
from reports.document import Section
from reports.likeness import alike, over_pairs, ranked
from reports.sections.agreement import agreement
from reports.sections.conflict import conflict
from reports.sections.weights import weights
from reports.tables import Experiment
from reports.wording import LANGUAGES, Say
from tests.reports.make import describe, three_variants

STEPS = 4


def write(
    root: Path, variant: str, seed: int, tasks: list[str], maps: dict[str, np.ndarray], **arrays: Any
) -> None:
    """A run that measured something on 4 steps and has maps {task: [N, H, W]} of N inputs."""
    with RunWriter(
        root / f"{variant}--s{seed}",
        experiment={"name": "toy", "question": "?", "baseline": None, "reference": "equal"}, variant=variant,
        seed=seed, tasks=[describe(task) for task in tasks], config={}, command=[], data={},
        selection="last", tuning_budget="none",
    ) as run:  # fmt: skip
        run.log(
            [
                {"step": 1, "epoch": 0, "split": "test", "task": t, "metric": "accuracy", "value": 0.5}
                for t in tasks
            ]
        )
        if arrays:
            run.dynamics(step=np.arange(1, STEPS + 1), tasks=tasks, groups=["low", "high"], **arrays)
        if maps:
            shape = next(iter(maps.values())).shape
            run.save_examples(np.random.default_rng(0).random((shape[0], 1, *shape[1:])), {})
            for task, values in maps.items():
                zeros = np.zeros(shape[0], dtype=int)
                run.save_attribution("gradient", task, maps=values, prediction=zeros, label=zeros)
        run.finish({})


def cosines(*pairs: list[float]) -> np.ndarray:
    """[4, 3, 3] for the pairs ab, ac, bc, each with a cosine a step."""
    found = np.tile(np.eye(3), (STEPS, 1, 1))
    for (i, j), values in zip(((0, 1), (0, 2), (1, 2)), pairs, strict=True):
        found[:, i, j] = found[:, j, i] = values
    return found


def texts(section: Section, key: str) -> list[list[str]]:
    return next(t.texts() for t in [*section.tables, *section.more] if t.key == key)


def test_conflict_by_pair_by_group_and_over_time(tmp_path: Path) -> None:
    nan = np.nan
    whole = cosines([0.5, -0.5, nan, -0.5], [0.5] * 4, [0.1, 0.1, -0.1, 0.1])
    groups = np.stack(
        [cosines([0.2] * 4, [0.2] * 4, [0.2] * 4), -cosines([0.4] * 4, [0.4] * 4, [0.4] * 4)], axis=1
    )
    write(tmp_path, "equal", 0, ["a", "b", "c"], {}, cosines=whole, group_cosines=groups)
    section = conflict(Experiment(read_runs(tmp_path)), Say())
    one = "(one seed: no interval)"
    assert texts(section, "cosines") == [
        ["equal", "a and b", f"-0.17 {one}", f"66.7% {one}"],  # the step without a label counts for nothing
        ["equal", "a and c", f"0.50 {one}", f"0.0% {one}"],
        ["equal", "b and c", f"0.05 {one}", f"25.0% {one}"],
    ]
    [finding] = section.findings
    assert "of 3 pairs of tasks a and b conflict most, in 66.7%" in finding.text
    assert "a and c least, in 0.0%" in finding.text
    charts = {chart.key: chart.data for chart in section.charts}
    assert charts["cosine-a-b"]["step"] == [1, 2, 4]
    assert charts["cosine-by-group"]["values"] == [pytest.approx([0.2, -0.4])]
    assert charts["cosine-over-time"]["values"] == [pytest.approx([0.2] * 4), pytest.approx([-0.4] * 4)]
    assert charts["cosine-over-time"]["columns"] == ["1", "2", "3", "4"]


def test_no_step_in_conflict_is_said(tmp_path: Path) -> None:
    section = conflict(Experiment(read_runs(three_variants(tmp_path, seeds=2, maps=False))), Say())
    assert section.findings[0].text == "equal: no pair of tasks was in conflict at any logged step."


def test_weights_raw_and_as_share_and_why_a_variant_has_none(tmp_path: Path) -> None:
    given = np.array([[1.0, 3.0], [1.0, 1.0], [2.0, np.nan], [0.0, 4.0]])
    square = np.tile(np.eye(2), (STEPS, 1, 1))
    write(tmp_path, "equal", 0, ["a", "b"], {}, weights=given, cosines=square)
    write(tmp_path, "pcgrad", 0, ["a", "b"], {}, weights=np.full((4, 2), np.nan), cosines=square)
    write(tmp_path, "single", 0, ["a", "b"], {})
    section = weights(Experiment(read_runs(tmp_path)), Say())
    assert [[cell.value for cell in row[2:]] for row in section.tables[0].rows] == [
        pytest.approx([1.0, (0.25 + 0.5 + 1.0 + 0.0) / 4, 0.25, 0.0]),
        pytest.approx([8 / 3, (0.75 + 0.5 + 1.0) / 3, 0.75, 1.0]),
    ]
    assert section.notes == [
        "pcgrad: its method does more to the gradients than one weight a task can say",
        "single: its runs logged no weights",
    ]
    assert [chart.key for chart in section.charts] == [
        "weights-share-a",
        "weights-share-b",
        "weights-raw-a",
        "weights-raw-b",
    ]
    assert section.charts[1].data["step"] == [1, 2, 4]


def test_without_weights_the_section_says_why(tmp_path: Path) -> None:
    write(tmp_path, "single", 0, ["a"], {}, weights=np.ones((4, 1)), cosines=np.ones((4, 1, 1)))
    section = weights(Experiment(read_runs(tmp_path)), Say())
    assert section.missing
    assert section.notes == ["single: one model a task, so there is nothing to weigh"]


def test_likeness_is_spearman_and_intersection_over_union() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.standard_normal((2, 5, 6, 6)).round(1)  # rounded: with ties
    found = alike(ranked(ours), ranked(theirs))
    expected = [
        stats.spearmanr(abs(a).ravel(), abs(b).ravel()).statistic for a, b in zip(ours, theirs, strict=True)
    ]
    assert found.rank == pytest.approx(np.mean(expected), abs=1e-6)
    overlaps = []
    for a, b in zip(ours, theirs, strict=True):
        one, two = (set(np.argsort(-abs(m).ravel(), kind="stable")[:4]) for m in (a, b))
        overlaps.append(len(one & two) / len(one | two))
    assert found.overlap == pytest.approx(np.mean(overlaps))


def test_maps_of_one_value_or_of_nan_are_like_nothing() -> None:
    maps = np.random.default_rng(0).random((3, 4, 4))
    broken = maps.copy()
    broken[0], broken[1, 0, 0] = 1.0, np.nan
    assert alike(ranked(maps), ranked(broken)).rank == pytest.approx(1.0)
    assert np.isnan(alike(ranked(maps[:1]), ranked(broken[:1])).rank)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_jackknife_over_seeds_covers(seeds: int) -> None:
    """Pairs of seeds share what is particular to each seed: the interval must know that they do."""
    rng, held, draws = np.random.default_rng(seeds), 0, 2000
    for _ in range(draws):
        own, noise = rng.standard_normal(seeds), rng.standard_normal((seeds, seeds))
        pairs = {
            (i, j): float(own[i] + own[j] + noise[i, j]) for i in range(seeds) for j in range(i + 1, seeds)
        }
        found = over_pairs(pairs)
        held += found.low <= 0 <= found.high
    assert held / draws >= 0.93  # wider than it need be where the pairs' own noise is large


def test_agreement_of_tasks_seeds_and_variants(tmp_path: Path) -> None:
    """Task b sees what task a sees in 'equal' and its opposite in 'other'."""
    one = np.arange(1.0, 33.0).reshape(2, 4, 4)
    one[1] = one[1].T
    opposite = one.max() + 1 - one
    for seed in (0, 1, 2):
        write(tmp_path, "equal", seed, ["a", "b"], {"a": one, "b": -one})  # signs do not matter
        write(tmp_path, "other", seed, ["a", "b"], {"a": one, "b": opposite})
    found = agreement_of(read_runs(tmp_path))
    assert found.tasks.groupby("variant")["rank"].mean().to_dict() == pytest.approx(
        {"equal": 1.0, "other": -1.0}
    )
    assert found.seeds["rank"].tolist() == pytest.approx([1.0] * 12)
    assert found.variants.groupby("task")["rank"].mean().to_dict() == pytest.approx({"a": 1.0, "b": -1.0})
    assert (found.tasks["rank_other"].abs() < 0.99).all()
    section = agreement(Experiment(read_runs(tmp_path)), Say())
    assert "equal: the maps of two tasks on one input correlate at 1.00" in section.findings[0].text
    assert "more alike than of different inputs" in section.findings[0].text
    assert [row[:3] for row in texts(section, "agreement-tasks")] == [
        ["equal", "gradient", "1.00 [1.00, 1.00]"], ["other", "gradient", "-1.00 [-1.00, -1.00]"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("variants", "told"), [(5, "Yes, in this experiment: the correlation is 0.9"), (3, "runs")]
)
def test_agreement_and_conflict_go_together(tmp_path: Path, variants: int, told: str) -> None:
    """The more two gradients agree, the more the maps do: by construction."""
    base, noise = np.random.default_rng(1).random((2, 3, 8, 8))
    for k in range(variants):
        for seed in (0, 1):
            share = (k + 0.3 * seed) / 4
            maps = {"a": base, "b": share * base + (1 - share) * noise}
            square = np.tile(np.array([[1.0, share - 0.5], [share - 0.5, 1.0]]), (STEPS, 1, 1))
            write(tmp_path, f"v{k}", seed, ["a", "b"] if seed else ["b", "a"], maps, cosines=square)
    section = agreement(Experiment(read_runs(tmp_path)), Say())
    finding = next(f for f in section.findings if f.key == "agreement-conflict")
    assert told in finding.text
    assert ("not independent" in finding.text) == (variants == 3)
    chart = next(chart for chart in section.charts if chart.kind == "scatter")
    assert len(chart.data["x"]) == (5 if variants == 5 else 6)


def test_too_few_points_are_no_finding(tmp_path: Path) -> None:
    for k in range(2):
        maps = dict(zip("ab", np.random.default_rng(k).random((2, 2, 4, 4)), strict=True))
        square = np.tile(np.array([[1.0, 0.1 * k], [0.1 * k, 1.0]]), (STEPS, 1, 1))
        write(tmp_path, f"v{k}", 0, ["a", "b"], maps, cosines=square)
    section = agreement(Experiment(read_runs(tmp_path)), Say())
    finding = next(f for f in section.findings if f.key == "agreement-conflict")
    assert finding.text.startswith("Not enough points for an interval")


def test_the_work_is_bounded_and_says_what_it_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = {"a": np.random.default_rng(0).random((6, 4, 4)), "b": np.random.default_rng(1).random((6, 4, 4))}
    write(tmp_path, "equal", 0, ["a", "b"], maps)
    write(tmp_path, "equal", 1, ["a", "b"], maps)
    write(tmp_path, "other", 0, ["a"], {"a": maps["a"][:3]})  # explains other inputs
    monkeypatch.setattr("reports.agreeing.MAX_VALUES", 4 * 16 * 3)
    plan = planned(read_runs(tmp_path))
    assert (plan.inputs, plan.of_inputs, len(plan.left_out)) == (3, 6, 1)
    notes = agreement(Experiment(read_runs(tmp_path)), Say()).notes
    assert notes[0] == "The first 3 of 6 inputs are compared, to keep the work small"
    assert "1 run left out, for their maps explain other inputs (other--s0)" in notes[1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_in_every_language(tmp_path: Path, language: str) -> None:
    experiment = Experiment(read_runs(three_variants(tmp_path, seeds=2)))
    for section in (conflict, weights, agreement):
        assert not section(experiment, Say(language)).missing
