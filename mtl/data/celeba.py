"""CelebA: forty yes/no attributes of a face, each a task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mtl.data.columns import splits
from mtl.data.files import find, reading
from mtl.data.pictures import pictures
from mtl.data.pixels import scaled
from mtl.data.task_data import Splits, split_rows
from mtl.tasks import Classification
from mtl.training.streams import generator

WHERE = "the CelebA project page; torchvision.datasets.CelebA unpacks it in this layout"
PARTS = ("train", "validation", "test")


def celeba(
    *,
    root: str | Path,
    train: int | None = 20_000,
    validation: int | None = 2_000,
    test: int | None = 2_000,
    image_size: int = 64,
    cache: str | Path | None = None,
    seed: int = 0,
) -> Splits:
    """Forty tasks of two classes (no, yes) on aligned faces [N, 3, S, S], bytes that become floats in batches.

    Args:
        root: torchvision's folder ``celeba`` (or the one above it): ``img_align_celeba/``, ``list_attr_celeba.txt``,
            ``list_eval_partition.txt``.
        train, validation, test: so many faces of the published partitions (162,770, 19,867 and 19,962), drawn; None:
            all. A face takes 3 S² bytes: all of them 2.3 GiB at 64x64, 9.3 GiB at 128x128.
        image_size: S: the width is brought to it and the middle cut out.
        cache: a folder where those bytes are kept, made once and mapped; None: memory, read anew by each process (all
            faces: minutes).
        seed: of what is drawn.

    Raises:
        FileNotFoundError: a file or a picture is missing.
        ValueError: a list that is not as published, a picture that cannot be read; file and row are named. More
            faces than fit.

    Source: Liu et al. 2015.
    """
    base = Path(root).expanduser()
    base = base / "celeba" if (base / "celeba").is_dir() else base
    attributes = find("celeba", base, ["list_attr_celeba.txt"], WHERE)
    partition = find("celeba", base, ["list_eval_partition.txt"], WHERE)
    files, names, labels = _attributes(attributes)
    place = _partition(partition, files)
    chosen, draw = [], generator(seed, "celeba")
    for number, count in enumerate((train, validation, test)):
        own = torch.tensor((place == number).nonzero()[0])
        if count is not None and count > len(own):
            raise ValueError(
                f"celeba: {PARTS[number]}={count}, the files have {len(own)}; give a smaller number or None"
            )
        if not len(own):
            raise ValueError(f"{partition}: no picture is of part {number} ({PARTS[number]})")
        chosen.append(own if count is None else own[split_rows(len(own), (count,), draw)[0]])
    rows = torch.cat(chosen).sort().values
    read = pictures(
        [base / "img_align_celeba" / files[row] for row in rows.tolist()],
        image_size,
        where=[f"{attributes}, row {row + 1}" for row in rows.tolist()],
        cache=cache,
    )
    parts = [torch.searchsorted(rows, part) for part in chosen]
    targets = {name: torch.from_numpy(labels[rows.numpy(), k]) for k, name in enumerate(names)}
    tasks = [Classification(name, classes=("no", "yes")) for name in names]
    return splits("celeba", tasks, scaled(read, parts[0]), targets, parts)


def _attributes(file: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Pictures, attributes, and labels int64 [N, 40] of 0 and 1."""
    with reading(file):
        lines = file.read_text(encoding="utf-8").split("\n")
    names = lines[1].split() if len(lines) > 1 else []
    rows = [line.split() for line in lines[2:] if line.strip()]
    if not names or not rows:
        raise ValueError(f"{file}: expected a count, a line of attributes and a line for each picture")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names) + 1 or not set(row[1:]) <= {"1", "-1"}:
            raise ValueError(
                f"{file}, row {number}: expected a picture and {len(names)} labels of 1 or -1, got {len(row) - 1} "
                f"values after '{row[0]}'"
            )
    if lines[0].strip() != str(len(rows)):
        raise ValueError(f"{file} is cut off: it announces {lines[0].strip()} pictures and has {len(rows)}")
    labels = (np.array([row[1:] for row in rows]) == "1").astype(np.int64)
    return [row[0] for row in rows], names, labels


def _partition(file: Path, files: list[str]) -> np.ndarray:
    """The part of each picture, int [N]: 0 train, 1 validation, 2 test."""
    with reading(file):
        rows = [line.split() for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    for number, row in enumerate(rows, start=1):
        if len(row) != 2 or row[1] not in ("0", "1", "2"):
            raise ValueError(f"{file}, row {number}: expected a picture and 0, 1 or 2, got '{' '.join(row)}'")
    parts = {row[0]: int(row[1]) for row in rows}
    lacking = [name for name in files if name not in parts]
    if lacking:
        raise ValueError(f"{file} has no row for {lacking[0]} ({len(lacking)} pictures in all)")
    return np.array([parts[name] for name in files])
