"""The run directory: whole or not at all, and read back whatever happened to it."""

import json
import os
import resource
from contextlib import suppress
from math import inf, isnan, nan
from pathlib import Path

import numpy as np
import pytest

from recipes.config import load_yaml
from recipes.multimnist import Options
from reports import RunWriter, read_run, read_runs, sessions
from tests.reports.make import rows, write_run


def writer(folder: Path, resume: bool = False) -> RunWriter:
    return RunWriter(
        folder,
        resume=resume,
        experiment={"name": "toy", "question": "?", "baseline": None, "reference": None},
        variant="equal",
        seed=3,
        tasks=[],
        config={"steps": 7, "lr": 1e-3, "methods": ["gradient"]},
        command=["toy"],
        data={},
        selection="last",
        tuning_budget="none",
    )


def test_a_finished_run_reads_back(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "equal", 1, {"left": {"accuracy": 0.9}, "right": {"accuracy": 0.8}})
    run = read_run(folder)
    assert (run.status, run.variant, run.seed) == ("done", "equal", 1)
    assert run.config == {"steps": 5}
    assert len(run.metrics) == 6
    assert run.metrics["value"].iloc[-1] == 0.8
    assert run.dynamics["cosines"].shape == (3, 2, 2)
    assert run.summary == {"test": {"left": {"accuracy": 0.9}, "right": {"accuracy": 0.8}}}
    assert run.examples is not None
    assert run.examples.inputs.shape == (2, 1, 8, 8)
    assert set(run.examples.masks) == {"left", "right"}
    assert [(a.method, a.task, a.maps.shape) for a in run.attributions()] == [
        ("gradient", "left", (2, 8, 8)), ("gradient", "right", (2, 8, 8)),
    ]  # fmt: skip
    assert set(run.scores["region"]) == {"left", "right"}
    assert run.problems == []
    for name in ("python", "torch", "numpy"):
        assert name in run.info["versions"]
    assert run.info["hardware"]["cores"] >= 1
    assert run.info["wall_s"] > 0


def test_the_config_is_one_that_the_recipes_read(tmp_path: Path) -> None:
    with writer(tmp_path / "run") as run:
        run.finish({})
    options = load_yaml(tmp_path / "run" / "config.yaml", Options)
    assert (options.steps, options.lr, options.methods) == (7, 1e-3, ("gradient",))


def test_run_json_is_there_from_the_start(tmp_path: Path) -> None:
    with writer(tmp_path / "run") as run:
        info = json.loads((tmp_path / "run" / "run.json").read_text())
        assert (info["status"], info["pid"]) == ("running", os.getpid())
        assert read_run(tmp_path / "run").status == "unfinished"
        run.finish({})


@pytest.mark.parametrize(("error", "status", "told"), [
    (RuntimeError("it broke\nin two lines"), "failed", "RuntimeError: it broke"),
    (KeyboardInterrupt(), "interrupted", "interrupted"),
])  # fmt: skip
def test_an_exception_is_recorded_and_passes_through(
    tmp_path: Path, error: BaseException, status: str, told: str
) -> None:

    def work() -> None:
        with writer(tmp_path / "run") as run:
            run.log(rows({"a": {"accuracy": 0.5}}, 1, "validation"))
            raise error

    with pytest.raises(type(error)):
        work()
    found = read_run(tmp_path / "run")
    assert found.status == status
    assert told in found.info["error"]
    assert "\n" not in found.info["error"]
    assert len(found.metrics) == 1
    assert not (tmp_path / "run" / "summary.json").exists()


def test_a_run_that_never_finishes_has_failed(tmp_path: Path) -> None:
    with writer(tmp_path / "run"):
        pass
    assert "without a call of finish" in read_run(tmp_path / "run").info["error"]


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        writer(tmp_path)
    with pytest.raises(ValueError, match="is not empty"):
        writer(tmp_path / "precious.txt")
    assert [file.name for file in tmp_path.iterdir()] == ["precious.txt"]


def record(step: int, value: float) -> dict[str, object]:
    return {"step": step, "epoch": 1, "split": "train", "task": "a", "metric": "loss", "value": value}


def interrupted(folder: Path) -> None:
    """A session that logged steps 1 to 3 and was killed in a line."""
    run = writer(folder)
    with suppress(KeyboardInterrupt), run:
        run.log([record(step, step) for step in (1, 2, 3)])
        raise KeyboardInterrupt
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "ep')


def test_a_resumed_run_doubles_nothing(tmp_path: Path) -> None:
    """The records of before stay until those that are still true come, and then only these are there."""
    folder = tmp_path / "run"
    interrupted(folder)
    start = read_run(folder).info["start"]
    with writer(folder, resume=True) as run:
        assert list(read_run(folder).metrics["step"]) == [1, 2, 3]
        run.log([record(step, step) for step in (1, 2)])
        assert list(read_run(folder).metrics["step"]) == [1, 2]
        run.log([record(3, 3.5)])
        run.finish({})
    again = read_run(folder)
    assert list(again.metrics["value"]) == [1.0, 2.0, 3.5]
    assert not again.problems
    assert again.info["start"] == start
    assert [session["status"] for session in again.info["sessions"]] == ["interrupted", "done"]
    assert again.info["wall_s"] == pytest.approx(sum(session["wall_s"] for session in again.info["sessions"]))


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with writer(folder, resume=True) as run:  # a run that was never started
        run.finish({})
    with pytest.raises(ValueError, match=f"the run in {folder} is done"):
        writer(folder, resume=True)
    info = json.loads((folder / "run.json").read_text())
    since = sessions.now()
    running = {
        "status": "running",
        "pid": os.getppid(),
        "sessions": [{"start": since}],
        "host": sessions.host(),
    }
    for status, alive in (
        (running, True),
        ({**running, "pid": 2**22 + 1}, False),  # more than Linux gives
        ({**running, "host": "elsewhere"}, False),
        (
            {**running, "sessions": [{"start": "2001-01-01T00:00:00+00:00"}]},
            False,
        ),  # the number was given anew
    ):
        assert sessions.is_alive({**info, **status}) is alive
    (folder / "run.json").write_text(json.dumps({**info, **running}))
    with pytest.raises(ValueError, match=f"is still running, as process {os.getppid()}"):
        writer(folder, resume=True)
    (folder / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run.json is damaged .* remove the folder"):
        writer(folder, resume=True)


def test_a_full_disk_names_the_file_and_keeps_the_rest(tmp_path: Path) -> None:
    interrupted(tmp_path / "run")
    before = {file: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (10, limit[1])
    )  # fails a write in the middle, as a full disk does
    try:
        with pytest.raises(OSError, match=r"cannot write .*run/config.yaml: File too large"):
            writer(tmp_path / "run", resume=True).__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    for file, content in before.items():
        assert file.read_bytes() == content


def test_numbers_that_json_lacks_survive(tmp_path: Path) -> None:
    with writer(tmp_path / "run") as run:
        run.log(rows({"a": {"x": nan, "y": -inf, "z": np.float32(0.5)}}, 1, "test"))
        run.finish({})
    values = read_run(tmp_path / "run").metrics["value"]
    assert isnan(values[0])
    assert list(values[1:]) == [-inf, 0.5]
    json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0], parse_constant=pytest.fail)


def test_wrong_records_are_named(tmp_path: Path) -> None:
    with writer(tmp_path / "run") as run:
        with pytest.raises(ValueError, match="a record has the fields"):
            run.log([{"step": 1, "value": 2}])
        with pytest.raises(ValueError, match="no array 'cosine'"):
            run.dynamics(step=[1], tasks=["a"], cosine=np.ones((1, 1, 1)))
        with pytest.raises(ValueError, match="cosines must have 3 axes, the first of 1 steps"):
            run.dynamics(step=[1], tasks=["a"], cosines=np.ones((2, 1, 1)))
        with pytest.raises(ValueError, match="one row an example, got maps 2, prediction 1, label 1"):
            run.save_attribution("m", "t", maps=np.ones((2, 3)), prediction=np.ones(1), label=np.ones(1))
        run.finish({})


@pytest.mark.parametrize(
    "name", ["../../escape", "a/b", "<img src=x onerror=alert(1)>", "é" * 100, ".hidden", ""]
)
def test_hostile_names_stay_inside_and_come_back(tmp_path: Path, name: str) -> None:
    with writer(tmp_path / "run") as run:
        one = np.ones((1, 2, 2))
        run.save_examples(inputs=one[:, None], masks={name: one.astype(bool)})
        run.save_attribution(name, name, maps=one, prediction=np.ones(1), label=np.ones(1))
        run.finish({})
    assert [file for file in tmp_path.rglob("*.npz") if "run/attributions" not in file.as_posix()] == []
    found = read_run(tmp_path / "run")
    assert [(a.method, a.task) for a in found.attributions()] == [(name, name)]
    assert found.examples is not None
    assert list(found.examples.masks) == [name]


TORN = {
    "metrics.jsonl": '{"step": 1, "epo',
    "dynamics.npz": "PK torn",
    "summary.json": "{",
    "config.yaml": "a: [",
    "attributions/scores.csv": "example,task\n0",
    "attributions/examples.npz": "",
    "attributions/gradient/left.npz": "x",
    "attributions/gradient/left.json": "",
}


@pytest.mark.parametrize("name", TORN)
@pytest.mark.parametrize("how", ["torn", "missing"])
def test_torn_and_missing_files_become_remarks(tmp_path: Path, name: str, how: str) -> None:
    """Everything else of the run, and every other run, is still there."""
    folder = write_run(tmp_path, "equal", 0, {"left": {"accuracy": 0.9}, "right": {"accuracy": 0.8}})
    if how == "missing":
        (folder / name).unlink()
    elif name == "metrics.jsonl":
        with (folder / name).open("a") as stream:
            stream.write(TORN[name])
    else:
        (folder / name).write_text(TORN[name])
    run = read_run(folder)
    read = [
        run.metrics,
        run.dynamics,
        run.summary,
        run.config,
        run.scores,
        run.examples,
        list(run.attributions()),
    ]
    assert len(read[0]) == (0 if (name, how) == ("metrics.jsonl", "missing") else 6)
    optional = how == "missing" and name in (
        "dynamics.npz", "attributions/scores.csv", "attributions/examples.npz",
    )  # fmt: skip
    assert bool(run.problems) != optional, run.problems


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"status": 3, "seed": "x", "tasks": [1, {"name": 2}]}']
)
def test_a_torn_run_json_is_an_unfinished_run(tmp_path: Path, text: str) -> None:
    folder = write_run(tmp_path, "equal", 4, {"left": {"accuracy": 0.9}})
    (folder / "run.json").write_text(text)
    run = read_run(folder)
    assert run.status == "unfinished"
    assert (run.variant, run.seed) == ("equal", 4)
    assert run.problems


def test_no_run_at_all_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a folder"):
        read_runs(tmp_path / "absent")
    with pytest.raises(ValueError, match="no run in"):
        read_runs(tmp_path)
    with pytest.raises(ValueError, match=r"expected the file run\.json"):
        read_run(tmp_path)
