"""The recipe of picture and sound, small, on recordings made here."""

from pathlib import Path

import pytest

import reports
from recipes.__main__ import main
from tests.mtl.spoken import write_published

SMALL = ["--train", "64", "--steps", "4", "--batch-size", "16", "--explained", "6", "--seeds", "0"]


def test_each_way_to_fuse_is_tested_whole_and_with_one_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "fsdd"
    root.mkdir()
    out = tmp_path / "runs"
    assert main(["multimodal", "--root", str(write_published(root)), "--out", str(out), *SMALL]) == 0
    runs = {run.variant: run for run in reports.read_runs(out)}
    assert set(runs) == {"image", "audio", "product", "late", "gated", "attention"}
    for name, run in runs.items():
        assert run.status == "done"
        assert not run.problems
        test = run.metrics[run.metrics["split"] == "test"]
        assert set(test["task"]) == {"digit", "speaker", "bold"}
        found = test[test["task"] == "speaker"].set_index("metric")["value"]
        if name in ("image", "audio"):
            assert "share of image" not in found
        else:
            assert found["share of image"] + found["share of audio"] == pytest.approx(1.0, abs=1e-4)
            assert 0 <= found["accuracy, image only"] <= 1
    assert "report" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (["--root", "nowhere"], "no recordings in nowhere"),
    (["--dropout", "1"], "dropout must be above 0 and below 1"),
    (["--variants", "lat"], "did you mean 'late'"),
])  # fmt: skip
def test_mistakes_are_named(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["multimodal", "--out", str(tmp_path / "runs"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
