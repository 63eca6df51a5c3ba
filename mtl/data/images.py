"""A folder of pictures of one's own, with a table of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from mtl.data.columns import splits
from mtl.data.files import MISSING_TEXTS, is_missing, need_columns, read_csv
from mtl.data.labels import labelled
from mtl.data.pictures import pictures
from mtl.data.pixels import scaled
from mtl.data.task_data import Splits


def images(
    *,
    folder: str | Path,
    labels: str | Path,
    tasks: Mapping[str, str],
    file_column: str = "file",
    image_size: int | None = 64,
    auxiliary: Sequence[str] = (),
    units: Mapping[str, str] | None = None,
    split: str = "60/20/20",
    missing: Sequence[str] = MISSING_TEXTS,
    cache: str | Path | None = None,
    seed: int = 0,
) -> Splits:
    """Pictures with the labels of a CSV file, some of which may be missing.

    Inputs are [N, 3, S, S], 3 S² bytes a picture; batches are floats, each channel with the training pictures' mean 0
    and deviation 1.

    Args:
        folder: where the pictures are.
        labels: a ``.csv`` or ``.tsv`` file: a column of file names (below the folder), and columns of labels.
        tasks: {column: ``"classification"`` or ``"regression"``}.
        file_column: the column of file names.
        image_size: S: the shorter side is brought to it and the middle cut out; None: pictures of one size as they are.
        cache: a folder where the bytes are kept, made once and mapped; None: memory, read anew by each process.
        auxiliary, units, split, missing, seed: as for the data set ``table``.

    Raises:
        FileNotFoundError: the table or a picture is not there.
        ValueError: what `mtl.data.table.table` refuses; a picture that cannot be read; pictures of several sizes;
            pictures that do not fit.
    """
    file, base = Path(labels).expanduser(), Path(folder).expanduser()
    whole = read_csv(file)
    need_columns(file, whole, [file_column])
    nameless = is_missing(whole[file_column]).nonzero()[0]
    if len(nameless):
        raise ValueError(f"{file}, row {nameless[0] + 1}: column '{file_column}' names no picture")
    found = labelled(
        file, whole, tasks, auxiliary=auxiliary, units=units or {}, split=split, missing=missing, seed=seed
    )
    if not base.is_dir():
        raise FileNotFoundError(f"{base} is no folder; it must hold the pictures that {file} names")
    rows = torch.cat(found.parts).sort().values  # the same cache for every split
    names = whole[file_column].tolist()
    read = pictures(
        [base / names[row] for row in rows.tolist()],
        image_size,
        where=[f"{file}, row {row + 1}" for row in rows.tolist()],
        cache=cache,
    )
    parts = [torch.searchsorted(rows, part) for part in found.parts]
    targets = {name: target[rows] for name, target in found.targets.items()}
    return splits(file.name, found.tasks, scaled(read, parts[0]), targets, parts)
