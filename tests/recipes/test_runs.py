"""Recipes from the command line to the report: small runs, real processes, real signals."""

import html
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import reports
from recipes import multimnist
from recipes.__main__ import main
from recipes.config import load_yaml

ROOT = Path(__file__).parents[2]
SMALL = ["--steps", "4", "--train", "64", "--batch-size", "16", "--examples", "2", "--scored", "4"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "multimnist"
    variants = ["--variants", "single", "equal", "upgrad", "--methods", "gradient", "grad_cam"]
    assert main(["multimnist", "--out", str(out), "--seeds", "0", "1", *variants, *SMALL]) == 0
    return out


def test_every_variant_and_seed_has_a_finished_run(finished: Path) -> None:
    runs = reports.read_runs(finished)
    assert sorted((run.variant, run.seed) for run in runs) == [
        (variant, seed) for variant in ("equal", "single", "upgrad") for seed in (0, 1)
    ]
    for run in runs:
        assert run.status == "done"
        assert not run.problems
        test = run.metrics[run.metrics["split"] == "test"]
        assert set(test["task"]) == {"left", "right"}
        assert set(run.scores["map"]) == {"given", "random", "image"}
        assert set(run.scores["method"]) == {"gradient", "grad_cam"}
        assert (run.path / "checkpoints").is_dir()


def test_single_task_runs_hold_one_model_a_task(finished: Path) -> None:
    runs = {run.variant: run for run in reports.read_runs(finished) if run.seed == 0}
    assert runs["single"].info["cost"]["parameters"] > 1.9 * runs["equal"].info["cost"]["parameters"]
    assert (runs["single"].path / "checkpoints" / "left" / "best" / "model.safetensors").is_file()


def test_the_report_is_beside_the_runs(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "upgrad" in page
    assert multimnist.QUESTION in page


def test_the_saved_config_runs_again_and_gives_the_same_run(finished: Path, tmp_path: Path) -> None:
    """Equal to the last digit on the same machine with the same threads."""
    first = finished / "upgrad--s1"
    options = load_yaml(first / "config.yaml", multimnist.Options)
    assert options.variants == ("upgrad",)
    assert options.seeds == (1,)
    out = tmp_path / "again"
    line = ["multimnist", "--config", str(first / "config.yaml"), "--out", str(out), "--workers", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "recipes", *line], check=True, cwd=ROOT, env=environment)
    again, before = reports.read_run(out / "upgrad--s1"), reports.read_run(first)
    columns = ["step", "split", "task", "metric", "value"]
    left = before.metrics[columns].reset_index(drop=True)
    right = again.metrics[columns].reset_index(drop=True)
    assert left.drop(columns="value").equals(right.drop(columns="value"))
    assert (left["value"] - right["value"]).abs().max() < 1e-4


def test_one_failing_run_takes_nothing_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A learning rate that overflows in the first step: the loss is named, the others are reported."""
    out = tmp_path / "runs"
    line = ["linear_regression", "--out", str(out), "--seeds", "0", "--steps", "60", "--lr", "1e30"]
    assert main([*line, "--variants", "full_batch", "stochastic"]) == 1
    printed = capsys.readouterr().out
    assert printed.count("FAILED") == 2
    assert "the loss of task 'progression'" in printed
    runs = reports.read_runs(out)
    assert {run.status for run in runs} == {"failed"}
    assert "'progression'" in runs[0].info["error"]
    assert "'progression'" in html.unescape((out / "report.html").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_keeps_what_is_there(tmp_path: Path, signals: int) -> None:
    """A real SIGINT to the command (twice, as impatient people do): status 130, runs marked, a report."""
    out = tmp_path / "runs"
    line = ["multimnist", "--out", str(out), "--seeds", "0", "--steps", "100000", "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "recipes", *line, "--train", "64"], cwd=ROOT, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("*/run.json")) and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(3)
    for _ in range(signals):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.3)
    assert process.wait(timeout=120) == 130
    statuses = {json.loads(file.read_text())["status"] for file in out.glob("*/run.json")}
    assert statuses == {"interrupted"}
    assert "interrupted" in (out / "report.html").read_text(encoding="utf-8")


def test_a_killed_run_is_named_and_the_others_finish(tmp_path: Path) -> None:
    """SIGKILL to one run's process, as the kernel does when memory is out."""
    out = tmp_path / "runs"
    line = [
        "linear_regression",
        "--out",
        str(out),
        "--seeds",
        "0",
        "1",
        "--workers",
        "1",
        "--variants",
        "full_batch",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "recipes", *line, "--steps", "3000"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (out / "full_batch--s0" / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    pid = json.loads((out / "full_batch--s0" / "run.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "seed 0: FAILED: the process was killed by signal 9" in printed
    assert "seed 1: done" in printed
