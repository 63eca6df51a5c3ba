"""Whether what a run directory holds is what a report can rely on: the rest is left out, with a remark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from reports.remarks import Remarks, clean

Arrays = dict[str, np.ndarray]
STATUSES = ("done", "failed", "interrupted", "running", "unfinished")
SIDES = ("prediction", "label")  # of predictions.npz, for each task
DYNAMICS = {  # the axes of dynamics.npz

    "losses": "nT", "weights": "nT", "norms": "nT", "gramian": "nTT", "cosines": "nTT", "group_gramian": "nGTT",
    "group_cosines": "nGTT",
}  # fmt: skip


def numeric(array: np.ndarray) -> bool:
    """Whether an array holds real numbers.

    >>> numeric(np.ones(2)), numeric(np.array(["a"]))
    (True, False)
    """
    return array.dtype.kind in "fiub"


def completed_info(path: Path, found: dict[str, Any], schema: int, remarks: Remarks) -> dict[str, Any]:
    """``run.json`` with every field that the report relies on, of the right type."""
    variant, _, seed = path.name.rpartition("--s")
    defaults: dict[str, Any] = {
        "schema": schema, "status": "unfinished", "experiment": {}, "variant": variant or path.name,
        "seed": int(seed) if seed.isdecimal() and len(seed) < 19 else 0, "tasks": [], "command": [], "data": {},
        "selection": "", "tuning_budget": "", "versions": {}, "hardware": {}, "cost": {}, "error": "",
    }  # fmt: skip
    info = dict(found)
    for name, default in defaults.items():
        info[name] = _typed(info.get(name, default), default, name, remarks)
    for name in ("commit", "traceback", "start", "end"):
        if name in info:
            info[name] = _typed(info[name], "", name, remarks) if info[name] is not None else ""
    if info["status"] not in STATUSES:
        remarks.add("unknown_status", got=info["status"][:40])
        info["status"] = "unfinished"
    if abs(info["seed"]) >= 10**18:
        info["seed"] = defaults["seed"]
        remarks.add("huge_seed", seed=info["seed"])
    info["experiment"] = _experiment(info["experiment"], remarks)
    info["tasks"] = [_task(task) for task in info["tasks"] if _is_task(task, remarks)]
    return dict(clean(info))


def checked_predictions(found: Arrays, file: str, remarks: Remarks) -> dict[str, list[np.ndarray]]:
    """{task: [prediction, label]} of ``predictions.npz`` and {"": [images]}; empty where something does not fit."""
    images, shown = found.get("images", np.empty(0)), dict[str, list[np.ndarray]]()
    for i, task in enumerate(found.get("tasks", np.array([])).reshape(-1).tolist()):
        pair = [found.get(f"{side}_{i}", np.empty(0)) for side in SIDES]
        for side, part in zip(SIDES, pair, strict=True):
            fits = (
                images.ndim == 4 and images.shape[-1] == 3 and part.shape == images.shape and images.size > 0
            )
            if not fits or part.dtype != np.uint8 or images.dtype != np.uint8:
                expected = "images uint8 [N, H, W, 3]"
                remarks.add("misfit", file=file, array=f"{side}_{i}", expected=expected, got=list(part.shape))
                return {}
        shown[str(clean(str(task)))] = pair
    return {"": [images], **shown} if shown else {}


def checked_dynamics(found: Arrays, file: str, remarks: Remarks) -> Arrays:
    """The arrays of ``dynamics.npz`` that fit each other, as float64, without rows that have no step."""
    lacking = [name for name in ("step", "tasks") if name not in found or found[name].ndim != 1]
    if lacking or not numeric(found["step"]):
        remarks.add("lacks", file=file, what=", ".join(lacking) or "step")
        return {}
    step = found["step"].astype(float)
    tasks, groups = (texts(found[name]) if name in found else [] for name in ("tasks", "groups"))
    letters = {"n": len(step), "T": len(tasks), "G": len(groups)}
    kept = np.isfinite(step) & (np.abs(step) < 2**53)
    if not kept.all():
        remarks.add("no_steps", file=file, count=int((~kept).sum()))
    arrays = {"step": step[kept].astype(np.int64), "tasks": np.array(tasks), "groups": np.array(groups)}
    for name, shape in DYNAMICS.items():
        if name not in found:
            continue
        array, expected = found[name], tuple(letters[letter] for letter in shape)
        if not numeric(array):
            remarks.add("not_numbers", file=file, array=name, got=str(array.dtype))
        elif array.shape == expected:
            arrays[name] = array.astype(float)[kept]
        elif not (shape.startswith("nG") and letters["G"] == 0):  # of no group there is nothing to tell
            remarks.add("misfit", file=file, array=name, expected=list(expected), got=list(array.shape))
    return arrays


def checked_paths(found: Arrays, file: str, parts: tuple[str, ...], remarks: Remarks) -> dict[str, Arrays]:
    """{task: points, front, x, y, surface} of the tasks whose parts fit each other."""
    paths = {}
    for i, task in enumerate(texts(found.get("tasks", np.array([])))):
        own = {part: found[f"{part}_{i}"] for part in parts if f"{part}_{i}" in found}
        lacking = [part for part in parts if part not in own or not numeric(own[part])]
        if lacking:
            remarks.add("lacks", file=file, what=", ".join(f"{part}_{i}" for part in lacking))
            continue
        fits = (
            own["x"].ndim == own["y"].ndim == 1
            and own["surface"].shape == (len(own["y"]), len(own["x"]))
            and min(own["surface"].shape, default=0) > 1
            and own["points"].ndim == 3
            and own["points"].shape[2] == 2
            and own["points"].size > 0
            and own["front"].ndim == 2
            and own["front"].shape[1] == 2
            and len(own["front"]) > 0
            and np.isfinite(own["surface"]).all()
            and np.isfinite(np.concatenate([own["x"], own["y"]])).all()
        )
        if fits:
            paths[task] = own
        else:
            shapes = ", ".join(f"{part} {list(array.shape)}" for part, array in own.items())
            expected = "points [S, K, 2], front [M, 2], x [W], y [H], surface [H, W]"
            remarks.add("misfit", file=file, array=task, expected=expected, got=shapes)
    return paths


def texts(array: np.ndarray) -> list[str]:
    """An array of texts as a list.

    >>> texts(np.array(["a", "b"]))
    ['a', 'b']
    """
    return [str(clean(str(text))) for text in array.reshape(-1).tolist()]


def _typed(value: Any, default: Any, name: str, remarks: Remarks) -> Any:
    if isinstance(value, type(default)) and not isinstance(value, bool):
        return value
    remarks.add("wrong_type", field=name, expected=type(default).__name__, got=type(value).__name__)
    return default


def _experiment(found: dict[str, Any], remarks: Remarks) -> dict[str, Any]:
    """Its name ('' where unknown), question and roles."""
    info: dict[str, Any] = {"name": "", "question": "", "baseline": None, "reference": None} | found
    for name in ("name", "question", "baseline", "reference"):
        if info[name] is not None or name == "name":
            empty = None if name in ("baseline", "reference") else ""
            info[name] = _typed(info[name], "", f"experiment.{name}", remarks) or empty
    return info


def _task(task: dict[str, Any]) -> dict[str, Any]:
    classes = task.get("classes")
    metrics = [
        m | {"name": str(m["name"]), "unit": str(m["unit"]), "higher_is_better": bool(m["higher_is_better"])}
        for m in task["metrics"]
    ]
    named = [str(name) for name in classes] if isinstance(classes, list) else []
    return task | {"classes": named, "metrics": metrics, "at": _at(task.get("at"))}


def _at(found: Any) -> dict[str, Any] | None:
    """Where a task lies on a scale, if it says so: ``scale`` and ``unit``, texts, and ``value``, a finite number."""
    value = found.get("value") if isinstance(found, dict) else None
    if not isinstance(value, int | float) or not -1e300 < value < 1e300:  # also without NaN
        return None
    return {"scale": str(found.get("scale", "")), "unit": str(found.get("unit", "")), "value": float(value)}


def _is_task(task: Any, remarks: Remarks) -> bool:
    good = (
        isinstance(task, dict)
        and isinstance(task.get("name"), str)
        and isinstance(task.get("metrics"), list)
        and all(
            isinstance(m, dict) and {"name", "unit", "higher_is_better"} <= set(m) for m in task["metrics"]
        )
    )
    if not good:
        remarks.add("bad_task")
    return good
