"""``python -m recipes resume``: real processes that are ended by real signals and continued."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reports
from recipes.__main__ import main

ROOT = Path(__file__).parents[2]
LINE = ["linear_regression", "--seeds", "0", "1", "--variants", "full_batch", "--workers", "1"]


def recipes(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "recipes", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def wait_for(what: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert found
    return found


def info(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "run.json").read_text(encoding="utf-8")))


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes by /proc")
def test_terminated_then_killed_then_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    """SIGTERM and later SIGKILL to the command alone: its worker ends in order both times, and nothing is lost."""
    out, whole = tmp_path / "cut", tmp_path / "whole"
    first = out / "full_batch--s0"
    with recipes(*LINE, "--steps", "2000", "--out", str(out)) as process:
        wait_for(lambda: (first / "checkpoints" / "last").exists())
        worker = info(first)["pid"]
        process.terminate()
        assert process.wait(timeout=120) == 128 + signal.SIGTERM
    assert not is_there(worker)
    assert info(first)["error"] == "interrupted (SIGTERM)"
    assert not (out / "full_batch--s1").exists()

    with recipes("resume", str(out)) as process:
        wait_for(lambda: info(first)["status"] == "running")
        worker = info(first)["pid"]
        process.kill()
    wait_for(lambda: not is_there(worker))
    assert info(first)["status"] == "interrupted"

    assert main(["resume", str(out)]) == 0
    assert main([*LINE, "--steps", "2000", "--out", str(whole)]) == 0
    assert [session["status"] for session in info(first)["sessions"]] == [
        "interrupted",
        "interrupted",
        "done",
    ]
    for name in ("full_batch--s0", "full_batch--s1"):
        cut, uncut = reports.read_run(out / name), reports.read_run(whole / name)
        assert cut.status == "done"
        assert not cut.problems
        assert cut.metrics.equals(uncut.metrics)
        assert cut.summary == uncut.summary
        assert cut.info["cost"]["steps"] == 2000


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "lines"
    assert main([*LINE, "--steps", "5", "--out", str(out)]) == 0
    return out


def test_nothing_to_resume_is_no_mistake(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (finished, finished / "full_batch--s0"):
        assert main(["resume", str(folder)]) == 0
        assert capsys.readouterr().out == f"nothing to resume in {folder}: every run is done\n"


def test_a_change_that_is_allowed_by_name(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """More seeds for an experiment that is done: only the new one is run, and the report has all."""
    assert main(["resume", str(finished), "--seeds", "0", "1", "2", "--allow-change", "seeds"]) == 0
    assert "1 runs" in capsys.readouterr().out
    assert {run.seed for run in reports.read_runs(finished)} == {0, 1, 2}
    assert main(["resume", str(finished)]) == 0
    assert "nothing to resume" in capsys.readouterr().out


@pytest.mark.parametrize("by", ["its own folder", "the folder around it"])
def test_a_run_of_a_sweep_keeps_its_name_budget_and_threads(by: str, tmp_path: Path) -> None:
    """As a re-run of a sweep is left by an interrupt: another name than its variant's, and a budget of its own."""
    out = tmp_path / "reruns"
    run = out / "full_batch--s0"
    assert main([*LINE[:3], *LINE[4:], "--steps", "5", "--out", str(out)]) == 0
    for file in (out / "experiment.json", run / "summary.json"):
        file.unlink()
    before = info(run)
    kept = {"variant": "full_batch #2", "tuning_budget": "7 trials by tpe over lr"}
    hardware = before["hardware"] | {"threads": 1}
    (run / "run.json").write_text(
        json.dumps(before | kept | {"hardware": hardware, "status": "interrupted"}), encoding="utf-8"
    )
    assert main(["resume", str(run if by == "its own folder" else out)]) == 0
    found = info(run)
    assert found["status"] == "done"
    assert {name: found[name] for name in kept} == kept
    assert found["hardware"]["threads"] == 1
    assert reports.read_run(run).config["variants"] == ["full_batch"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "5"], "resume needs the folder of an experiment or a run first, got --steps"),
        (["{}/none"], "no folder {}/none; give the folder"),
        (
            ["{}/full_batch--s0/checkpoints"],
            "no run in {}/full_batch--s0/checkpoints: expected experiment.json",
        ),
        (
            ["{}", "--steps", "6", "--lr", "1"],
            "steps was 5, is 6, lr was 0.2, is 1.0; leave it out, or add --allow",
        ),
        (
            ["{}", "--steps", "6", "--allow-change", "lr"],
            "steps was 5, is 6; leave it out, or add --allow-change st",
        ),
        (["{}", "--allow-change", "step"], "no option 'step'; did you mean 'steps'?"),
        (["{}", "--out", "other", "--allow-change", "out"], "out was {}, is other; leave it out\n"),
    ],
)
def test_mistakes_cost_one_line(
    arguments: list[str], message: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["resume", *(word.format(finished) for word in arguments)]) == 2
    told = capsys.readouterr().err
    assert message.format(finished) in told
    assert told.startswith("recipes: ")
    assert told.count("\n") == 1


def test_an_unknown_option(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["resume", str(finished), "--stepps", "6"])
    assert end.value.code == 2
    assert "--stepps" in capsys.readouterr().err


def test_damage_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "full_batch--s0"
    run.mkdir()
    (run / "run.json").write_text('{"status": "run')
    for folder in (tmp_path, run):
        assert main(["resume", str(folder)]) == 2
        assert f"{run / 'run.json'} is damaged" in capsys.readouterr().err
    (tmp_path / "experiment.json").write_text("{}")
    assert main(["resume", str(tmp_path)]) == 2
    assert f"{tmp_path / 'experiment.json'} is damaged" in capsys.readouterr().err


def test_help_needs_no_torch() -> None:
    code = (
        "import sys, recipes.__main__ as r; r.main(['resume', '--help']); assert 'torch' not in sys.modules"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert "--allow-change" in told.stdout
