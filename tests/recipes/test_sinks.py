"""Sinks: real files of the installed packages, and runs that go on when a sink does not."""

import json
import logging
import sqlite3
import sys
import time
from pathlib import Path

import pytest

import reports
from recipes.__main__ import main
from recipes.sinks import SINKS, Sinks

ROWS = [
    {"step": 2, "epoch": 1, "split": "validation", "task": "left", "metric": "accuracy", "value": 0.5},
    {"step": 1, "epoch": 1, "split": "test", "task": "left", "metric": "accuracy", "value": float("nan")},
]
TOY = ["balancers_toy", "--problems", "quadratic", "--steps", "20", "--variants", "equal"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "equal--s0"
    run.mkdir()
    (run / "config.yaml").write_text("lr: 0.1\n")
    return run


def write(name: str, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A run through one sink, which must not have complained."""
    with Sinks([name], folder, "toy", {"lr": 0.1, "variants": ["equal"]}) as sinks:
        sinks.log(ROWS)
    assert [
        r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING
    ] == []  # wandb debugs its way


def test_tensorboard_reads_back_what_was_logged(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("tensorboard")
    write("tensorboard", folder, caplog)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    [scalar] = events.Scalars("validation/left/accuracy")
    assert (scalar.step, scalar.value) == (2, 0.5)
    assert "test/left/accuracy" in events.Tags()["scalars"]


@pytest.mark.slow
def test_mlflow_holds_metrics_options_and_files(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    write("mlflow", folder, caplog)
    with sqlite3.connect(folder.parent / "mlflow.db") as base:
        assert base.execute("select key, value, step from metrics where is_nan = 0").fetchall() == [
            ("validation/left/accuracy", 0.5, 2)
        ]
        assert dict(base.execute("select key, value from params").fetchall()) == {
            "lr": "0.1",
            "variants": "['equal']",
        }
        assert base.execute("select name, status from runs").fetchall() == [("equal--s0", "FINISHED")]
    base.close()
    assert len(list((folder.parent / "mlflow").rglob("config.yaml"))) == 1


@pytest.mark.slow
def test_wandb_writes_an_offline_run(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    write("wandb", folder, caplog)
    [file] = folder.glob("wandb/offline-run-*/*.wandb")
    assert b"validation/left/accuracy" in told(file)
    assert len(list(folder.glob("wandb/offline-run-*/files/config.yaml"))) == 1


def told(file: Path) -> bytes:
    """What W&B wrote: a process of its own does it, which may come after the end of the run."""
    deadline = time.monotonic() + 60
    while b"accuracy" not in file.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.05)
    return file.read_bytes()


def resumed(name: str, folder: Path, caplog: pytest.LogCaptureFixture) -> dict[str, str]:
    """Two sessions of one run; the second is given all records again, as a resumed training gives them, and one more.

    Gives what the sink called the run, after each.
    """
    write(name, folder, caplog)
    first = json.loads((folder / "sinks.json").read_text())
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS) + '{"torn')
    with Sinks([name], folder, "toy", {"lr": 0.2, "variants": ["equal"]}) as sinks:
        sinks.log(ROWS)
        sinks.log([ROWS[0] | {"step": 3, "value": 0.75}])
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert json.loads((folder / "sinks.json").read_text()) == first
    return dict(first)


def test_tensorboard_goes_on(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("tensorboard")
    resumed("tensorboard", folder, caplog)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = []
    for file in folder.glob("tensorboard/events*"):
        events = EventAccumulator(str(file))
        events.Reload()
        found += [(e.step, e.value) for e in events.Scalars("validation/left/accuracy")]
    assert sorted(found) == [(2, 0.5), (3, 0.75)]


@pytest.mark.slow
def test_mlflow_goes_on_with_the_same_run(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each record once; an option that was changed on the way is a tag, as MLflow changes no parameter."""
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    run = resumed("mlflow", folder, caplog)["mlflow"]
    with sqlite3.connect(folder.parent / "mlflow.db") as base:
        assert base.execute("select run_uuid, status from runs").fetchall() == [(run, "FINISHED")]
        assert base.execute("select step, value from metrics where is_nan = 0 order by step").fetchall() == [
            (2, 0.5),
            (3, 0.75),
        ]
        assert dict(base.execute("select key, value from params").fetchall())["lr"] == "0.1"
        assert dict(base.execute("select key, value from tags").fetchall())["lr resumed"] == "0.2"
    base.close()


@pytest.mark.slow
def test_wandb_goes_on_with_the_same_run(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder for each session, as W&B makes them offline; with one id, so that a sync joins them."""
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    run = resumed("wandb", folder, caplog)["wandb"]
    files = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    assert [file.name for file in files] == [f"run-{run}.wandb"] * 2
    assert [b"validation/left/accuracy" in told(file) for file in files] == [True, True]
    assert [b"test/left/accuracy" in told(file) for file in files] == [True, False]


def test_a_sink_whose_package_is_missing_is_named_once(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == "tensorboard":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with Sinks(["tensorboard"], folder, "toy", {}) as sinks:
        sinks.log(ROWS)
        sinks.log(ROWS)
    assert [record.getMessage() for record in caplog.records] == [
        "sink tensorboard is left out: pip install 'candelabra[tensorboard]'"
    ]


@pytest.mark.parametrize("method", ["start", "log", "artifact", "close"])
def test_a_sink_that_fails_stops_nothing(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    calls = []

    class Broken:
        def __init__(self, folder: Path, experiment: str, name: str) -> None:
            pass

        def __getattr__(self, name: str):
            def call(*_: object) -> None:
                calls.append(name)
                if name == method:
                    raise OSError(28, "No space left on device")

            return call

    monkeypatch.setitem(SINKS, "broken", Broken)
    with Sinks(["broken"], folder, "toy", {}) as sinks:
        sinks.log(ROWS)
        sinks.log(ROWS)
    assert calls.count(method) == 1  # it is left out from there on
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert (
        "sink broken failed and is left out: OSError: [Errno 28] No space left on device"
        in record.getMessage()
    )


def test_an_error_of_the_run_passes_and_closes_the_sinks(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = []

    class Quiet:
        def __init__(self, *_: object) -> None:
            pass

        def start(self, *_: object) -> None:
            pass

        log = artifact = start

        def close(self, status: str) -> None:
            ends.append(status)

    monkeypatch.setitem(SINKS, "quiet", Quiet)
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), Sinks(["quiet"], folder, "toy", {}):
            raise error
    with Sinks(["quiet"], folder, "toy", {}):
        pass
    assert ends == ["interrupted", "failed", "done"]


def test_every_recipe_takes_sinks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the command line into the folder of a run, beside metrics.jsonl."""
    pytest.importorskip("tensorboard")
    out = tmp_path / "out"
    assert main([*TOY, "--sinks", "tensorboard", "--out", str(out)]) == 0
    [run] = reports.read_runs(out)
    assert run.status == "done"
    assert len(list(run.path.glob("tensorboard/events*"))) == 1
    assert main([*TOY, "--sinks", "tensorbord", "--out", str(tmp_path / "b")]) == 2
    assert "did you mean 'tensorboard'?" in capsys.readouterr().err
