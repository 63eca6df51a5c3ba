"""Data sets by name, each with its tasks and three splits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mtl.data.adult import adult
from mtl.data.avdigits import avdigits
from mtl.data.celeba import celeba
from mtl.data.dense_files import cityscapes, nyuv2
from mtl.data.diabetes import diabetes
from mtl.data.easy_vqa import easy_vqa
from mtl.data.from_torchvision import from_torchvision
from mtl.data.images import images
from mtl.data.mnist5k import mnist5k
from mtl.data.multimnist import multimnist
from mtl.data.office import office31, office_home
from mtl.data.overlays import fashion_and_mnist, multifashion
from mtl.data.qm9 import qm9
from mtl.data.sarcos import sarcos
from mtl.data.scenes import scenes
from mtl.data.school import school
from mtl.data.table import table
from mtl.data.task_data import Splits, TaskData
from mtl.data.tox21 import tox21
from mtl.names import check_options, lookup

DATASETS: dict[str, Callable[..., Splits]] = {
    "adult": adult,
    "avdigits": avdigits,
    "celeba": celeba,
    "cityscapes": cityscapes,
    "diabetes": diabetes,
    "easy_vqa": easy_vqa,
    "fashion_and_mnist": fashion_and_mnist,
    "images": images,
    "mnist5k": mnist5k,
    "multifashion": multifashion,
    "multimnist": multimnist,
    "nyuv2": nyuv2,
    "office31": office31,
    "office_home": office_home,
    "qm9": qm9,
    "sarcos": sarcos,
    "scenes": scenes,
    "school": school,
    "table": table,
    "tox21": tox21,
}
FAMILIES: dict[str, Callable[..., Splits]] = {"torchvision": from_torchvision}


def dataset(name: str, **options: Any) -> Splits:
    """A data set of `DATASETS` by name, or ``"torchvision/<Name>"``: any classification set of torchvision.

    Raises:
        ValueError: an unknown name (with the nearest one), an option that this data set does not take, or files that
            are not as they should be.
        FileNotFoundError: files that are not there; it says where to get them.

    >>> [task.name for task in dataset("diabetes").tasks]
    ['progression']
    """
    family, _, rest = name.partition("/")
    if rest:
        return lookup("family of data sets", family, FAMILIES)(rest, **options)
    make = lookup("data set", name, {**DATASETS, **FAMILIES})
    if name in FAMILIES:
        raise ValueError(f"which data set of {name}? write '{name}/<Name>', e.g. '{name}/FashionMNIST'")
    check_options(f"data set '{name}'", make, options)
    return make(**options)


__all__ = ["DATASETS", "Splits", "TaskData", "dataset"]
