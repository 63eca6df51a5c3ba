"""The writer of run directories (`reports.reading` is the reader). Plain files, so that a report needs no torch.

```
run.json        what ran, where and how it ended         config.yaml     the resolved options
metrics.jsonl   step, epoch, split, task, metric, value  dynamics.npz    gradients over training
attributions/   examples.npz, <method>/<task>.npz + .json, scores.csv, sanity.csv
summary.json    written last: its absence means unfinished
```
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np
import pandas as pd
import yaml

from reports import sessions
from reports.checking import DYNAMICS, SIDES
from reports.files import as_json, write_whole
from reports.provenance import commit, hardware, versions

SCHEMA = 1
PATH_PARTS = ("points", "front", "x", "y", "surface")  # of paths.npz, for each task
COLUMNS = ["step", "epoch", "split", "task", "metric", "value"]


class RunWriter:
    """Write one run, from its start to its end, as a context manager.

    ``run.json`` says ``running`` from the start; leaving the block says ``done`` after `finish`, ``interrupted`` after
    Ctrl-C, else ``failed`` with the error. Exceptions pass through.

    Args:
        folder: absent or empty, unless the run is resumed; made with its parents.
        experiment: ``name``, ``question`` (one sentence), ``baseline`` and ``reference``: the variants that Δm is
            measured against and that is the plain sum; either may be None.
        variant, seed: which run of the experiment.
        tasks: for each ``name``, ``kind``, ``classes`` and ``metrics`` (``name``, ``unit``, ``higher_is_better``), the
            main one first; with ``diagnostic: True`` a metric is shown and takes no part in Δm. Where the tasks are
            points of one scale (a share of labels, a size), ``at`` says where: ``scale``, ``unit``, ``value``.
        config: the resolved options, as plain values.
        command: what was typed.
        data: {data set: fingerprint}.
        selection: the rule by which the checkpoint was chosen, in words.
        tuning_budget: what was tuned, with how many trials, in words.
        device: more about the hardware (device, accelerator, threads), added to what is found.
        resume: go on in a folder that holds an unfinished run: ``run.json`` keeps its sessions, and the first records
            that are logged take the place of those in ``metrics.jsonl``, so whoever resumes gives all that are
            still true first, as `mtl.fit` does; until then the old ones stay.
        listener: gets the records of each `log`, after they are on the disk.

    Raises:
        ValueError: the folder is not empty, or not a folder; to resume: the run is done or runs still, or its
            ``run.json`` is damaged.
        OSError: no room or no permission; it names the file.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "equal--s0"
    >>> experiment = {"name": "toy", "question": "?", "baseline": None, "reference": None}
    >>> with RunWriter(folder, experiment=experiment, variant="equal", seed=0, tasks=[], config={}, command=[],
    ...                data={}, selection="the last step", tuning_budget="none") as run:
    ...     run.log([{"step": 1, "epoch": 1, "split": "test", "task": "a", "metric": "accuracy", "value": 0.5}])
    ...     run.finish(summary={})
    >>> sorted(file.name for file in folder.iterdir())
    ['config.yaml', 'metrics.jsonl', 'run.json', 'summary.json']
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        experiment: Mapping[str, str | None],
        variant: str,
        seed: int,
        tasks: Sequence[Mapping[str, Any]],
        config: Mapping[str, Any],
        command: Sequence[str],
        data: Mapping[str, str],
        selection: str,
        tuning_budget: str,
        device: Mapping[str, Any] | None = None,
        resume: bool = False,
        listener: Callable[[Sequence[Mapping[str, Any]]], None] | None = None,
    ) -> None:
        self.folder = Path(folder)
        before = sessions.unfinished(self.folder) if resume else {}
        if self.folder.exists() and (not self.folder.is_dir() or (any(self.folder.iterdir()) and not resume)):
            raise ValueError(
                f"the run folder {self.folder} is not empty; choose another (nothing was changed)"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._config = dict(config)
        self._start = time.monotonic()
        self._summary: dict[str, Any] | None = None
        self._metrics: TextIO | None = None
        self._replaced = not before  # else the records of before stay until the first of now
        self._open = False
        self._listener = listener
        head, dirty = commit(Path.cwd())
        self._info: dict[str, Any] = {
            "schema": SCHEMA,
            "status": "running",
            "experiment": dict(experiment),
            "variant": variant,
            "seed": seed,
            "tasks": [dict(task) for task in tasks],
            "command": list(command),
            "data": dict(data),
            "selection": selection,
            "tuning_budget": tuning_budget,
            "commit": head,
            "dirty": dirty,
            "versions": versions(),
            "hardware": hardware() | dict(device or {}),
            "pid": os.getpid(),
            "host": sessions.host(),
            "start": before.get("start", sessions.now()),
            "sessions": [*(sessions.earlier(before) if before else []), sessions.started(list(command))],
        }

    def __enter__(self) -> RunWriter:
        text = yaml.safe_dump(self._config, sort_keys=False, allow_unicode=True, width=10_000)
        _write(self.folder / "config.yaml", text)
        self._write_info()  # second: a run that has it can be resumed
        if self._replaced:
            self._metrics = (self.folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._metrics is not None:
            with suppress(OSError):  # a full disk has been told by log()
                self._metrics.close()
        if kind is None and self._summary is not None:
            _write_json(self.folder / "summary.json", self._summary)
            self._info["status"] = "done"
        elif kind is None:
            self._info |= {"status": "failed", "error": "the run ended without a call of finish()"}
        elif issubclass(kind, KeyboardInterrupt):
            by = "SIGTERM" if getattr(error, "signal", None) == signal.SIGTERM else "Ctrl-C"
            self._info |= {"status": "interrupted", "error": f"interrupted ({by})"}
        else:
            lines = str(error).splitlines() or [""]
            self._info |= {
                "status": "failed",
                "error": f"{kind.__name__}: {lines[0]}",
                "traceback": "".join(traceback.format_exception(kind, error, trace)),
            }
        session = self._info["sessions"][-1]
        session |= {
            "end": sessions.now(),
            "status": self._info["status"],
            "wall_s": time.monotonic() - self._start,
        }
        told = [s["wall_s"] for s in self._info["sessions"] if isinstance(s.get("wall_s"), int | float)]
        self._info |= {"end": session["end"], "wall_s": sum(told)}  # a killed session did not tell
        self._write_info()

    def log(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append records (step, epoch, split, task, metric, value) and flush them."""
        if not self._open:
            raise ValueError("log() works inside `with RunWriter(...) as run:`")
        rows, lines = list(records), []
        for record in rows:
            if set(record) != set(COLUMNS):
                raise ValueError(f"a record has the fields {COLUMNS}, got {sorted(record)}")
            lines.append(json.dumps(_plain(record), allow_nan=False) + "\n")
        file = self.folder / "metrics.jsonl"
        with _named(file):
            if self._metrics is None:
                _write(file, "".join(lines))
                self._metrics = file.open("a", encoding="utf-8")
            else:
                self._metrics.write("".join(lines))
                self._metrics.flush()
        if self._listener is not None:
            self._listener(rows)

    def dynamics(
        self, step: Any, tasks: Sequence[str], groups: Sequence[str] = (), **arrays: np.ndarray
    ) -> None:
        """Losses, weights, norms [n, T]; gramian, cosines [n, T, T]; these by group [n, G, T, T]; ``step`` [n]."""
        known = {name: len(axes) for name, axes in DYNAMICS.items()}
        for name, array in arrays.items():
            if name not in known:
                raise ValueError(f"dynamics has no array '{name}'; known: {', '.join(known)}")
            if np.ndim(array) != known[name] or len(array) != len(step):
                raise ValueError(
                    f"dynamics: {name} must have {known[name]} axes, the first of {len(step)} steps"
                )
        names = {"tasks": np.array(list(tasks), dtype=str), "groups": np.array(list(groups), dtype=str)}
        _write_npz(self.folder / "dynamics.npz", step=np.asarray(step), **names, **arrays)

    def save_paths(self, paths: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Ways through a plane, {task: points [S, K, 2], front [M, 2], x [W], y [H], surface [H, W]}.

        S starts with K points each; ``surface`` is what the contours show, ``front`` where the ways should end.
        """
        arrays: dict[str, np.ndarray] = {}
        for i, (task, parts) in enumerate(paths.items()):
            if set(parts) != set(PATH_PARTS):
                raise ValueError(f"the paths of '{task}' must have {list(PATH_PARTS)}, got {sorted(parts)}")
            arrays |= {f"{part}_{i}": np.asarray(array, dtype=np.float32) for part, array in parts.items()}
        _write_npz(self.folder / "paths.npz", tasks=np.array(list(paths), dtype=str), **arrays)

    def save_examples(
        self,
        inputs: np.ndarray,
        masks: Mapping[str, np.ndarray],
        feature_names: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        words: Sequence[Sequence[str]] | None = None,
    ) -> None:
        """Store the inputs that every map of this run explains.

        Args:
            inputs: [N, C, H, W] or [N, F]; images as uint8 are shown in their own colours, others from minimum to
                maximum.
            masks: {task: [N, H, W]}.
            feature_names: of the columns of [N, F].
            names: what to call each example.
            words: of each example, where a text goes with the image.
        """
        for task, mask in masks.items():
            if mask.shape != (len(inputs), *inputs.shape[-2:]):
                raise ValueError(
                    f"the mask of '{task}' must be [N, H, W] like the inputs, got {list(mask.shape)}"
                )
        if feature_names is not None and len(feature_names) != inputs.shape[1]:
            raise ValueError(f"feature_names must be {inputs.shape[1]}, got {len(feature_names)}")
        for what, given in (("names", names), ("words", words)):
            if given is not None and len(given) != len(inputs):
                raise ValueError(f"{what} must be {len(inputs)}, one for each example, got {len(given)}")
        longest = max((len(text) for text in words or []), default=0)
        arrays = {f"mask_{i}": np.asarray(mask, dtype=bool) for i, mask in enumerate(masks.values())}
        _write_npz(
            self.folder / "attributions" / "examples.npz",
            inputs=inputs,
            mask_tasks=np.array(list(masks), dtype=str),
            feature_names=np.array(list(feature_names or []), dtype=str),
            names=np.array(list(names or []), dtype=str),
            words=np.array([[*text, *[""] * (longest - len(text))] for text in words or []], dtype=str),
            **arrays,
        )

    def save_attribution(
        self,
        method: str,
        task: str,
        *,
        maps: np.ndarray,
        prediction: np.ndarray,
        label: np.ndarray,
        details: Mapping[str, Any] | None = None,
        captions: Sequence[str] | None = None,
        words: np.ndarray | None = None,
    ) -> None:
        """Store one method's maps of one task.

        Args:
            method, task: whose maps.
            maps: signed, [N, H, W] (channels summed) or [N, F], the examples in their order; NaN all over where an
                example has none.
            prediction, label: [N]; a missing label is -1 or NaN.
            details: options, for the record.
            captions: what to say under each map; prediction and label where None.
            words: [N, L] signed relevance of the words of each example, NaN beyond its last.
        """
        given = {"prediction": prediction, "label": label, "captions": captions, "words": words}
        rows = {name: len(value) for name, value in given.items() if value is not None}
        if set(rows.values()) != {len(maps)}:
            told = ", ".join(f"{name} {count}" for name, count in rows.items())
            raise ValueError(f"maps and the rest must have one row an example, got maps {len(maps)}, {told}")
        file = self.folder / "attributions" / safe_name(method) / f"{safe_name(task)}.npz"
        _write_npz(
            file,
            maps=np.asarray(maps, dtype=np.float32),
            prediction=np.asarray(prediction),
            label=np.asarray(label),
            captions=np.array(list(captions or []), dtype=str),
            words=np.empty((0, 0), np.float32) if words is None else np.asarray(words, dtype=np.float32),
        )
        _write_json(
            file.with_suffix(".json"), {"method": method, "task": task, "details": dict(details or {})}
        )

    def save_predictions(self, images: np.ndarray, tasks: Mapping[str, Sequence[np.ndarray]]) -> None:
        """Store dense predictions beside labels, {task: (prediction, label)}, as colours uint8 [N, H, W, 3]."""
        arrays = {
            f"{w}_{i}": p for i, pair in enumerate(tasks.values()) for w, p in zip(SIDES, pair, strict=True)
        }
        _write_npz(
            self.folder / "predictions.npz", images=images, tasks=np.array([*tasks], dtype=str), **arrays
        )

    def save_scores(self, scores: pd.DataFrame) -> None:
        """Store attribution scores: example, task, method, metric, region, map, value, higher_is_better."""
        _write(self.folder / "attributions" / "scores.csv", scores.to_csv(index=False, lineterminator="\n"))

    def save_sanity(self, checks: pd.DataFrame) -> None:
        """Store what became of the maps when the model was another: method, task, check, value, verdict, words."""
        _write(self.folder / "attributions" / "sanity.csv", checks.to_csv(index=False, lineterminator="\n"))

    def cost(
        self,
        *,
        train_s: float,
        step_s: float,
        steps: int,
        parameters: int,
        peak_memory_mib: float,
        energy_j: float = math.nan,
    ) -> None:
        """Record seconds of training in all and a step, steps, trainable parameters, the peak of memory, energy."""
        self._info["cost"] = {
            "train_s": train_s,
            "step_s": step_s,
            "steps": steps,
            "parameters": parameters,
            "peak_memory_mib": peak_memory_mib,
            "energy_j": energy_j,
        }
        self._write_info()

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Say that the run is complete; ``summary.json`` is written when the block ends."""
        self._summary = dict(summary)

    def _write_info(self) -> None:
        _write_json(self.folder / "run.json", self._info)


def safe_name(name: str) -> str:
    """A file name for any text: itself where it is plain, else cleaned and with a hash.

    >>> safe_name("left"), safe_name("../x")
    ('left', '.._x-d6b96a97')
    """
    clean = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:60]
    if clean and clean == name and not clean.startswith("."):
        return clean
    return f"{clean or 'unnamed'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become the words "nan", "inf", "-inf", which float() reads back."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    _write(file, as_json(_plain(content)))


def _write(file: Path, text: str) -> None:
    """Write whole or not at all."""
    with _named(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text.encode())


def _write_npz(file: Path, **arrays: Any) -> None:
    with _named(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(file.name + ".tmp")
        with temporary.open("wb") as stream:
            np.savez_compressed(stream, **arrays)
        temporary.replace(file)


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """A full disk does not say which file it was that did not fit."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"cannot write {file}: {error.strerror or error}") from error
