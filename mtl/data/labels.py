"""Columns of labels: which are tasks of what kind, and which rows are for training, validation and test."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from mtl.data.columns import moments
from mtl.data.files import classes, is_missing, need_columns, numbers
from mtl.data.task_data import labels_there, split_rows
from mtl.names import lookup
from mtl.tasks import Classification, Regression, Task
from mtl.training.streams import generator

KINDS = {"classification": "one class out of several", "regression": "a number"}
SPLITS = ("train", "validation", "test")
MOST_CLASSES = 100


class Labelled(NamedTuple):
    """Tasks, {task: targets [N]}, the rows of train, validation and test, and the column that told them or None."""

    tasks: tuple[Task, ...]
    targets: dict[str, Tensor]
    parts: list[Tensor]
    split_column: str | None


def labelled(
    file: Path,
    whole: pd.DataFrame,
    tasks: Mapping[str, str],
    *,
    auxiliary: Sequence[str],
    units: Mapping[str, str],
    split: str,
    missing: Sequence[str],
    seed: int,
) -> Labelled:
    """What a table of texts says about its tasks; see `mtl.data.table.table` for the options and errors."""
    if not tasks:
        raise ValueError(f"{file}: tasks is empty; give {{column: 'classification' or 'regression'}}")
    need_columns(file, whole, list(tasks))
    for name in (*auxiliary, *units):
        lookup("task", name, tasks)
    for name in units:
        if tasks[name] == "classification":
            raise ValueError(f"{file}: units: '{name}' is a classification, and classes have no unit")
    targets: dict[str, Tensor] = {}
    names: dict[str, tuple[str, ...]] = {}
    for column, kind in tasks.items():
        lookup(f"kind of task '{column}'", kind, KINDS)
        if kind == "classification":
            names[column] = _class_names(file, whole[column], missing)
            targets[column] = torch.tensor(classes(file, whole[column], names[column], missing))
        else:
            targets[column] = torch.tensor(numbers(file, whole[column], missing)).float()
    rows = torch.stack([labels_there(target) for target in targets.values()]).any(dim=0).nonzero()[:, 0]
    if split in tasks:
        raise ValueError(f"{file}: column '{split}' tells the split and cannot be a task")
    if split in whole:
        place = torch.tensor(classes(file, whole[split], SPLITS, missing=()))
        parts = [rows[place[rows] == number] for number in range(len(SPLITS))]
    else:
        sizes = _sizes(file, split, len(rows), whole)
        parts = [rows[chosen] for chosen in split_rows(len(rows), sizes, generator(seed, "table"))]
    _check_parts(file, targets, names, parts)
    found: list[Task] = []
    for column in tasks:
        extra = column in auxiliary
        if column in names:
            found.append(Classification(column, classes=names[column], auxiliary=extra))
        else:
            how = moments(targets[column], parts[0]) | ({"unit": units[column]} if column in units else {})
            found.append(Regression(column, **how, auxiliary=extra))
    return Labelled(tuple(found), targets, parts, split if split in whole else None)


def _check_parts(
    file: Path,
    targets: Mapping[str, Tensor],
    names: Mapping[str, tuple[str, ...]],
    parts: Sequence[Tensor],
) -> None:
    """Raise unless each split has rows, each task a label in it, and each class a training row."""
    for split, rows in zip(SPLITS, parts, strict=True):
        if not len(rows):
            raise ValueError(f"{file}: the {split} split has no rows with a label")
        for column, target in targets.items():
            if not bool(labels_there(target[rows]).any()):
                first = int(labels_there(target).nonzero()[0]) + 1
                raise ValueError(
                    f"{file}: task '{column}' has no label in the {split} split of {len(rows)} rows; its first label "
                    f"is in row {first}"
                )
    for column, classes_ in names.items():
        seen = targets[column][parts[0]].unique()
        for split, rows in zip(SPLITS[1:], parts[1:], strict=True):
            new = rows[~torch.isin(targets[column][rows], seen) & labels_there(targets[column][rows])]
            if len(new):
                row = int(new.min())
                raise ValueError(
                    f"{file}, row {row + 1}: column '{column}' is '{classes_[int(targets[column][row])]}' in the "
                    f"{split} split and in no training row; empty these cells, join the class with another, or split "
                    "otherwise"
                )


def _class_names(file: Path, column: pd.Series, missing: Sequence[str]) -> tuple[str, ...]:
    """The values of a column in order: of numbers, else of the alphabet."""
    found = column[~is_missing(column, missing)].unique().tolist()
    if not 2 <= len(found) <= MOST_CLASSES:
        why = "is it a regression?" if len(found) > 2 else "there is nothing to tell apart"
        raise ValueError(
            f"{file}: column '{column.name}' has {len(found)} different values, a classification needs 2 to "
            f"{MOST_CLASSES}; {why}"
        )
    try:
        return tuple(sorted(found, key=float))
    except ValueError:
        return tuple(sorted(found))


def _sizes(file: Path, split: str, rows: int, whole: pd.DataFrame) -> tuple[int, ...]:
    """The number of rows of each split, from ``"60/20/20"``."""
    percent = [int(part) for part in split.split("/")] if re.fullmatch(r"\d+/\d+/\d+", split) else []
    if not percent:
        raise ValueError(
            f"{file}: split must be percent as in 60/20/20, or a column of {', '.join(map(str, whole))}, got '{split}'"
        )
    if sum(percent) != 100 or min(percent) < 1:
        raise ValueError(
            f"{file}: the three parts of split must be at least 1 and add up to 100, got '{split}'"
        )
    train, validation = (round(rows * part / 100) for part in percent[:2])
    if min(train, validation, rows - train - validation) < 1:
        raise ValueError(f"{file}: {rows} rows with a label are too few for a split of {split}")
    return train, validation, rows - train - validation
