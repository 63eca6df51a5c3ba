"""Sweeps from the command line to the best config: real processes, real kills, one journal."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

import reports
from mtl.training.checkpoint import whole
from recipes import balancers_toy
from recipes.__main__ import main
from recipes.config import load_yaml
from recipes.sweep.objective import parse_objective
from recipes.sweep.results import front, ideal_first
from tests.recipes.commands import Command

optuna = pytest.importorskip("optuna")

ROOT = Path(__file__).parents[2]
TOY = ["balancers_toy", "--problems", "quadratic", "--steps", "20", "--variants", "equal", "pcgrad"]
LOOK = ["--objective", "min:distance@train"]


def space(folder: Path, text: str = "lr: {low: 1e-2, high: 1.0, log: true}\n") -> list[str]:
    file = folder / "space.yaml"
    file.write_text(text, encoding="utf-8")
    return ["--space", str(file)]


def start(line: list[str]) -> Command:
    return Command("sweep", *line)


def table(out: Path) -> list[dict[str, str]]:
    with (out / "trials.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Two commands that start at the same moment on one journal; a space with a block for one variant."""
    folder = tmp_path_factory.mktemp("sweep")
    text = (
        "lr: {low: 1e-2, high: 1.0, log: true}\nvariants: {pcgrad: {steps: {low: 10, high: 20, step: 10}}}\n"
    )
    line = [*TOY, *LOOK, *space(folder, text), "--trials", "4", "--top", "2", "--fresh-seeds", "2"]
    line += ["--workers", "1", "--out", str(folder / "out")]
    with start(line) as first, start(line) as second:
        ended = [command.end(timeout=300) for command in (first, second)]
    printed = [text for _, text in ended]
    assert [status for status, _ in ended] == [0, 0], printed
    return folder / "out", printed


@pytest.mark.slow
def test_two_commands_share_one_sweep(joined: tuple[Path, list[str]]) -> None:
    out, printed = joined
    rows = table(out)
    searched = Counter(row["variant"] for row in rows if row["stage"] == "search")
    assert searched == {"equal": 4, "pcgrad": 4}  # equal budgets
    assert {row["state"] for row in rows} == {"done"}
    assert len(list((out / "trials").iterdir())) == 8  # each was run once
    assert sum(text.count("trial ") for text in printed) == 8 + 2 * 2 * 2  # and by one of the two
    assert {row["steps"] for row in rows if row["variant"] == "equal" and row["stage"] == "search"} == {""}
    assert {row["steps"] for row in rows if row["variant"] == "pcgrad"} <= {"10", "20"}
    trial = reports.read_run(out / rows[0]["folder"])
    assert trial.config["lr"] == float(rows[0]["lr"])
    assert trial.info["tuning_budget"].startswith("4 trials by tpe over lr, judged by min:distance@train")


@pytest.mark.slow
def test_the_best_are_run_again_with_seeds_that_no_trial_used(joined: tuple[Path, list[str]]) -> None:
    out, printed = joined
    runs = reports.read_runs(out / "reruns")
    assert {(run.variant, run.seed) for run in runs} == {
        (name, seed) for name in ("equal", "equal #2", "pcgrad", "pcgrad #2") for seed in (1, 2)
    }
    assert {run.seed for run in reports.read_runs(out / "trials")} == {0}
    scores = {
        row["folder"]: float(row["min:distance@train"]) for row in table(out) if row["variant"] == "equal"
    }
    best = min((value, name) for name, value in scores.items() if name.startswith("trials"))
    again = next(run for run in runs if run.variant == "equal")
    assert again.config["lr"] == reports.read_run(out / best[1]).config["lr"]
    assert "tuning budget of equal: 4 trials by tpe over lr" in printed[0]
    assert "equal #2" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_best_config_runs_unchanged(joined: tuple[Path, list[str]]) -> None:
    out, _ = joined
    options = load_yaml(out / "best.yaml", balancers_toy.Options)
    assert options.seeds == (1, 2)
    assert len(options.variants) == 1
    assert main(["balancers_toy", "--config", str(out / "best.yaml")]) == 0
    assert len(reports.read_runs(out / "best")) == 2


@pytest.mark.slow
def test_another_setting_on_the_same_storage_is_refused(
    joined: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = joined
    line = [
        "sweep",
        *TOY,
        *LOOK,
        "--space",
        str(out.parent / "space.yaml"),
        "--top",
        "2",
        "--fresh-seeds",
        "2",
    ]
    assert main([*line, "--trials", "5", "--out", str(out)]) == 2
    assert "trials: 4 there, 5 here); give the same, or another --storage" in capsys.readouterr().err
    elsewhere = ["--out", str(out.parent / "b"), "--storage", str(out / "sweep.journal")]
    assert main([*line, "--trials", "4", "--sampler-seed", "1", *elsewhere]) == 2
    assert "sampler_seed: 0 there, 1 here" in capsys.readouterr().err


@pytest.mark.slow
def test_kills_lose_nothing(tmp_path: Path) -> None:
    """SIGKILL to a command, to the process of a trial, and SIGTERM to a command; a later command ends the sweep."""
    out = tmp_path / "out"
    line = [*TOY, *LOOK, *space(tmp_path), "--trials", "2", "--fresh-seeds", "1", "--workers", "1"]
    line += ["--steps", "150", "--sampler", "random", "--out", str(out)]

    def pid_of_a_new_run(seen: set[int]) -> int:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            for file in out.glob("trials/*/run.json"):
                info = json.loads(file.read_text())
                if info["status"] == "running" and info["pid"] not in seen:
                    seen.add(info["pid"])
                    return int(info["pid"])
            time.sleep(0.02)
        raise AssertionError("no run was started")

    seen: set[int] = set()
    with start(line) as first:
        pid_of_a_new_run(seen)
        first.send(signal.SIGKILL)  # its trial ends by itself, and is recovered by the next command
    with start(line) as second:
        os.kill(pid_of_a_new_run(seen), signal.SIGKILL)
        pid_of_a_new_run(seen)
        second.send(signal.SIGTERM)
        status, printed = second.end(timeout=120)
    assert status == 143
    assert "its worker is gone" in printed
    assert "killed by signal 9 (SIGKILL)" in printed
    assert "interrupted: the finished trials are kept" in printed
    with start(line) as third:
        status, printed = third.end()
    assert status == 0, printed
    rows = [row for row in table(out) if row["stage"] == "search"]
    assert Counter(row["variant"] for row in rows) == {"equal": 2, "pcgrad": 2}
    assert {row["state"] for row in rows} == {"done"}
    assert max(int(row["attempts"]) for row in rows) > 1
    fresh = {row["lr"] for row in rows if row["variant"] == "equal"}
    assert len(fresh) == 2
    statuses = Counter(run.status for run in reports.read_runs(out / "trials"))
    assert statuses["done"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", ["whole", "damaged"])
def test_a_killed_trial_goes_on_from_its_checkpoint(tmp_path: Path, checkpoint: str) -> None:
    """kill -9 of the command and of its trial at once. A mark in the checkpoint shows whether it was read."""
    out = tmp_path / "out"
    line = ["linear_regression", "--variants", "full_batch", "--steps", "1500", "--objective", "min:loss"]
    line += [*space(tmp_path, "lr: {choices: [0.1]}\n"), "--sampler", "grid", "--fresh-seeds", "1"]
    line += ["--workers", "1", "--out", str(out)]
    run, mark = out / "trials" / "full_batch--t0000", 123.5
    last = run / "checkpoints" / "last"
    with start(line) as first:
        deadline = time.monotonic() + 120
        while not last.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        for pid in (first.pid, json.loads((run / "run.json").read_text())["pid"]):
            os.kill(pid, signal.SIGKILL)
    left = whole(last) / "state.pt"
    if checkpoint == "whole":
        state = torch.load(left, weights_only=True)
        state["records"][0]["value"] = mark
        torch.save(state, left)
    else:
        left.write_bytes(left.read_bytes()[:1000])
    with start(line) as second:
        status, printed = second.end()
    assert status == 0, printed
    [row] = [row for row in table(out) if row["stage"] == "search"]
    if checkpoint == "whole":
        assert (row["folder"], row["attempts"]) == ("trials/full_batch--t0000", "2")
        found = reports.read_run(run)
        assert [session["status"] for session in found.info["sessions"]] == ["killed", "done"]
        assert found.metrics["value"].iloc[0] == mark
        assert len(list((out / "trials").iterdir())) == 1
    else:
        assert (row["folder"], row["attempts"]) == ("trials/full_batch--t0002", "3")
        assert "state.pt is damaged" in printed
        assert "it begins anew" in printed
    assert reports.read_run(out / row["folder"]).info["cost"]["steps"] == 1500


@pytest.mark.slow
def test_a_trial_that_falls_behind_is_pruned(tmp_path: Path) -> None:
    """Of six learning rates the one that barely moves comes last (seed 19 of the sampler) and is ended early."""
    out = tmp_path / "out"
    rates = "lr: {choices: [0.1, 0.12, 0.14, 0.16, 0.2, 1e-7]}\n"
    line = [
        "sweep",
        "linear_regression",
        "--variants",
        "full_batch",
        "--steps",
        "2000",
        *space(tmp_path, rates),
    ]
    line += ["--objective", "min:loss", "--sampler", "grid", "--pruner", "median", "--workers", "1"]
    assert main([*line, "--sampler-seed", "19", "--fresh-seeds", "1", "--out", str(out)]) == 0
    rows = {row["lr"]: row for row in table(out) if row["stage"] == "search"}
    assert len(rows) == 6
    assert {row["state"] for lr, row in rows.items() if lr != "1e-07"} == {"done"}
    assert rows["1e-07"]["trial"] == "5"
    assert rows["1e-07"]["state"] == "pruned"
    run = reports.read_run(out / rows["1e-07"]["folder"])
    assert run.status == "interrupted"
    assert run.info["error"].startswith("pruned at step")


@pytest.mark.slow
def test_two_objectives_give_a_front(tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = ["sweep", "balancers_toy", "--problems", "quadratic", "--variants", "equal", *space(
        tmp_path, "steps: {choices: [5, 20, 80]}\nlr: {choices: [0.2]}\n"
    )]  # fmt: skip
    line += ["--objective", "min:distance@train", "min:cost.steps", "--sampler", "grid", "--top", "3"]
    assert main([*line, "--fresh-seeds", "1", "--out", str(out)]) == 0
    rows = [row for row in table(out) if row["stage"] == "search"]
    assert {row["on_front"] for row in rows} == {"yes"}  # more steps cost more, and come nearer
    assert len(reports.read_runs(out / "reruns")) == 3
    assert (out / "best.yaml").read_text().startswith("# The best nearest to the best of every objective")


def test_a_front_and_its_order() -> None:
    objectives = (parse_objective("max:a"), parse_objective("min:b"))
    values = [(1.0, 1.0), (2.0, 2.0), (3.0, 9.0), (1.0, 2.0), (2.0, 2.0)]
    assert front(values, objectives) == [0, 1, 2, 4]
    assert ideal_first(values, objectives)[0] == 1
    assert ideal_first([(1.0,), (3.0,), (2.0,)], objectives[:1]) == [1, 2, 0]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--objective", "min:distance@test"], "the test split is kept from the search"),
        (["--objective", "min:a", "min:b", "--pruner", "median"], "pruning needs one objective"),
        (["--objective", "min:a", "min:a"], "objective must be one or more different ones"),
        (["--trials", "0"], "trials must be at least 1"),
        (["--trails", "3"], "no option '--trails'; did you mean 'trials'?"),
        (["--stepz", "3"], "no option '--stepz'; did you mean 'steps'?"),
        (["--storage", "a.db"], "--storage must be FILE.journal or a database URL"),
        (["--storage", "sqlite:///no/such/folder/a.db"], "cannot be reached: unable to open database file"),
        (["--lr", "-1"], "lr must be a number above 0"),
        (["--sampler", "grid"], "give lr a step, or choices"),
        (["--space", "no-such.yaml"], "cannot read no-such.yaml: No such file"),
        (["--device", "cuda:77"], "device 'cuda:77' cannot be used here"),
        (["--variants", "mgad"], "no 'mgad' there; did you mean"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    line = ["sweep", *TOY, *LOOK, *space(tmp_path), "--out", str(tmp_path / "out"), *more]
    assert main(line) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1


def test_a_value_of_the_wrong_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as end:
        main(["sweep", *TOY, *LOOK, *space(tmp_path), "--trials", "many"])
    assert end.value.code == 2


@pytest.mark.parametrize("there", ["a file of somebody else's", "trials of another storage"])
def test_a_folder_with_something_else_in_it_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], there: str
) -> None:
    out = tmp_path / "out"
    line = ["sweep", *TOY, *LOOK, *space(tmp_path), "--out", str(out), "--trials", "1", "--fresh-seeds", "1"]
    if there.startswith("trials"):
        assert main([*line, "--storage", "nothing.db"]) == 2  # marks the folder as this sweep's
        (out / "trials" / "equal--t0000").mkdir(parents=True)
    else:
        out.mkdir()
        (out / "thesis.tex").write_text("x")
    capsys.readouterr()
    assert main(line) == 2
    assert "choose another --out" in capsys.readouterr().err


def test_without_optuna_one_line_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)  # what an import finds where it is not installed
    assert main(["sweep", *TOY, *LOOK, *space(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "pip install 'candelabra[sweep]'" in capsys.readouterr().err


def test_help_needs_neither_torch_nor_optuna() -> None:
    code = (
        "import sys\nfrom recipes.__main__ import main\n"
        "try:\n    main(['sweep', '--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'torch', 'optuna', 'pandas'} & set(sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "--fresh-seeds" in ended.stdout
