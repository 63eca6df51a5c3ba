"""The diabetes table that comes with scikit-learn: 442 patients, 10 measurements, one progression score."""

from __future__ import annotations

import torch

from mtl.data.task_data import Splits, TaskData, split_rows
from mtl.tasks import Regression
from mtl.training.streams import generator


def diabetes(*, train: int = 300, validation: int = 71, test: int = 71, seed: int = 0) -> Splits:
    """One task, ``progression`` (disease progression after one year, 25..346), from 10 standardised features.

    Features are standardised by the training rows' mean and deviation.

    Source: Efron et al. 2004, "Least angle regression"; scikit-learn's copy.

    >>> data = diabetes()
    >>> data.train.inputs.shape, data.feature_names[:3]
    (torch.Size([300, 10]), ('age', 'sex', 'bmi'))
    """
    from sklearn.datasets import load_diabetes

    table = load_diabetes(scaled=False)
    inputs = torch.from_numpy(table.data).float()
    target = torch.from_numpy(table.target).float()
    parts = split_rows(len(inputs), (train, validation, test), generator(seed, "diabetes"))
    mean, deviation = inputs[parts[0]].mean(dim=0), inputs[parts[0]].std(dim=0)
    scaled = (inputs - mean) / deviation
    task = Regression("progression", unit="points")
    train_data, validation_data, test_data = (
        TaskData(scaled[rows], {"progression": target[rows]}) for rows in parts
    )
    return Splits("diabetes", (task,), train_data, validation_data, test_data, tuple(table.feature_names))
