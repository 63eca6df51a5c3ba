"""Columns of a table as a network takes them; what is fitted is fitted on the training rows alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtl.data.pixels import subset
from mtl.data.task_data import Splits, TaskData, labels_there
from mtl.inputs import each
from mtl.tasks import Task

Encoded = dict[str, np.ndarray]  # {feature name: [N]}


def standardised(name: str, values: np.ndarray, train: Tensor, *, least: float = 0.0) -> Encoded:
    """A numeric column [N] with the training rows' mean 0 and deviation 1; NaN becomes 0, and a second column says so.

    A deviation below ``least`` counts as that: where the unit says what is next to nothing, a column that the training
    rows hardly have is not blown up in others.

    >>> found = standardised("age", np.array([1.0, 3.0, np.nan, 9.0]), torch.tensor([0, 1, 2]))
    >>> {name: column.tolist() for name, column in found.items()}
    {'age': [-1.0, 1.0, 0.0, 7.0], 'age: missing': [0.0, 0.0, 1.0, 0.0]}
    """
    gaps, seen = np.isnan(values), values[train.numpy()]
    seen = seen[~np.isnan(seen)]
    mean, deviation = (float(seen.mean()), float(seen.std())) if len(seen) else (0.0, 0.0)
    scaled = np.where(
        gaps, 0.0, (values - mean) / (max(deviation, least) or 1.0)
    )  # a constant column becomes 0
    return {
        name: scaled,
        **({f"{name}: missing": gaps.astype(np.float64)} if gaps[train.numpy()].any() else {}),
    }


def ranked(name: str, values: np.ndarray, train: Tensor) -> Encoded:
    """A numeric column [N] as its place among the different values of the training rows, `standardised`.

    However far apart values lie, they become neighbours at equal distances, so that neither outliers nor a long tail
    decide the scale. A value between two of them lies between their places, one beyond them at the end.

    >>> found = ranked("gain", np.array([0.0, 0.0, 7.0, 1e6, 3.5, 1e9]), torch.tensor([0, 1, 2, 3]))
    >>> [round(float(value), 2) for value in found["gain"]]
    [-0.9, -0.9, 0.3, 1.51, -0.3, 1.51]
    """
    seen = np.unique(values[train.numpy()])
    seen = seen[~np.isnan(seen)]
    places = np.interp(values, seen, np.arange(len(seen))) if len(seen) else values
    return standardised(name, places, train)


def one_hot(name: str, values: np.ndarray, train: Tensor, *, most: int = 32) -> Encoded:
    """A column of texts [N] (None: missing) as a 0/1 column for each of its ``most`` commonest training values.

    What else occurs in the training rows is "other", and so is a value that they do not have; without an "other" it is
    zero everywhere. Missing is a value like any other.

    >>> found = one_hot("hue", np.array(["red", "blue", None, "green"]), torch.tensor([0, 1, 2]))
    >>> {name: column.tolist() for name, column in found.items()}
    {'hue = blue': [0.0, 1.0, 0.0, 0.0], 'hue = red': [1.0, 0.0, 0.0, 0.0], 'hue: missing': [0.0, 0.0, 1.0, 0.0]}
    """
    common, others, gaps = _commonest(values, train, most)
    found: Encoded = {f"{name} = {value}": values == value for value in common}
    if others:
        found[f"{name}: other"] = ~np.isin(np.where(gaps, "", values).astype(str), common) & ~gaps
    if gaps[train.numpy()].any():
        found[f"{name}: missing"] = gaps
    return {key: column.astype(np.float64) for key, column in found.items()}


def codes(values: np.ndarray, train: Tensor, *, most: int = 32) -> np.ndarray:
    """A column of texts [N] (None: missing) as integers: 2 and more for the ``most`` commonest training values.

    0 is any other value, 1 is missing.

    >>> codes(np.array(["red", "blue", None, "green"]), torch.tensor([0, 1, 2])).tolist()
    [3, 2, 1, 0]
    """
    common, _, gaps = _commonest(values, train, most)
    place = {value: number for number, value in enumerate(common, start=2)}
    return np.array(
        [1 if gap else place.get(str(value), 0) for value, gap in zip(values, gaps, strict=True)],
        dtype=np.int64,
    )


def _commonest(values: np.ndarray, train: Tensor, most: int) -> tuple[list[str], bool, np.ndarray]:
    """The commonest training values in alphabetical order, whether there are others, and where values are missing."""
    gaps, at = np.array([value is None for value in values]), train.numpy()
    seen, counts = np.unique(values[at][~gaps[at]].astype(str), return_counts=True)
    return sorted(seen[np.argsort(-counts, kind="stable")[:most]].tolist()), len(seen) > most, gaps


def joined(columns: Sequence[Encoded]) -> tuple[Tensor, tuple[str, ...]]:
    """Encoded columns as inputs float [N, F] and the names of the features."""
    together = {name: column for encoded in columns for name, column in encoded.items()}
    return torch.from_numpy(np.stack(list(together.values()), axis=1)).float(), tuple(together)


def moments(target: Tensor, train: Tensor) -> dict[str, Any]:
    """``mean`` and ``deviation`` of the training rows' targets, for `mtl.Regression`.

    >>> moments(torch.tensor([1.0, 3.0, float("nan"), 100.0]), torch.tensor([0, 1, 2]))
    {'mean': 2.0, 'deviation': 1.0}
    """
    seen = target[train].double()
    seen = seen[~seen.isnan()]
    if not len(seen):
        return {"mean": 0.0, "deviation": 1.0}
    return {"mean": float(seen.mean()), "deviation": float(seen.std(correction=0)) or 1.0}


def splits(
    name: str,
    tasks: Sequence[Task],
    inputs: Any,
    targets: Mapping[str, Tensor],
    parts: Sequence[Tensor],
    feature_names: tuple[str, ...] = (),
) -> Splits:
    """`Splits` from inputs [N, ...] (or several by name), targets {task: [N, ...]} and the rows of each split.

    Raises:
        ValueError: a split without rows, or a task without a label in one of them.
    """
    found: list[TaskData] = []
    for split, rows in zip(("train", "validation", "test"), parts, strict=True):
        if not len(rows):
            raise ValueError(f"data set '{name}': the {split} split has no rows")
        for task in tasks:
            if not bool(labels_there(targets[task.name][rows]).any()):
                raise ValueError(
                    f"data set '{name}': task '{task.name}' has no label in the {split} split of {len(rows)} rows"
                )
        part = each(lambda x, at=rows: subset(x, at), inputs)  # type: ignore[misc]  # bound now
        found.append(TaskData(part, {task.name: targets[task.name][rows] for task in tasks}))
    train, validation, test = found
    return Splits(name, tuple(tasks), train, validation, test, feature_names)


def shares(rows: int, *fractions: float) -> tuple[int, ...]:
    """Sizes of the splits: fractions of ``rows``, the rest last.

    >>> shares(10, 0.6, 0.2)
    (6, 2, 2)
    """
    sizes = [max(1, round(fraction * rows)) for fraction in fractions]
    return (*sizes, rows - sum(sizes))
