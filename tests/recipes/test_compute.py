"""The recipe `compute`: its ways, its processes, its failures."""

import json
from pathlib import Path

import pytest

from recipes.__main__ import main
from recipes.compute import WAYS, Options, variants
from recipes.config import UsageError

SMALL = ("--steps", "3", "--train", "64", "--batch-size", "16", "--seeds", "0")


def test_all_that_work_here_unless_chosen() -> None:
    assert set(variants(Options())) >= {"fp32", "channels_last", "bf16", "two_processes"}
    assert "two_processes" not in variants(Options(device="cuda"))
    assert variants(Options(variants=("compiled",))) == ("compiled",)
    with pytest.raises(UsageError, match="did you mean 'compiled'"):
        variants(Options(variants=("compile",)))
    with pytest.raises(UsageError, match="did you mean 'upgrad'"):
        variants(Options(balancer="upgrd"))
    assert set(WAYS) >= set(variants(Options()))


@pytest.mark.slow
def test_two_processes_score_as_one_does(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["compute", "--out", str(out), *SMALL, "--variants", "channels_last", "two_processes"]) == 0
    one, two = (
        json.loads((out / f"{name}--s0" / "summary.json").read_text())
        for name in ("channels_last", "two_processes")
    )
    for task, scores in one["test"].items():
        assert two["test"][task] == pytest.approx(scores, rel=1e-3), task
    costs = [
        json.loads((out / f"{name}--s0" / "run.json").read_text())["cost"]
        for name in ("channels_last", "two_processes")
    ]
    assert costs[1]["steps"] == costs[0]["steps"] == 3
    assert costs[1]["peak_memory_mib"] > 1.2 * costs[0]["peak_memory_mib"]  # of both together


@pytest.mark.slow
def test_a_failure_in_the_processes_is_the_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["compute", "--out", str(out), *SMALL, "--variants", "two_processes", "--lr", "1e30"]) == 1
    info = json.loads((out / "two_processes--s0" / "run.json").read_text())
    assert info["status"] == "failed"
    assert "FAILED: ValueError: step" in capfd.readouterr().out
