"""The reader of run directories: what is torn or missing becomes a remark on the run, never an exception."""

from __future__ import annotations

import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import yaml

from reports.checking import (
    Arrays,
    checked_dynamics,
    checked_paths,
    checked_predictions,
    completed_info,
    numeric,
    texts,
)
from reports.remarks import Remarks, clean, one_line
from reports.rundir import COLUMNS, PATH_PARTS, SCHEMA

T = TypeVar("T")
NO_WORDS = np.empty((0, 0))
SANITY_COLUMNS = ["method", "task", "check", "value", "verdict", "words"]
SCORE_COLUMNS = ["example", "task", "method", "metric", "region", "map", "value", "higher_is_better"]
TEXT_COLUMNS = ["task", "method", "metric", "region", "map", "check", "verdict", "words"]
MAP_ARRAYS = ("maps", "prediction", "label")


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
    """One run directory; every file is read when it is first asked for.

    Attributes:
        path: the folder.
        info: ``run.json``; experiment, variant, seed, tasks, status, ... are always there.
        problems: what was torn, missing or strange in what was read so far.
        original: the run that this one doubles; it then takes no part in any number.
        metric_lines: the line of ``metrics.jsonl`` of each row of `metrics`, once that is read.
    """

    path: Path
    info: dict[str, Any]
    problems: Remarks = field(default_factory=Remarks)
    original: str = ""
    metric_lines: list[int] = field(default_factory=list)

    @property
    def status(self) -> str:
        """``done``, ``failed``, ``interrupted``, ``duplicate``, or ``unfinished``: it runs still, or was killed."""
        if self.original:
            return "duplicate"
        return "unfinished" if self.info["status"] == "running" else str(self.info["status"])

    @property
    def name(self) -> str:
        """The folder's name, as a page can show it."""
        return str(clean(self.path.name))

    @property
    def variant(self) -> str:
        return str(self.info["variant"])

    @property
    def seed(self) -> int:
        return int(self.info["seed"])

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.yaml``."""
        return self._mapping("config.yaml", yaml.safe_load)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """``summary.json``; empty for a run that did not finish."""
        return self._mapping("summary.json", json.loads) if self.info["status"] == "done" else {}

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """step, epoch, split, task, metric, value; a torn line is left out, with a remark."""
        return self._read("metrics.jsonl", self._metric_rows, pd.DataFrame(columns=COLUMNS))

    @cached_property
    def dynamics(self) -> Arrays:
        """The arrays of ``dynamics.npz`` that fit each other; empty where the run has none."""
        found: Arrays = self._read("dynamics.npz", _load_npz, {}, optional=True)
        return checked_dynamics(found, "dynamics.npz", self.problems) if found else {}

    @cached_property
    def paths(self) -> dict[str, Arrays]:
        """{task: points, front, x, y, surface} of ``paths.npz``; empty where the run has none."""
        found: Arrays = self._read("paths.npz", _load_npz, {}, optional=True)
        return checked_paths(found, "paths.npz", PATH_PARTS, self.problems)

    @cached_property
    def predictions(self) -> dict[str, list[np.ndarray]]:
        """{task: [prediction, label]} and {"": [images]}, colours uint8 [N, H, W, 3]; empty where there are none."""
        found: Arrays = self._read("predictions.npz", _load_npz, {}, optional=True)
        return checked_predictions(found, "predictions.npz", self.problems)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Attribution scores, one row a number."""
        return self._csv("attributions/scores.csv", SCORE_COLUMNS)

    @cached_property
    def sanity(self) -> pd.DataFrame:
        """Checks of the attribution methods, one row a method, task and check."""
        return self._csv("attributions/sanity.csv", SANITY_COLUMNS)

    @cached_property
    def examples(self) -> Examples | None:
        """The explained inputs, or None."""
        file = "attributions/examples.npz"
        arrays: Arrays = self._read(file, _load_npz, {}, optional=True)
        inputs = arrays.get("inputs", NO_WORDS)
        if not arrays:
            return None
        if inputs.ndim not in (2, 4) or not numeric(inputs) or 0 in inputs.shape:
            self.problems.add("lacks", file=file, what="inputs [N, C, H, W] or [N, F]")
            return None
        masks, shape = {}, (len(inputs), *inputs.shape[2:])
        for i, task in enumerate(texts(arrays.get("mask_tasks", np.array([])))):
            mask = arrays.get(f"mask_{i}", NO_WORDS)
            if mask.shape == shape and inputs.ndim == 4 and numeric(mask):
                masks[task] = mask.astype(bool)
            else:
                self.problems.add(
                    "misfit", file=file, array=f"mask_{i}", expected=list(shape), got=list(mask.shape)
                )
        names, words = (_rows_of_texts(arrays, name, len(inputs)) for name in ("names", "words"))
        features = texts(arrays.get("feature_names", np.array([])))
        fits = inputs.ndim == 2 and len(features) == inputs.shape[1]
        words = [[word for word in row if word] for row in words if isinstance(row, list)]
        return Examples(inputs, masks, features if fits else [], [str(name) for name in names], words)

    @cached_property
    def maps(self) -> dict[tuple[str, str], str]:
        """{(method, task): file} of all maps, by method and task, without the maps themselves."""
        found = {}
        folder = self.path / "attributions"
        described = sorted(folder.glob("*/*.json"))
        for file in described:
            name = str(file.relative_to(self.path))
            info = self._mapping(name, json.loads)
            arrays = str(file.with_suffix(".npz").relative_to(self.path))
            members: list[str] = self._read(arrays, _members, [])
            complete = {f"{array}.npy" for array in MAP_ARRAYS} <= set(members)
            if complete and isinstance(info.get("method"), str) and isinstance(info.get("task"), str):
                found[info["method"], info["task"]] = arrays
            else:
                self.problems.add("incomplete", file=name)
        for file in sorted(folder.glob("*/*.npz")):
            if file.with_suffix(".json") not in described:
                self.problems.add("no_description", file=str(file.relative_to(self.path)))
        return found

    def attribution(self, method: str, task: str) -> Attribution | None:
        """The maps of one method and task, read anew each time; None where there are none, or none that fit."""
        file = self.maps.get((method, task))
        arrays: Arrays = self._read(file, _load_npz, {}) if file else {}
        if file is None or not arrays:
            return None
        parts = [arrays.get(name, NO_WORDS) for name in MAP_ARRAYS]
        maps = parts[0]
        inputs = self.examples.inputs if self.examples is not None else maps
        expected = (len(inputs), *inputs.shape[-2:]) if inputs.ndim == 4 else inputs.shape
        if maps.shape != expected or maps.ndim not in (2, 3):
            self.problems.add(
                "misfit", file=file, array="maps", expected=list(expected), got=list(maps.shape)
            )
            return None
        for name, part in zip(MAP_ARRAYS, parts, strict=True):
            if not numeric(part):
                self.problems.add("not_numbers", file=file, array=name, got=str(part.dtype))
                return None
            if part.ndim == 0 or len(part) != len(maps):
                expected = (len(maps),)
                self.problems.add(
                    "misfit", file=file, array=name, expected=list(expected), got=list(part.shape)
                )
                return None
        words = arrays.get("words", NO_WORDS)
        fits = words.ndim == 2 and len(words) == len(maps) and numeric(words)
        captions = [str(caption) for caption in _rows_of_texts(arrays, "captions", len(maps))]
        return Attribution(
            method, task, maps, parts[1], parts[2], captions, words.astype(float) if fits else NO_WORDS
        )

    def attributions(self) -> Iterator[Attribution]:
        """All maps, by method and task."""
        for method, task in self.maps:
            found = self.attribution(method, task)
            if found is not None:
                yield found

    def check(self) -> Remarks:
        """Every remark on the run, after a look at all its files (at maps only whether they are whole)."""
        _ = (self.config, self.summary, self.metrics, self.dynamics, self.paths, self.scores, self.sanity)
        _ = (self.examples, self.maps, self.predictions)
        for file in sorted(self.path.rglob("*.tmp")):
            self.problems.add("left_over", file=str(file.relative_to(self.path)))
        return self.problems

    def _mapping(self, name: str, load: Callable[[str], Any]) -> dict[str, Any]:
        found: Any = self._read(name, lambda file: load(file.read_text(encoding="utf-8")), None)
        if not isinstance(found, dict | None):
            self.problems.add("not_mapping", file=name, kind=type(found).__name__)
        return dict(clean(found)) if isinstance(found, dict) else {}

    def _csv(self, name: str, columns: list[str]) -> pd.DataFrame:
        """A table of the attributions; empty, with a remark, where columns are missing."""
        empty = pd.DataFrame(columns=columns)
        found = self._read(name, _read_scores, empty, optional=True)
        lacking = [column for column in columns if column not in found]
        if lacking:
            self.problems.add("lacks", file=name, what=", ".join(lacking))
            return empty
        return found

    def _metric_rows(self, file: Path) -> pd.DataFrame:
        rows, torn = [], []
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                step, epoch = int(row["step"]), int(row["epoch"])
                if max(abs(step), abs(epoch)) >= 2**53:
                    raise ValueError(f"no step is {step}")
                named = [str(clean(str(row[name]))) for name in ("split", "task", "metric")]
                rows.append([step, epoch, *named, float(row["value"])])
                self.metric_lines.append(number)
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                torn.append(number)
        if torn:
            self.problems.add("torn_lines", file=file.name, line=torn[0], count=len(torn))
        return pd.DataFrame(rows, columns=COLUMNS)

    def _read(self, name: str, read: Callable[[Path], T], default: T, optional: bool = False) -> T:
        file = self.path / name
        if not file.is_file():
            if file.is_dir():
                self.problems.add("is_folder", file=name)
            elif not optional:
                self.problems.add("missing", file=name)
            return default
        try:
            return read(file)
        except Exception as error:  # garbage makes the readers of its format raise whatever they like
            self.problems.add("unreadable", file=name, why=one_line(error))
            return default


def read_run(folder: str | Path) -> Run:
    """The run in ``folder``.

    Raises:
        ValueError: there is no ``run.json`` in it.
    """
    path = Path(folder)
    if not os.path.lexists(path / "run.json"):
        raise ValueError(f"no run in {path}: expected the file run.json")
    return _run(path)


def _run(path: Path) -> Run:
    file, remarks = path / "run.json", Remarks()
    found: Any = {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            remarks.add("not_mapping", file="run.json", kind=type(found).__name__)
    except (OSError, ValueError, RecursionError) as error:
        remarks.add("unreadable", file="run.json", why=one_line(error))
    info = completed_info(path, found if isinstance(found, dict) else {}, SCHEMA, remarks)
    if info["schema"] > SCHEMA:
        remarks.add("newer", schema=info["schema"], known=SCHEMA)
    if info["status"] == "done" and not (path / "summary.json").is_file():
        remarks.add("no_summary")
    return Run(path, info, remarks)


def read_runs(folder: str | Path) -> list[Run]:
    """Every run at any depth of ``folder``, sorted by path; links to folders are followed, each folder once.

    A run whose ``run.json`` does not tell its experiment is taken for one of the experiment that most others name.

    Raises:
        ValueError: no such folder, or no run in it.
    """
    path = Path(folder)
    if not path.is_dir():
        raise ValueError(f"no run directory: {path} is not a folder")
    runs = [_run(found) for found in sorted(_folders(path))]
    if not runs:
        raise ValueError(f"no run in {path}: expected folders that hold run.json, as the recipes write")
    known = Counter(run.info["experiment"]["name"] for run in runs)
    known.pop("", None)
    usual = known.most_common(1)[0][0] if known else str(clean(path.resolve().name))
    for run in runs:
        run.info["experiment"]["name"] = run.info["experiment"]["name"] or usual
    return runs


def _folders(path: Path) -> list[Path]:
    """The folders that hold ``run.json``, or cannot be looked into; a link back to a folder is not followed again."""
    found, seen = [], set()

    def locked(error: OSError) -> None:
        found.append(Path(str(error.filename)))

    for folder, inside, files in os.walk(path, onerror=locked, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            inside.clear()
            continue
        seen.add(real)
        inside.sort()
        if "run.json" in files or "run.json" in inside:
            found.append(Path(folder))
    return found


def _load_npz(file: Path) -> Arrays:
    # opened here: left to itself, numpy does not close a file that is no archive
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _members(file: Path) -> list[str]:
    with zipfile.ZipFile(file) as arrays:
        return arrays.namelist()


def _rows_of_texts(arrays: Arrays, name: str, rows: int) -> list[Any]:
    """An array of texts as a list, one entry an example; empty where it is not there or does not fit."""
    found = arrays.get(name, NO_WORDS)
    fits = found.ndim > 0 and len(found) == rows and found.dtype.kind == "U"
    return list(clean(found.tolist())) if fits else []


def _read_scores(file: Path) -> pd.DataFrame:
    # no text means no text, not a missing value: a task may be called "NA"
    frame = pd.read_csv(file, keep_default_na=False, dtype=str)
    if "value" in frame:
        frame["value"] = pd.to_numeric(frame["value"].replace("", "nan"), errors="coerce")
    for column in frame.columns.intersection(TEXT_COLUMNS):
        unfit = {text: clean(text) for text in frame[column].unique() if clean(text) != text}
        frame[column] = frame[column].replace(unfit) if unfit else frame[column]
    return frame
