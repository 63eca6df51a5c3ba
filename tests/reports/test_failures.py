"""What failed, where it came from and how to get it again: nothing in silence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports import read_runs
from reports.document import Section
from reports.joining import set_aside_duplicates
from reports.sections.failures import failures
from reports.sections.provenance import provenance
from reports.sections.reproduce import reproduce
from reports.tables import Experiment
from reports.wording import LANGUAGES, Say
from tests.reports.make import three_variants, write_run

SCORES = {"left": {"accuracy": 0.9}, "right": {"accuracy": 0.8}}


def change(folder: Path, **info: Any) -> None:
    file = folder / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | info))


def rows(section: Section, key: str) -> list[list[str]]:
    return next((table.texts() for table in section.tables if table.key == key), [])


def test_runs_that_did_not_finish_are_told_with_step_and_traceback(tmp_path: Path) -> None:
    write_run(tmp_path, "equal", 0, SCORES)
    change(
        write_run(tmp_path, "equal", 1, SCORES), status="failed", error="E: broke", traceback="Traceback <b>"
    )
    change(write_run(tmp_path, "equal", 2, SCORES), status="running")
    section = failures(Experiment(read_runs(tmp_path)), Say())
    assert rows(section, "unfinished") == [
        ["equal--s1", "equal", "1", "failed", "E: broke", "3"],
        ["equal--s2", "equal", "2", "unfinished", "it said nothing: killed, or running still", "3"],
    ]
    assert section.texts == [("Traceback of equal--s1", "Traceback <b>")]
    assert not section.findings


def test_nothing_failed_is_said(tmp_path: Path) -> None:
    section = failures(Experiment(read_runs(three_variants(tmp_path, seeds=2, maps=False))), Say())
    assert [(f.heading, f.tone) for f in section.findings] == [("Nothing failed", "good")]
    assert section.tables == []


def test_seeds_that_a_variant_lacks(tmp_path: Path) -> None:
    for variant, seed in (("equal", 0), ("equal", 1), ("equal", 4), ("upgrad", 1)):
        write_run(tmp_path, variant, seed, SCORES, maps=False)
    assert rows(failures(Experiment(read_runs(tmp_path)), Say()), "absent") == [["upgrad", "0, 4", "1"]]


def test_divergence_is_where_it_began(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "equal", 0, SCORES, maps=False)
    with (folder / "metrics.jsonl").open("a") as file:
        for step, value in ((5, "nan"), (6, "inf")):
            row = {
                "step": step,
                "epoch": 1,
                "split": "train",
                "task": "left",
                "metric": "loss",
                "value": value,
            }
            file.write(json.dumps(row) + "\n")
    arrays = dict(np.load(folder / "dynamics.npz"))
    arrays["losses"][1:, 1] = np.inf
    arrays["losses"][0, 0] = np.nan  # a batch without a label of that task: not a divergence
    np.savez(folder / "dynamics.npz", **arrays)
    assert rows(failures(Experiment(read_runs(tmp_path)), Say()), "diverged") == [
        ["equal--s0", "left", "loss, train", "nan", "5", "2"],
        ["equal--s0", "right", "training loss", "inf", "2", "2"],
    ]


def test_undefined_scores_and_torn_files_are_counted(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "equal", 0, SCORES)
    scores = folder / "attributions" / "scores.csv"
    lines = scores.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if ",relevance_mass,left,given," in line)
    parts = lines[first].split(",")
    lines[first] = ",".join([*parts[:6], "", parts[7]])
    scores.write_text("\n".join(lines))
    (folder / "dynamics.npz").write_text("x")
    (folder / "attributions" / "gradient" / "left.npz").write_bytes(b"PK\x03\x04torn")
    (folder / "summary.json.tmp").write_text("{")
    section = failures(Experiment(read_runs(tmp_path)), Say())
    assert rows(section, "undefined") == [["gradient", "relevance_mass", "given", "1", "8", "12.5%"]]
    told = [text for _, text in rows(section, "remarks")]
    assert any(text.startswith("dynamics.npz cannot be read") for text in told)
    assert any("attributions/gradient/left.npz cannot be read" in text for text in told)
    assert any("summary.json.tmp was left behind" in text for text in told)


def test_one_seed_in_two_folders_counts_once(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "equal", 0, {"left": {"accuracy": 0.1}}, maps=False)
    change(tmp_path / "a" / "equal--s0", status="failed")
    write_run(tmp_path / "b", "equal", 0, {"left": {"accuracy": 0.9}}, maps=False)
    write_run(tmp_path / "c", "equal", 0, {"left": {"accuracy": 0.5}}, maps=False)
    runs = read_runs(tmp_path)
    set_aside_duplicates(runs)
    experiment = Experiment(runs)
    assert experiment.values("equal", "left", "accuracy") == {0: 0.9}
    section = failures(experiment, Say())
    assert [row[0] for row in rows(section, "unfinished")] == ["a/equal--s0"]
    [(place, told)] = rows(section, "remarks")
    assert place == "c/equal--s0"
    assert "the same variant and seed as" in told
    statuses = {row[0]: row[3] for row in provenance(experiment, Say()).tables[0].texts()}
    assert statuses == {"a/equal--s0": "failed", "b/equal--s0": "done", "c/equal--s0": "set aside"}


def test_every_score_names_the_line_it_stands_on(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "equal", 3, SCORES, maps=False, command=["python", "-m", "toy", "a b"])
    text = (folder / "metrics.jsonl").read_text()
    (folder / "metrics.jsonl").write_text("{torn\n" + text)  # lines count what is torn too
    section = reproduce(Experiment(read_runs(tmp_path)), Say())
    table = section.more[0]
    for variant, seed, task, metric, split, _, file, line in table.texts():
        assert (variant, seed, file) == ("equal", "3", "equal--s3/metrics.jsonl")
        record = json.loads((tmp_path / file).read_text().splitlines()[int(line) - 1])
        assert (record["task"], record["metric"], record["split"]) == (task, metric, split)
        assert record["value"] == SCORES[task][metric]
    assert len(table.rows) == 2
    facts = {fact.name: fact.values[0][1] for fact in section.facts}
    assert facts["equal"].startswith("python -m toy 'a b'")


def test_a_recipe_is_run_again_from_its_config(tmp_path: Path) -> None:
    for seed in (0, 5):
        folder = write_run(
            tmp_path, "equal", seed, SCORES, maps=False, experiment={"name": "multimnist"},
            command=["python", "-m", "recipes", "multimnist", "--out", "x"],
        )  # fmt: skip
        change(folder, commit="abc", dirty=True)
    section = reproduce(Experiment(read_runs(tmp_path)), Say())
    facts = {fact.name: fact.values[0][1] for fact in section.facts}
    command = "python -m recipes multimnist --config RUNS/equal--s0/config.yaml --seeds 0 5 --out again"
    assert facts["equal"] == f"{command}\n# code: abc with uncommitted changes"
    assert "2 of 2 runs ran on code with uncommitted changes" in section.notes[0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_in_every_language(tmp_path: Path, language: str) -> None:
    change(write_run(tmp_path, "equal", 0, SCORES), status="failed")
    write_run(tmp_path, "equal", 1, SCORES)
    for section in (failures, provenance, reproduce):
        assert section(Experiment(read_runs(tmp_path)), Say(language)).heading
