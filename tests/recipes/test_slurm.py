"""``--slurm`` without a cluster: submitit's local executor runs the same tasks here."""

import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import reports
from recipes.__main__ import main
from recipes.slurm import Command

submitit = pytest.importorskip("submitit")

ROOT = Path(__file__).parents[2]
TOY = ["balancers_toy", "--problems", "quadratic", "--steps", "20", "--variants", "equal", "pcgrad"]
LOCAL = ["--slurm", "--slurm.cluster", "local", "--slurm.tasks", "2"]


@pytest.mark.slow
def test_the_runs_of_a_recipe_are_shared_by_the_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    out = tmp_path / "out"
    assert main([*TOY, *LOCAL, "--out", str(out)]) == 0
    runs = reports.read_runs(out)
    assert {(run.variant, run.seed) for run in runs} == {("equal", 0), ("pcgrad", 0)}
    assert {run.status for run in runs} == {"done"}
    assert "pcgrad" in (out / "report.html").read_text(encoding="utf-8")
    # a task that is queued again leaves what is done alone
    before = {run.path: (run.path / "run.json").stat().st_mtime_ns for run in runs}
    assert main(["slurm", str(out), "0", "2"]) == 0
    assert {run.path: (run.path / "run.json").stat().st_mtime_ns for run in reports.read_runs(out)} == before


@pytest.mark.slow
def test_a_task_of_a_sweep_does_the_whole_sweep_alone_if_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.chdir(ROOT)
    (tmp_path / "space.yaml").write_text("lr: {low: 0.01, high: 1.0, log: true}\n")
    out = tmp_path / "out"
    line = ["sweep", *TOY[:-1], "--space", str(tmp_path / "space.yaml"), "--objective", "min:distance@train"]
    assert main([*line, "--trials", "3", "--fresh-seeds", "1", *LOCAL[:-1], "1", "--out", str(out)]) == 0
    assert len(reports.read_runs(out / "trials")) == 3
    assert len(reports.read_runs(out / "reruns")) == 1
    assert (out / "best.yaml").is_file()


def test_a_job_holds_words_only_and_ends_its_command_when_time_is_up() -> None:
    """submitit queues an interrupted job again with the pickle that it has: so there must be nothing to go stale."""
    command = Command(["sweep", "--help"])
    assert pickle.loads(pickle.dumps(command)).words == ["sweep", "--help"]
    command._process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    again = command.checkpoint()
    assert command._process.returncode == -signal.SIGTERM
    assert again.function.words == ["sweep", "--help"]
    assert again.function._process is None


def test_a_command_that_fails_fails_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(RuntimeError, match="python -m recipes nonsense ended with status 2"):
        Command(["nonsense"])()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ([*TOY, "--slurm"], "there is no sbatch here"),
        ([*TOY, *LOCAL, "--slurm.minutes", "0"], "minutes must be at least 1"),
        ([*TOY, *LOCAL, "--lr", "-1"], "lr must be a number above 0"),
        (["sweep", *TOY, *LOCAL, "--space", "no.yaml", "--objective", "min:a"], "cannot read no.yaml"),
        (["slurm", "nowhere", "0", "1"], "cannot read nowhere/experiment.json"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_submitted(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    line: list[str],
    words: str,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([*line, "--out", str(tmp_path / "out")] if line[0] != "slurm" else line) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1


def test_without_submitit_one_line_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert main([*TOY, "--slurm"]) == 2
    assert "pip install 'candelabra[slurm]'" in capsys.readouterr().err
