"""The reader of run directories: what is torn or missing becomes a remark on the run, never an exception."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import yaml

from reports.rundir import COLUMNS, PATH_PARTS, SCHEMA

T = TypeVar("T")
Arrays = dict[str, np.ndarray]
NO_WORDS = np.empty((0, 0))
SANITY_COLUMNS = ["method", "task", "check", "value", "verdict", "words"]
SCORE_COLUMNS = ["example", "task", "method", "metric", "region", "map", "value", "higher_is_better"]


@dataclass(frozen=True)
class Examples:
    """The inputs that a run's maps explain: [N, C, H, W] or [N, F]; masks {task: bool [N, H, W]}.

    names [N] and words [N][...] of the examples are empty where there are none.
    """

    inputs: np.ndarray
    masks: dict[str, np.ndarray]
    feature_names: list[str]
    names: list[str] = field(default_factory=list)
    words: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True)
class Attribution:
    """One method's maps of one task, [N, H, W] or [N, F], with prediction [N] and label [N].

    captions [N] and the relevance of words [N, L] are empty where there are none.
    """

    method: str
    task: str
    maps: np.ndarray
    prediction: np.ndarray
    label: np.ndarray
    captions: list[str] = field(default_factory=list)
    words: np.ndarray = field(default_factory=lambda: NO_WORDS)


@dataclass
class Run:
    """One run directory.

    Attributes:
        path: the folder.
        info: ``run.json``; experiment, variant, seed, tasks, status, ... are always there.
        problems: what was torn, missing or strange, one line each.
    """

    path: Path
    info: dict[str, Any]
    problems: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        """``done``, ``failed``, ``interrupted``, or ``unfinished``: it runs still, or was killed."""
        return "unfinished" if self.info["status"] == "running" else str(self.info["status"])

    @property
    def variant(self) -> str:
        return str(self.info["variant"])

    @property
    def seed(self) -> int:
        return int(self.info["seed"])

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.yaml``."""
        found: Any = self._read(
            "config.yaml", lambda file: yaml.safe_load(file.read_text(encoding="utf-8")), {}
        )
        return found if isinstance(found, dict) else {}

    @cached_property
    def summary(self) -> dict[str, Any]:
        """``summary.json``; empty for a run that did not finish."""
        if self.status != "done":
            return {}
        found: Any = self._read("summary.json", lambda file: json.loads(file.read_text(encoding="utf-8")), {})
        return found if isinstance(found, dict) else {}

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """step, epoch, split, task, metric, value; a torn line is left out, with a remark."""
        return self._read("metrics.jsonl", self._metric_rows, pd.DataFrame(columns=COLUMNS))

    @cached_property
    def dynamics(self) -> Arrays:
        """The arrays of ``dynamics.npz``; empty where the run has none."""
        return self._read("dynamics.npz", _load_npz, {}, optional=True)

    @cached_property
    def paths(self) -> dict[str, Arrays]:
        """{task: points, front, x, y, surface} of ``paths.npz``; empty where the run has none."""
        found: Arrays = self._read("paths.npz", _load_npz, {}, optional=True)
        try:
            return {
                str(task): {part: found[f"{part}_{i}"] for part in PATH_PARTS}
                for i, task in enumerate(found.get("tasks", []))
            }
        except KeyError as error:
            self.problems.append(f"paths.npz lacks {error.args[0]}")
            return {}

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Attribution scores, one row a number."""
        return self._csv("scores.csv", SCORE_COLUMNS)

    @cached_property
    def sanity(self) -> pd.DataFrame:
        """Checks of the attribution methods, one row a method, task and check."""
        return self._csv("sanity.csv", SANITY_COLUMNS)

    def _csv(self, name: str, columns: list[str]) -> pd.DataFrame:
        """A table of the attributions; empty, with a remark, where columns are missing."""
        empty = pd.DataFrame(columns=columns)
        found = self._read(f"attributions/{name}", _read_scores, empty, optional=True)
        missing = [column for column in columns if column not in found]
        if missing:
            self.problems.append(f"attributions/{name} lacks the columns {missing}")
            return empty
        return found

    @cached_property
    def examples(self) -> Examples | None:
        """The explained inputs, or None."""
        arrays: Arrays = self._read("attributions/examples.npz", _load_npz, {}, optional=True)
        try:
            masks = {str(task): arrays[f"mask_{i}"] for i, task in enumerate(arrays["mask_tasks"])}
            names, words = (_texts(arrays, name, len(arrays["inputs"])) for name in ("names", "words"))
            words = [[word for word in text if word] for text in words]
            features = [str(name) for name in arrays["feature_names"]]
            return Examples(arrays["inputs"], masks, features, names, words)
        except KeyError as error:
            if arrays:
                self.problems.append(f"attributions/examples.npz lacks {error}")
            return None

    def attributions(self) -> Iterator[Attribution]:
        """All maps, by method and task."""
        for file in sorted((self.path / "attributions").glob("*/*.json")):
            name = str(file.relative_to(self.path))
            info: Any = self._read(name, lambda f: json.loads(f.read_text(encoding="utf-8")), {})
            arrays: Arrays = self._read(str(file.with_suffix(".npz").relative_to(self.path)), _load_npz, {})
            try:
                parts = arrays["maps"], arrays["prediction"], arrays["label"]
                words = arrays.get("words", NO_WORDS)
                fits = words.ndim == 2 and len(words) == len(parts[0])
                captions = _texts(arrays, "captions", len(parts[0]))
                yield Attribution(
                    str(info["method"]), str(info["task"]), *parts, captions, words if fits else NO_WORDS
                )
            except (KeyError, TypeError):
                self.problems.append(f"{name} or its .npz is incomplete; left out")

    def _metric_rows(self, file: Path) -> pd.DataFrame:
        rows, torn = [], []
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            try:
                row = json.loads(line)
                rows.append([int(row["step"]), int(row["epoch"]), str(row["split"]), str(row["task"]),
                             str(row["metric"]), float(row["value"])])  # fmt: skip
            except (ValueError, KeyError, TypeError):
                torn.append(number)
        if torn:
            self.problems.append(f"metrics.jsonl: line {torn[0]} is torn; {len(torn)} left out")
        return pd.DataFrame(rows, columns=COLUMNS)

    def _read(self, name: str, read: Callable[[Path], T], default: T, optional: bool = False) -> T:
        file = self.path / name
        if not file.is_file():
            if not optional:
                self.problems.append(f"{name} is missing")
            return default
        try:
            return read(file)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, yaml.YAMLError) as error:
            self.problems.append(f"{name} cannot be read: {' '.join(str(error).split())[:200]}")
            return default


def read_run(folder: str | Path) -> Run:
    """The run in ``folder``.

    Raises:
        ValueError: there is no ``run.json`` in it.
    """
    path = Path(folder)
    file = path / "run.json"
    if not file.is_file():
        raise ValueError(f"no run in {path}: expected the file run.json")
    problems: list[str] = []
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("not a mapping")
    except (OSError, ValueError) as error:
        problems.append(f"run.json cannot be read: {' '.join(str(error).split())[:200]}")
        found = {"status": "unfinished"}
    info = _completed(path, found, problems)
    if info["schema"] > SCHEMA:
        problems.append(f"written by a newer version (schema {info['schema']}, this one knows {SCHEMA})")
    run = Run(path, info, problems)
    if info["status"] == "done" and not (path / "summary.json").is_file():
        problems.append("the status is done, but summary.json is missing")
    return run


def read_runs(folder: str | Path) -> list[Run]:
    """Every run at any depth of ``folder``, sorted by path.

    Raises:
        ValueError: no such folder, or no run in it.
    """
    path = Path(folder)
    if not path.is_dir():
        raise ValueError(f"no run directory: {path} is not a folder")
    runs = [read_run(file.parent) for file in sorted(path.rglob("run.json"))]
    if not runs:
        raise ValueError(f"no run in {path}: expected folders that hold run.json, as the recipes write")
    return runs


def _completed(path: Path, found: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """``found`` with every field that the report relies on, of the right type."""
    variant, _, seed = path.name.rpartition("--s")
    defaults: dict[str, Any] = {
        "schema": SCHEMA, "status": "unfinished", "experiment": {}, "variant": variant or path.name,
        "seed": int(seed) if seed.isdigit() else 0, "tasks": [], "command": [], "data": {}, "selection": "",
        "tuning_budget": "", "versions": {}, "hardware": {}, "cost": {}, "error": "",
    }  # fmt: skip
    info = dict(found)
    for name, default in defaults.items():
        value = info.get(name, default)
        if not isinstance(value, type(default)) or isinstance(value, bool):
            problems.append(f"run.json: {name} must be {type(default).__name__}, got {type(value).__name__}")
            value = default
        info[name] = value
    defaults = {"name": path.parent.name, "question": "", "baseline": None, "reference": None}
    info["experiment"] = defaults | info["experiment"]
    info["tasks"] = [task for task in info["tasks"] if _is_task(task, problems)]
    return info


def _is_task(task: Any, problems: list[str]) -> bool:
    good = (
        isinstance(task, dict)
        and isinstance(task.get("name"), str)
        and isinstance(task.get("metrics"), list)
        and all(
            isinstance(m, dict) and {"name", "unit", "higher_is_better"} <= set(m) for m in task["metrics"]
        )
    )
    if not good:
        problems.append("run.json: a task without name or metrics (name, unit, higher_is_better) is left out")
    return good


def _load_npz(file: Path) -> Arrays:
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _texts(arrays: Arrays, name: str, rows: int) -> list[Any]:
    """An array of texts as a list, one entry an example; empty where it is not there or does not fit."""
    found = arrays.get(name, NO_WORDS)
    return found.tolist() if len(found) == rows else []


def _read_scores(file: Path) -> pd.DataFrame:
    # no text means no text, not a missing value: a task may be called "NA"
    frame = pd.read_csv(file, keep_default_na=False, dtype=str)
    if "value" in frame:
        frame["value"] = pd.to_numeric(frame["value"].replace("", "nan"), errors="coerce")
    return frame
