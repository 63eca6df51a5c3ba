"""School: the exam scores of pupils of 139 schools, each school a task with its own examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mtl.data.columns import joined, moments, splits, standardised
from mtl.data.files import find, read_mat
from mtl.data.task_data import Splits, split_rows
from mtl.tasks import Regression
from mtl.training.streams import generator

FEATURES = 27  # the 28th is a constant one
SHARES = (0.6, 0.15)  # train and validation; a quarter is for the test, as is usual with this data


def school(*, root: str | Path, seed: int = 0) -> Splits:
    """A task for each school, ``school_001`` to ``school_139``: the exam score (1..70) from 27 features of the pupil.

    Every pupil has a label for one task; the others' are NaN. Each school is split by itself, 60/15/25.

    Args:
        root: the folder with ``school.mat``.
        seed: of the split.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it cannot be read, or is not as published.

    Source: Inner London Education Authority; the file of MALSAR (Zhou et al. 2011), ``data/school.mat``.
    """
    file = find("school", root, ["school.mat"], "the repository jiayuzhou/MALSAR, data/school.mat")
    pupils, scores = (cells.ravel() for cells in read_mat(file, "X", "Y"))
    if len(pupils) != len(scores):
        raise ValueError(f"{file}: X has {len(pupils)} schools, Y has {len(scores)}")
    for number, (x, y) in enumerate(zip(pupils, scores, strict=True), start=1):
        if np.ndim(x) != 2 or x.shape[1] != FEATURES + 1 or np.shape(y) != (len(x), 1) or len(x) < 3:
            raise ValueError(
                f"{file}, school {number}: X must be [pupils, {FEATURES + 1}] and Y [pupils, 1] with at least 3, got "
                f"{list(np.shape(x))} and {list(np.shape(y))}"
            )
    names = [f"school_{number:03d}" for number in range(1, len(pupils) + 1)]
    table, draw = np.concatenate(list(pupils)).astype(np.float64), generator(seed, "school")
    own = torch.from_numpy(
        np.repeat(np.arange(len(names)), [len(x) for x in pupils])
    )  # [N] the pupil's school
    score = torch.from_numpy(np.concatenate(list(scores))[:, 0].astype(np.float32))
    parts: list[list[torch.Tensor]] = [[], [], []]
    for number in range(len(names)):
        rows = (own == number).nonzero()[:, 0]
        sizes = [max(1, round(share * len(rows))) for share in SHARES]
        for part, chosen in zip(
            parts, split_rows(len(rows), (*sizes, len(rows) - sum(sizes)), draw), strict=True
        ):
            part.append(rows[chosen])
    whole = [torch.cat(part) for part in parts]
    columns = [standardised(f"feature_{k + 1:02d}", table[:, k], whole[0]) for k in range(FEATURES)]
    inputs, features = joined(columns)
    targets = {name: torch.where(own == k, score, torch.nan) for k, name in enumerate(names)}
    scale = moments(score, whole[0])
    tasks = [Regression(name, unit="points", **scale) for name in names]
    return splits("school", tasks, inputs, targets, whole, features)
