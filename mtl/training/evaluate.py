"""Loss and metrics of a model on a split."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from mtl.inputs import apply, channels_last
from mtl.metrics import Scores
from mtl.model import MultiTaskModel
from mtl.training.batches import Data, batches, examples, to_device


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards every module is in the mode it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@torch.no_grad()
def evaluate(model: MultiTaskModel, data: Data, *, batch_size: int = 64) -> dict[str, dict[str, float]]:
    """{task: {metric: value, ..., "loss": value}} over all of ``data``; the model's modes are put back.

    Sums and counts over the whole split, so that the batch size changes nothing but rounding. Missing labels do
    not count; a task without a label is left out. Several processes take a share each, and all get the scores of the
    whole: every one of them must call this.

    >>> import mtl
    >>> data = mtl.dataset("diabetes")
    >>> model = mtl.MultiTaskModel(mtl.backbone("identity", in_features=10), data.tasks)
    >>> list(evaluate(model, data.test)["progression"])
    ['rmse', 'mae', 'r2', 'loss']
    """
    device = next(model.parameters()).device
    scores = Scores(model.tasks, device)
    with evaluating(model):
        for batch in batches(data, batch_size):
            inputs, targets = to_device(batch, device)
            if not examples(inputs):
                continue  # a share may be empty
            scores.update(apply(model, channels_last(inputs)), targets)
    return scores.compute()
