"""The recipe over attribution methods: small, with controls, sanity and words."""

from pathlib import Path

import pandas as pd
import pytest

import reports
from recipes.__main__ import main

SMALL = [
    "--train", "64", "--steps", "3", "--batch-size", "16", "--examples", "1", "--scored", "3", "--checked", "2",
    "--methods", "gradient", "guided_backprop", "image",
    "--metrics", "deletion", "relevance_mass", "gini", "random_logit",
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "attributions"
    assert main(["attributions", "--out", str(out), "--seeds", "0", *SMALL]) == 0
    return out


def test_every_method_metric_and_task_is_scored_beside_the_controls(finished: Path) -> None:
    runs = {run.variant: run for run in reports.read_runs(finished)}
    assert set(runs) == {"multimnist", "cnn"}
    for name, run in runs.items():
        assert not run.problems
        tasks = {"left", "right"} if name == "multimnist" else {"digit"}
        own = run.scores[(run.scores["region"] == run.scores["task"]) | (run.scores["region"] == "")]
        for (task, method, metric), part in own.groupby(["task", "method", "metric"]):
            assert task in tasks
            assert set(part["map"]) == {"given", "random", "image", "edges"}, (method, metric)
        assert set(own["method"]) == {"gradient", "guided_backprop", "image"}
        assert set(own["metric"]) == {"deletion", "relevance_mass", "gini", "random_logit"}
        assert set(own["task"]) == tasks


def test_the_controls_are_those_of_evaluate(finished: Path) -> None:
    """They are computed once and stand beside every method."""
    for run in reports.read_runs(finished):
        controls = run.scores[run.scores["map"] != "given"]
        first = controls[controls["method"] == "gradient"].drop(columns="method").reset_index(drop=True)
        other = controls[controls["method"] == "image"].drop(columns="method").reset_index(drop=True)
        pd.testing.assert_frame_equal(first, other)


def test_the_image_as_a_method_fails_in_words(finished: Path) -> None:
    for run in reports.read_runs(finished):
        whole = run.sanity[run.sanity["check"] == "all"].set_index("method")
        assert set(whole.loc[["image"], "verdict"]) == {"fails"}
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "May the maps be trusted?" in page
    assert "hardly changes when the task&#39;s last layer is random" in page
    assert "deletion ↓" in page


def test_unknown_metrics_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attributions", "--out", str(tmp_path / "x"), "--metrics", "deletoin"]) == 2
    assert "deletion" in capsys.readouterr().err
