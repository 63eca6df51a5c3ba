"""Where a run's records go beside metrics.jsonl: TensorBoard, MLflow, Weights & Biases.

A sink that fails, or whose package is not there, is named in one warning and left out; the run goes on.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from reports.files import write_json

logger = logging.getLogger("recipes")
FILE = "sinks.json"  # in the run directory: {sink: what it calls the run}, for a run that is resumed
KEPT = ("config.yaml", "run.json", "summary.json")  # handed over as artifacts when a run ends


class Sink(Protocol):
    """One place for records. Made with the run's folder, its experiment and its name; every method may raise."""

    def start(self, config: Mapping[str, Any], before: str) -> str:
        """Open it, with the run's options, or go on with what it called ``before``; gives what it calls the run."""

    def log(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take records: step, epoch, split, task, metric, value."""

    def artifact(self, path: Path) -> None:
        """Take a file of the run directory."""

    def close(self, status: str) -> None:
        """Close it; the run is done, failed or interrupted."""


class TensorBoard:
    """Event files in the run's folder; ``tensorboard --logdir OUT`` shows all runs."""

    def __init__(self, folder: Path, experiment: str, name: str) -> None:
        self._folder = folder / "tensorboard"

    def start(self, config: Mapping[str, Any], before: str) -> str:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(self._folder))  # a new file beside those of before, shown as one
        return self._folder.name

    def log(self, rows: Sequence[Mapping[str, Any]]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        for row in rows:
            value = Summary.Value(tag=tag(row), simple_value=float(row["value"]))
            self._writer.add_event(
                Event(wall_time=time.time(), step=row["step"], summary=Summary(value=[value]))
            )
        self._writer.flush()

    def artifact(self, path: Path) -> None:
        """Nothing: the files lie beside its own."""

    def close(self, status: str) -> None:
        self._writer.close()


class MLflow:
    """One SQLite file for all runs of a folder; ``mlflow ui --backend-store-uri sqlite:///OUT/mlflow.db``."""

    def __init__(self, folder: Path, experiment: str, name: str) -> None:
        self._store, self._experiment, self._name = folder.parent.absolute(), experiment, name

    def start(self, config: Mapping[str, Any], before: str) -> str:
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table that it makes
        logging.getLogger("alembic").setLevel(logging.WARNING)
        with _alone(self._store / ".mlflow.lock"):  # making the tables twice at a time would break them
            self._client = MlflowClient(tracking_uri=f"sqlite:///{self._store / 'mlflow.db'}")
            found = self._client.get_experiment_by_name(self._experiment)
            place = (self._store / "mlflow").as_uri()
            identity = (
                self._client.create_experiment(self._experiment, artifact_location=place)
                if found is None
                else found.experiment_id
            )
        self._run = before or self._client.create_run(identity, run_name=self._name).info.run_id
        if before:
            self._client.update_run(before, status="RUNNING")
        known = self._client.get_run(self._run).data.params
        for option, value in config.items():
            text = str(value)[:500]
            if option not in known:
                self._client.log_param(self._run, option, text)
            elif known[option] != text:  # MLflow changes no parameter
                self._client.set_tag(self._run, f"{option} resumed", text)
        return str(self._run)

    def log(self, rows: Sequence[Mapping[str, Any]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(tag(row), float(row["value"]), now, row["step"]) for row in rows]
        for start in range(0, len(metrics), 1000):  # MLflow's limit of one call
            self._client.log_batch(self._run, metrics=metrics[start : start + 1000])

    def artifact(self, path: Path) -> None:
        self._client.log_artifact(self._run, str(path))

    def close(self, status: str) -> None:
        ends = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
        self._client.set_terminated(self._run, ends[status])


class WandB:
    """An offline run in the run's folder, for ``wandb sync``; the variable WANDB_MODE may ask for another mode."""

    def __init__(self, folder: Path, experiment: str, name: str) -> None:
        self._folder, self._experiment, self._name = folder, experiment, name

    def start(self, config: Mapping[str, Any], before: str) -> str:
        import os

        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")
        quiet = wandb.Settings(silent=True, console="off")
        self._run = wandb.init(
            project=self._experiment, name=self._name, dir=str(self._folder), config=dict(config), mode=mode,
            id=before or None, resume="allow", allow_val_change=True, settings=quiet,
        )  # fmt: skip
        # records of several tasks and splits come in any order of steps, which W&B's own counter would drop
        self._run.define_metric("*", step_metric="at_step")
        return str(self._run.id)

    def log(self, rows: Sequence[Mapping[str, Any]]) -> None:
        by_step: dict[int, dict[str, float]] = {}
        for row in rows:
            by_step.setdefault(row["step"], {})[tag(row)] = float(row["value"])
        for step, values in by_step.items():
            self._run.log({"at_step": step, **values})

    def artifact(self, path: Path) -> None:
        shutil.copy(path, self._run.dir)  # what lies there belongs to the run, and is synced with it

    def close(self, status: str) -> None:
        self._run.finish(exit_code=0 if status == "done" else 1)


SINKS: dict[str, Callable[[Path, str, str], Sink]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
}


def tag(row: Mapping[str, Any]) -> str:
    """A record's name in a sink.

    >>> tag({"split": "validation", "task": "left", "metric": "accuracy"})
    'validation/left/accuracy'
    """
    return f"{row['split']}/{row['task']}/{row['metric']}"


class Sinks:
    """The chosen sinks of one run, as a context manager; nothing of theirs ever stops the run.

    Args:
        names: of `SINKS`.
        folder: the run directory.
        experiment: the recipe's name.
        config: the resolved options.

    In a run that is resumed each goes on with its run of before (``sinks.json`` says which), and records that it was
    given then are not given to it again.
    """

    def __init__(
        self, names: Sequence[str], folder: Path, experiment: str, config: Mapping[str, Any]
    ) -> None:
        self._folder, self._config = folder, config
        self._sinks = {name: SINKS[name](folder, experiment, folder.name) for name in names}
        self._runs: dict[str, str] = {}  # what each calls the run
        self._given: set[str] = set()  # records of the sessions before
        self._going_on: set[str] = set()

    def __enter__(self) -> Sinks:
        if self._sinks:
            self._runs, self._given = _before(self._folder)
        self._each(self._start)
        return self

    def _start(self, name: str, sink: Sink) -> None:
        before = self._runs.get(name, "")
        self._runs[name] = sink.start(self._config, before)
        if self._runs[name] == before:
            self._going_on.add(name)
        write_json(self._folder / FILE, self._runs)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        status = "done" if kind is None else "interrupted" if interrupted else "failed"
        files = [self._folder / name for name in KEPT]
        self._each(lambda _, sink: _hand_over(sink, files))
        self._each(lambda _, sink: sink.close(status))

    def log(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Hand records to every sink."""
        new = [row for row in rows if _key(row) not in self._given]

        def give(name: str, sink: Sink) -> None:
            if found := new if name in self._going_on else rows:
                sink.log(found)

        self._each(give)

    def _each(self, call: Callable[[str, Sink], None]) -> None:
        for name, sink in list(self._sinks.items()):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of their own libraries
                    call(name, sink)
            except ImportError:
                del self._sinks[name]
                logger.warning("sink %s is left out: pip install 'candelabra[%s]'", name, name)
            except Exception as error:
                del self._sinks[name]
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                logger.warning("sink %s failed and is left out: %s; the run goes on", name, reason)


def _before(folder: Path) -> tuple[dict[str, str], set[str]]:
    """What the sessions before left in the run directory: the sinks' runs, and the records that they were given."""
    runs: dict[str, str] = {}
    with suppress(OSError, ValueError):
        runs = dict(json.loads((folder / FILE).read_text(encoding="utf-8")))
    given = set()
    with suppress(OSError):
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # torn by a kill
                given.add(_key(json.loads(line)))
    return runs, given


def _key(row: Mapping[str, Any]) -> str:
    return f"{tag(row)} {row['step']} {float(row['value'])!r}"


def _hand_over(sink: Sink, files: Sequence[Path]) -> None:
    for file in files:
        if file.exists():
            sink.artifact(file)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """One process at a time on this machine; the lock ends with its process."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
