"""Files that a user brings: where they are, what is wrong with them, always with the file's name."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

MISSING_TEXTS = ("", "?", "NA", "N/A", "NaN", "nan", "null", "None")  # a cell that stands for no value


def find(data_set: str, root: str | Path, names: Sequence[str], where: str) -> Path:
    """The first of ``names`` that is in ``root``, as it is or with ``.gz``.

    Args:
        data_set: whose files.
        root: the folder that should hold them.
        names: file names, the preferred one first.
        where: from where to get them.

    Raises:
        FileNotFoundError: there is none; one line that says which files are missing and where they are to be had.

    >>> find("sarcos", "/nowhere", ["sarcos_inv.mat"], "example.org")
    Traceback (most recent call last):
    FileNotFoundError: data set 'sarcos': /nowhere is no folder; give root=, a folder with sarcos_inv.mat (from
    example.org)
    """
    root = Path(root).expanduser()
    wanted = " or ".join(names)
    if not root.is_dir():
        raise FileNotFoundError(
            f"data set '{data_set}': {root} is no folder; give root=, a folder with {wanted} (from {where})"
        )
    for name in names:
        for file in (root / name, root / f"{name}.gz"):
            if file.is_file():
                return file
    raise FileNotFoundError(f"data set '{data_set}': {root} holds no {wanted}; get it from {where}")


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Whatever a reader raises on a damaged file, as one line that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{file} is not there") from error
    except (IsADirectoryError, PermissionError) as error:
        raise ValueError(f"{file} cannot be opened as a file: {error.strerror}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{file} is cut off or damaged: {_line(error)}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text: save it as CSV in UTF-8") from error


def read_csv(file: str | Path, *, header: bool = True, separator: str | None = None) -> pd.DataFrame:
    """A CSV file as texts, stripped of spaces around them; plain or ``.gz``; a tab separates where it ends in .tsv.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: no row, a row with another number of fields than the first, two columns of one name, not UTF-8,
            cut off.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.csv"
    >>> _ = file.write_text("x, y\\n1, red\\n")
    >>> read_csv(file)["y"].tolist()
    ['red']
    """
    file = Path(file).expanduser()
    tabs = file.name.removesuffix(".gz").endswith(".tsv")
    opener: Any = gzip.open if file.suffix == ".gz" else open
    rows: list[list[str]] = []
    with reading(file), opener(file, "rt", encoding="utf-8-sig", newline="") as text:
        for row in csv.reader(text, delimiter=separator or ("\t" if tabs else ","), skipinitialspace=True):
            if not row or row[0].startswith("|"):  # empty; a remark, in files of the UCI
                continue
            if rows and len(row) != len(rows[0]):
                raise ValueError(
                    f"{file}, row {len(rows) + (not header)}: {len(row)} fields, the first line has {len(rows[0])}; "
                    "is the file cut off, or is there a comma without quotes?"
                )
            rows.append([cell.strip() for cell in row])
    names = rows.pop(0) if header and rows else [str(k) for k in range(len(rows[0]) if rows else 0)]
    if not rows:
        raise ValueError(f"{file} has no rows")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{file} has two columns named '{twice[0]}'")
    return pd.DataFrame(np.array(rows, dtype=object), columns=names)


def read_mat(file: Path, *names: str) -> list[np.ndarray]:
    """Arrays of a MATLAB file.

    Raises:
        ValueError: it cannot be read, or lacks one of the arrays.
    """
    from scipy.io import loadmat

    try:
        found = loadmat(file)
    except Exception as error:  # scipy raises what its parser happens on
        raise ValueError(f"{file} cannot be read as a MATLAB file (cut off?): {_line(error)}") from error
    for name in names:
        if name not in found:
            raise ValueError(
                f"{file} holds no array '{name}', only {[k for k in found if not k.startswith('__')]}"
            )
    return [found[name] for name in names]


def need_columns(file: Path, table: pd.DataFrame, names: Sequence[str]) -> None:
    """Raise unless the table has these columns."""
    lacking = [name for name in names if name not in table]
    if lacking:
        raise ValueError(
            f"{file} has no column {', '.join(lacking)}; its columns: {', '.join(map(str, table))}"
        )


def is_missing(column: pd.Series, missing: Sequence[str] = MISSING_TEXTS) -> np.ndarray:
    """bool [N]: cells that stand for no value."""
    return np.asarray(column.isna() | column.isin(list(missing)), dtype=bool)


def texts(column: pd.Series, missing: Sequence[str] = MISSING_TEXTS) -> np.ndarray:
    """A column as texts, object [N], None where missing."""
    found = column.to_numpy(object).copy()
    found[is_missing(column, missing)] = None
    return found


def numbers(file: Path, column: pd.Series, missing: Sequence[str] = MISSING_TEXTS) -> np.ndarray:
    """A column as float64 [N], NaN where missing.

    Raises:
        ValueError: a cell that is no finite number; its row and text are named.
    """
    found = pd.to_numeric(column.where(~is_missing(column, missing)), errors="coerce").to_numpy(np.float64)
    wrong = (~np.isfinite(found) & ~is_missing(column, missing)).nonzero()[0]
    if len(wrong):
        raise ValueError(
            f"{file}, row {wrong[0] + 1}: column '{column.name}' must be a finite number, got "
            f"{str(column.iloc[wrong[0]])!r}"
        )
    return found


def classes(
    file: Path, column: pd.Series, names: Sequence[str], missing: Sequence[str] = MISSING_TEXTS
) -> np.ndarray:
    """A column of class names as int64 [N], -1 where missing.

    Raises:
        ValueError: a cell that is none of the names; its row is named.
    """
    place = {name: number for number, name in enumerate(names)}
    found = column.map(place).fillna(-1).to_numpy(np.int64)
    wrong = ((found < 0) & ~is_missing(column, missing)).nonzero()[0]
    if len(wrong):
        raise ValueError(
            f"{file}, row {wrong[0] + 1}: column '{column.name}' must be one of {', '.join(names)}, got "
            f"{str(column.iloc[wrong[0]])!r}"
        )
    return found


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
