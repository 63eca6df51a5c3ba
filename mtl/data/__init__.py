"""Data sets by name, each with its tasks and three splits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mtl.data.diabetes import diabetes
from mtl.data.easy_vqa import easy_vqa
from mtl.data.mnist5k import mnist5k
from mtl.data.multimnist import multimnist
from mtl.data.task_data import Splits, TaskData
from mtl.names import check_options, lookup

DATASETS: dict[str, Callable[..., Splits]] = {
    "diabetes": diabetes,
    "easy_vqa": easy_vqa,
    "mnist5k": mnist5k,
    "multimnist": multimnist,
}


def dataset(name: str, **options: Any) -> Splits:
    """A data set of `DATASETS` by name.

    Raises:
        ValueError: an unknown name (with the nearest one), or an option that this data set does not take.

    >>> [task.name for task in dataset("diabetes").tasks]
    ['progression']
    """
    make = lookup("data set", name, DATASETS)
    check_options(f"data set '{name}'", make, options)
    return make(**options)


__all__ = ["DATASETS", "Splits", "TaskData", "dataset"]
