"""Adult (census income): three questions about one person, with missing values among the answers to others."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from mtl.data.columns import joined, one_hot, ranked, shares, splits
from mtl.data.files import classes, find, numbers, read_csv, texts
from mtl.data.task_data import Splits, split_rows
from mtl.tasks import Classification
from mtl.training.streams import generator

COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship",
    "race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income",
)  # fmt: skip
TASKS = {
    "income": ("<=50K", ">50K"),
    "education": (
        "Preschool", "1st-4th", "5th-6th", "7th-8th", "9th", "10th", "11th", "12th", "HS-grad", "Some-college",
        "Assoc-voc", "Assoc-acdm", "Bachelors", "Masters", "Prof-school", "Doctorate",
    ),
    "marital-status": (
        "Never-married", "Married-civ-spouse", "Divorced", "Married-spouse-absent", "Separated",
        "Married-AF-spouse", "Widowed",
    ),
}  # fmt: skip
NUMERIC = ("age", "capital-gain", "capital-loss", "hours-per-week")
CATEGORICAL = ("workclass", "occupation", "race", "sex", "native-country")


def adult(*, root: str | Path, seed: int = 0) -> Splits:
    """Three tasks: ``income`` (2 classes), ``education`` (16) and ``marital-status`` (7).

    Inputs are four numbers by their ranks, as a capital gain is nearly always 0 and up to 99,999 else, and one-hot
    categories, "?" among them as a category of its own. Left out are
    ``education-num`` (education itself), ``relationship`` ("husband" answers the marital status) and ``fnlwgt`` (a
    sampling weight). The test rows are those of ``adult.test``; a fifth of ``adult.data`` is for validation.

    Args:
        root: the folder with ``adult.data`` and ``adult.test``, plain or ``.gz``.
        seed: of the split.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a row that is not as published; the file and the row are named.

    Source: Kohavi 1996; UCI machine learning repository, Adult.
    """
    where = "the UCI machine learning repository, data set Adult"
    files = [find("adult", root, [name], where) for name in ("adult.data", "adult.test")]
    learned, tested = (_read(file) for file in files)
    table = pd.concat([learned, tested], ignore_index=True)
    rows = split_rows(len(learned), shares(len(learned), 0.8), generator(seed, "adult"))
    parts = [*rows, torch.arange(len(learned), len(table))]
    encoded = [ranked(c, table[c].to_numpy(float), parts[0]) for c in NUMERIC]
    encoded += [one_hot(c, texts(table[c]), parts[0], most=50) for c in CATEGORICAL]
    inputs, features = joined(encoded)
    targets = {task: torch.tensor(table[f"task {task}"].to_numpy()) for task in TASKS}
    tasks = [Classification(task, classes=names) for task, names in TASKS.items()]
    return splits("adult", tasks, inputs, targets, parts, features)


def _read(file: Path) -> pd.DataFrame:
    """One of the two files, its labels and numbers checked."""
    table = read_csv(file, header=False)
    if table.shape[1] != len(COLUMNS):
        raise ValueError(f"{file}: rows must have {len(COLUMNS)} fields, got {table.shape[1]}")
    table.columns = pd.Index(COLUMNS)
    table["income"] = table["income"].str.removesuffix(".")  # in the test file alone
    checked = {name: numbers(file, table[name], missing=()) for name in NUMERIC}
    labels = {f"task {task}": classes(file, table[task], names, ()) for task, names in TASKS.items()}
    return table.assign(**checked, **labels)
