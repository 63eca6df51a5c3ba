"""Any set of runs in one report: folders, experiments, roles, tasks; nothing counted twice or merged in silence."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import reports
from reports.document import Report
from reports.joining import gathered, joined
from reports.tables import Experiment
from reports.wording import Say
from tests.reports.make import describe, three_variants, write_run

LEVELS = {"single": 0.80, "equal": 0.82}


def write(root: Path, name: str, level: float = 0.0, seeds: int = 2, **options: Any) -> Path:
    """single and equal on two tasks, the second one "right"."""
    for seed in range(seeds):
        for variant, own in LEVELS.items():
            score = {"accuracy": own + level + 0.01 * seed + 0.001 * seed * len(variant)}
            write_run(
                root, variant, seed, {"left": score, "right": score}, maps=False,
                **{"experiment": {"name": name, "reference": "equal"}, **options},
            )  # fmt: skip
    return root


def experiment_of(*folders: Path, **options: Any) -> tuple[Experiment, list[str]]:
    runs, warnings = joined(gathered(folders), Say(), **options)
    return Experiment(runs), warnings


def table(report: Report, key: str) -> dict[tuple[str, ...], list[float | None]]:
    found = next(t for t in report.every_table() if t.key == key)
    return {
        tuple(c.text for c in row[: found.labels]): [c.value for c in row[found.labels :]]
        for row in found.rows
    }


def test_a_run_counts_once_by_whatever_path_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path / "runs", "toy")
    (tmp_path / "link").symlink_to(root)
    monkeypatch.chdir(tmp_path)
    given = [root, Path("runs"), root / "equal--s0", tmp_path / "link", root / ".." / "runs"]
    assert len(gathered(given)) == 4
    assert reports.compare([str(one) for one in given]) == reports.compare(root)


def test_several_folders_of_one_experiment_are_one_set_of_seeds(tmp_path: Path) -> None:
    """And the order in which they are named changes nothing."""
    for seed in range(12):
        write_run(tmp_path / f"{seed % 3}" / "deep", "equal", seed, {"left": {"accuracy": 0.5 + seed / 100}})
    folders = [tmp_path / "0", tmp_path / "1" / "deep", tmp_path / "2"]
    experiment, warnings = experiment_of(*folders)
    assert [run.seed for run in experiment.runs] == list(range(12))  # by number, not by name
    assert experiment.variants == ["equal"]
    assert warnings == []
    assert reports.compare(folders) == reports.compare(folders[::-1]) == reports.compare(tmp_path)


def test_single_run_directories_can_be_picked(tmp_path: Path) -> None:
    root = write(tmp_path, "toy")
    report = reports.compare([root / "equal--s0", root / "single--s0"])
    assert report.scope == "2 tasks, 2 variants, 1 seed, 2 runs."


def test_variants_of_several_experiments_are_told_by_both_names(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", "digits"), write(tmp_path / "two", "faces", level=0.1)
    experiment, warnings = experiment_of(one, two)
    assert experiment.name == "digits + faces"
    assert experiment.question == "digits: Does it help? faces: Does it help?"
    assert experiment.variants == ["digits/equal", "digits/single", "faces/equal", "faces/single"]
    assert experiment.tasks == ["left", "right"]
    assert experiment.values("faces/equal", "left", "accuracy")[0] == pytest.approx(0.92)
    assert experiment.values("digits/equal", "left", "accuracy")[0] == pytest.approx(0.82)
    assert experiment.baseline is None
    assert len(warnings) == 2
    assert "(digits/single and faces/single)" in warnings[0]
    assert "Choose one with --baseline" in warnings[0]
    assert warnings[0] in reports.compare(tmp_path).warnings


def test_roles_can_be_chosen_by_the_reports_names(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", "digits"), write(tmp_path / "two", "faces", level=0.1)
    experiment, warnings = experiment_of(one, two, baseline="digits/single", reference="faces/equal")
    assert (experiment.baseline, experiment.reference) == ("digits/single", "faces/equal")
    assert experiment.variants[:2] == ["digits/single", "faces/equal"]
    assert warnings == []
    gain = experiment.compare("faces/equal", "digits/single").over_tasks.mean
    assert gain == pytest.approx(0.15, abs=0.01)


@pytest.mark.parametrize(("options", "told"), [
    ({"baseline": "singel"}, "baseline 'singel' is no variant of these runs; did you mean 'single'? known: "
     "equal, single"),
    ({"reference": "mgda"}, "reference 'mgda' is no variant of these runs; known: equal, single"),
    ({"baseline": "broken"}, "baseline 'broken' has no finished run; known: equal, single"),
])  # fmt: skip
def test_a_role_that_is_not_there_names_the_nearest(
    tmp_path: Path, options: dict[str, str], told: str
) -> None:
    root = write(tmp_path, "toy")
    folder = write_run(root, "broken", 0, {"left": {"accuracy": 0.5}}, maps=False)
    info = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(info | {"status": "failed"}))
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the words are compared below
        reports.compare(root, **options)  # type: ignore[arg-type]
    assert str(error.value) == told


def test_an_experiment_keeps_its_roles_where_only_it_has_them(tmp_path: Path) -> None:
    one = write(tmp_path / "one", "digits")
    two = write(tmp_path / "two", "faces", experiment={"name": "faces", "baseline": None, "reference": None})
    experiment, warnings = experiment_of(one, two)
    assert (experiment.baseline, experiment.reference) == ("digits/single", "digits/equal")
    assert warnings == []


def test_the_same_seed_twice_is_kept_apart_by_folder(tmp_path: Path) -> None:
    """Two attempts at one experiment are what one compares most: neither averaged nor dropped."""
    old, new = write(tmp_path / "old" / "toy", "toy"), write(tmp_path / "new" / "toy", "toy", level=0.1)
    experiment, warnings = experiment_of(old, new)
    assert experiment.variants == ["new/equal", "new/single", "old/equal", "old/single"]
    assert len(experiment.done) == 8
    assert experiment.values("old/equal", "left", "accuracy")[0] == pytest.approx(0.82)
    assert experiment.values("new/equal", "left", "accuracy")[0] == pytest.approx(0.92)
    assert warnings[0].startswith("toy: the same variant and seed lie in several folders (new and old).")
    report = reports.compare(tmp_path, baseline="old/equal")
    assert report.seeds["new/equal"] == [0, 1]
    assert report.warnings[0] == warnings[0]
    other = write(tmp_path / "other", "other")
    experiment, _ = experiment_of(old, new, other)
    assert "toy/old/equal" in experiment.variants
    assert "other/equal" in experiment.variants


def test_the_same_seed_is_no_matter_where_only_one_of_them_finished(tmp_path: Path) -> None:
    old, new = write(tmp_path / "old", "toy"), write(tmp_path / "new", "toy")
    for folder in old.iterdir():
        info = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(info | {"status": "failed"}))
    experiment, warnings = experiment_of(old, new)
    assert experiment.variants == ["single", "equal"]
    assert len(experiment.done) == 4
    assert warnings == []


def test_names_that_would_meet_are_refused(tmp_path: Path) -> None:
    """Experiment "a" with variant "b/c" and experiment "a/b" with variant "c"."""
    write_run(tmp_path / "1", "b/c", 0, {"left": {"accuracy": 0.1}}, experiment={"name": "a"}, maps=False)
    write_run(tmp_path / "2", "c", 1, {"left": {"accuracy": 0.9}}, experiment={"name": "a/b"}, maps=False)
    with pytest.raises(ValueError, match="two different variants would be called 'a/b/c'"):
        reports.compare(tmp_path)
    other = tmp_path / "tasks"
    for name, metrics in (("x", {"accuracy": True}), ("y", {"error": False})):
        describes = [describe("left", metrics), describe("left (x)")]
        test = {"left": dict.fromkeys(metrics, 0.5), "left (x)": {"accuracy": 0.5}}
        write_run(other / name, "equal", 0, test, tasks=describes, experiment={"name": name}, maps=False)
    with pytest.raises(ValueError, match=r"two different tasks would be called 'left \(x\)'"):
        reports.compare(other)


def differing(root: Path, **options: Any) -> None:
    """Experiments x and y have tasks "left" of other metrics, and the same task "right"; with maps, masks, dynamics."""
    for name, metric, value in (("x", "accuracy", 0.5), ("y", "error", 0.25)):
        test: Mapping[str, Mapping[str, float]] = {"left": {metric: value}, "right": {"accuracy": 0.75}}
        tasks = [describe("left", {metric: metric == "accuracy"}), describe("right")]
        write_run(root / name, "equal", 0, test, tasks=tasks, experiment={"name": name}, **options)


def test_tasks_of_one_name_and_other_metrics_are_kept_apart_everywhere(tmp_path: Path) -> None:
    differing(tmp_path)
    experiment, warnings = experiment_of(tmp_path)
    assert experiment.tasks == ["left (x)", "right", "left (y)"]
    assert experiment.values("x/equal", "left (x)", "accuracy") == {0: 0.5}
    assert experiment.values("y/equal", "left (y)", "error") == {0: 0.25}
    assert experiment.values("y/equal", "right", "accuracy") == {0: 0.75}
    assert any("left (x) and left (y)" in warning for warning in warnings)
    run = experiment.of("x/equal")[0]
    assert set(run.scores["task"]) == set(run.scores["region"]) == {"left (x)", "right"}
    assert list(run.dynamics["tasks"]) == ["left (x)", "right"]
    assert run.examples is not None
    assert set(run.examples.masks) == {"left (x)", "right"}
    assert {found.task for found in run.attributions()} == {"left (x)", "right"}
    page = reports.build(tmp_path, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "left (y)" in page


def test_nothing_in_the_run_directories_changes(tmp_path: Path) -> None:
    differing(tmp_path / "runs")
    before = {f: f.read_bytes() for f in sorted(tmp_path.rglob("*")) if f.is_file()}
    reports.compare(tmp_path / "runs")
    assert {f: f.read_bytes() for f in sorted(tmp_path.rglob("*")) if f.is_file()} == before


def test_runs_of_a_variant_with_other_options_are_told(tmp_path: Path) -> None:
    for seed, lr in ((0, 0.1), (1, 0.1), (2, 0.01)):
        config = {"lr": lr, "seeds": [seed], "out": str(seed)}
        write_run(tmp_path, "equal", seed, {"left": {"accuracy": 0.5}}, config=config, maps=False)
    assert experiment_of(tmp_path)[1] == ["equal: its runs differ in more than the seed: lr (0.1, 0.01)."]


def test_conditions_choose_before_anything_else(tmp_path: Path) -> None:
    write(tmp_path / "one", "digits")
    write(tmp_path / "two", "faces", level=0.1)
    report = reports.compare(tmp_path, where=["experiment=faces", "variant=equal", "seed<1"])
    assert report.variants == ["equal"]
    assert report.title == "faces"
    assert report.seeds == {"equal": [0]}


def test_a_folder_without_runs_among_others_is_named(tmp_path: Path) -> None:
    root = write(tmp_path / "runs", "toy")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no run in .*empty"):
        reports.compare([root, tmp_path / "empty"])
    with pytest.raises(ValueError, match="give at least one folder"):
        reports.compare([])


def test_a_copy_beside_its_original_counts_once(tmp_path: Path) -> None:
    root = three_variants(tmp_path, maps=False)
    before = reports.compare(root)
    shutil.copytree(root / "equal--s0", root / "equal--s0 (copy)")
    report = reports.compare(root)
    assert report.seeds == before.seeds
    assert table(report, "scores") == table(before, "scores")
    remarks = next(t for t in report.every_table() if t.key == "remarks")
    assert "the same variant and seed as equal--s0; set aside" in str(remarks.texts())
    assert "set aside" not in str(reports.compare(root, where="run!=*copy*").sections)
