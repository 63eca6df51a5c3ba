"""A table of one's own: which columns are tasks is said in a mapping, the other columns are inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mtl.data.columns import Encoded, codes, joined, one_hot, ranked, splits, standardised
from mtl.data.files import MISSING_TEXTS, is_missing, need_columns, read_csv, reading, texts
from mtl.data.files import numbers as read_numbers
from mtl.data.labels import labelled
from mtl.data.task_data import Splits
from mtl.names import lookup, unknown


def table(
    *,
    file: str | Path,
    tasks: Mapping[str, str],
    auxiliary: Sequence[str] = (),
    units: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    categorical: Sequence[str] = (),
    split: str = "60/20/20",
    missing: Sequence[str] = MISSING_TEXTS,
    numbers: Literal["standardised", "ranks"] = "standardised",
    max_categories: int = 32,
    categories: Literal["one_hot", "embedding"] = "one_hot",
    seed: int = 0,
) -> Splits:
    """A CSV, TSV or Parquet file whose columns are tasks and inputs, with missing values in both.

    Inputs are all columns that are no tasks. A column of numbers is scaled by the training rows, any other
    becomes a 0/1 column for each value; a second column tells where a value is missing. Targets of regressions keep
    their unit. Rows without any label are left out.

    Args:
        file: ``.csv``, ``.tsv`` (both also ``.gz``), with a first line of names, or ``.parquet``.
        tasks: {column: ``"classification"`` or ``"regression"``}; classes are the values that the column has.
        auxiliary: tasks that are trained and not scored.
        units: {column: unit} of regressions, for the report's scores, e.g. ``{"spend": "EUR"}``.
        ignore: columns that are no inputs, such as names and numbers of customers.
        categorical: columns of numbers that stand for categories.
        split: percent of train/validation/test, drawn, or the column that holds "train", "validation" or "test".
        missing: the texts that stand for no value.
        numbers: ``"standardised"``, or ``"ranks"``: a number's place among the different values of the training rows,
            standardised, for long tails and outliers.
        max_categories: a 0/1 column each for so many of the commonest values, and one for all others.
        categories: ``"one_hot"``: inputs are one tensor [N, F]; ``"embedding"``: {"numbers": float [N, F],
            "categories": int [N, K]} for the backbone ``embeddings`` (0: any other value, 1: missing).
        seed: of the drawn split.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column that is not there, a cell that does not fit its column, a split without rows, a task
            without a label in one, a class without a training row; file, row (1: the first below the names) and
            column are named.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "fruit.csv"
    >>> lines = ["colour,grams,kind,price"] + ["red,100,apple,1.5", "yellow,,banana,0.5"] * 10
    >>> _ = file.write_text("\\n".join(lines))
    >>> data = table(file=file, tasks={"kind": "classification", "price": "regression"})
    >>> data.feature_names, data.tasks[0].class_names, len(data.train)
    (('colour = red', 'colour = yellow', 'grams', 'grams: missing'), ('apple', 'banana'), 12)
    """
    if categories not in ("one_hot", "embedding"):
        raise unknown("way to give categories", categories, ("one_hot", "embedding"))
    scaled = lookup("way to give numbers", numbers, {"standardised": standardised, "ranks": ranked})
    file = Path(file).expanduser()
    whole = _read(file)
    need_columns(file, whole, [*tasks, *ignore, *categorical])
    both = [name for name in tasks if name in ignore]
    if both:
        raise ValueError(
            f"{file}: column '{both[0]}' is a task and is to be ignored; take it out of one of them"
        )
    found = labelled(
        file, whole, tasks, auxiliary=auxiliary, units=units or {}, split=split, missing=missing, seed=seed
    )
    train, others = found.parts[0], (*tasks, *ignore, found.split_column)
    columns = [str(c) for c in whole if c not in others]
    if not columns:
        raise ValueError(f"{file}: no column is left for the inputs")
    numeric = {c: _is_numeric(file, whole[c], missing) and c not in categorical for c in columns}
    encoded: list[Encoded] = []
    coded: list[np.ndarray] = []
    for c in columns:
        if numeric[c]:
            encoded.append(scaled(c, read_numbers(file, whole[c], missing), train))
            continue
        values = texts(whole[c], missing)
        _check_categories(file, c, values, max_categories)
        if categories == "one_hot":
            encoded.append(one_hot(c, values, train, most=max_categories))
        else:
            coded.append(codes(values, train, most=max_categories))
    inputs: Tensor | dict[str, Tensor]
    inputs, features = joined(encoded) if encoded else (torch.zeros(len(whole), 0), ())
    if categories == "embedding":
        inputs = {
            "numbers": inputs,
            "categories": torch.from_numpy(np.stack(coded, axis=1))
            if coded
            else torch.zeros(len(whole), 0).long(),
        }
        features = (*features, *(c for c in columns if not numeric[c]))
    return splits(file.name, found.tasks, inputs, found.targets, found.parts, features)


def _read(file: Path) -> pd.DataFrame:
    if file.suffix != ".parquet":
        return read_csv(file)
    try:
        import polars  # keeps whole numbers whole beside gaps, and slows no import of pandas, as pyarrow would
    except ImportError as error:
        raise ImportError(
            f"{file}: reading Parquet needs polars; pip install 'candelabra[parquet]'"
        ) from error
    with reading(file), file.open("rb") as opened:
        try:
            found = polars.read_parquet(opened)
        except (polars.exceptions.PolarsError, polars.exceptions.PanicException) as error:
            raise ValueError(f"{file} cannot be read as Parquet: {' '.join(str(error).split())}") from error
    if not len(found):
        raise ValueError(f"{file} has no rows")
    # texts, as from a CSV, so that one set of rules serves both
    return pd.DataFrame({column.name: list(map(_text, column)) for column in found}, dtype=object)


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)  # NaN is unlike itself


def _is_numeric(file: Path, column: pd.Series, missing: Sequence[str]) -> bool:
    """Whether every cell is a number; nearly every one is a slip in a column of numbers, and an error."""
    plain = pd.to_numeric(column[~is_missing(column, missing)], errors="coerce").to_numpy(float)
    share = float(np.isfinite(plain).mean()) if len(plain) else 1.0
    if 0.9 < share < 1:
        read_numbers(file, column, missing)
    return share == 1


def _check_categories(file: Path, name: str, values: np.ndarray, most: int) -> None:
    there = [value for value in values if value is not None]
    seen = len(set(there))
    if seen > max(most, len(there) / 2):
        raise ValueError(
            f"{file}: column '{name}' has {seen} different texts in {len(values)} rows, too many for categories; "
            f"leave it out with ignore: [{name}]"
        )
