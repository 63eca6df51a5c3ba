"""SARCOS: the torques of a robot arm's seven joints from their positions, velocities and accelerations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mtl.data.columns import joined, moments, shares, splits, standardised
from mtl.data.files import find, read_mat
from mtl.data.task_data import Splits, split_rows
from mtl.tasks import Regression
from mtl.training.streams import generator

JOINTS = 7
WHERE = "gaussianprocess.org/gpml/data"


def sarcos(*, root: str | Path, seed: int = 0) -> Splits:
    """Seven tasks, ``torque_1`` to ``torque_7`` (N m), from 21 standardised features.

    The tests are the rows of ``sarcos_inv_test.mat``; an eighth of ``sarcos_inv.mat`` is for validation. Rows of it
    that the test file has too are left out. Where there is only the test file, it is split 60/20/20.

    Args:
        root: the folder with ``sarcos_inv.mat`` and ``sarcos_inv_test.mat`` (or the second alone).
        seed: of the split.

    Raises:
        FileNotFoundError: neither file is there.
        ValueError: a file that cannot be read, or of another shape.

    Source: Vijayakumar and Schaal 2000; Rasmussen and Williams 2006, section 2.5.
    """
    test_file = find("sarcos", root, ["sarcos_inv_test.mat"], WHERE)
    train_file = test_file.with_name("sarcos_inv.mat")
    test, draw = _rows(test_file), generator(seed, "sarcos")
    if train_file.is_file():
        train = _rows(train_file)
        seen = {row.tobytes() for row in test}
        train = train[[row.tobytes() not in seen for row in train]]
        learn, check = split_rows(len(train), shares(len(train), 7 / 8), draw)
        table = np.concatenate([train, test])
        parts = [learn, check, torch.arange(len(train), len(table))]
    else:
        table, parts = test, split_rows(len(test), shares(len(test), 0.6, 0.2), draw)
    names = [f"{kind}_{k}" for kind in ("position", "velocity", "acceleration") for k in range(1, JOINTS + 1)]
    inputs, features = joined([standardised(n, table[:, k], parts[0]) for k, n in enumerate(names)])
    targets = {f"torque_{k + 1}": torch.from_numpy(table[:, 21 + k]).float() for k in range(JOINTS)}
    tasks = [Regression(name, unit="N m", **moments(y, parts[0])) for name, y in targets.items()]
    return splits("sarcos", tasks, inputs, targets, parts, features)


def _rows(file: Path) -> np.ndarray:
    """The file's table, float64 [N, 28]."""
    (table,) = read_mat(file, file.stem)
    if table.ndim != 2 or table.shape[1] != 4 * JOINTS:
        raise ValueError(f"{file}: '{file.stem}' must be [rows, {4 * JOINTS}], got {list(table.shape)}")
    wrong = (~np.isfinite(table)).any(axis=1).nonzero()[0]
    if len(wrong):
        raise ValueError(f"{file}, row {wrong[0] + 1}: a value is not finite")
    return np.ascontiguousarray(table, dtype=np.float64)
