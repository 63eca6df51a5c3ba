"""Leave the model as it was: modes, gradients, random state, grad mode, also after an exception."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def untouched(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Eval mode, gradients on, autocast off inside; afterwards everything is as before.

    BatchNorm and dropout in train mode would make a map depend on the other images and change the model, so the
    model runs in eval mode whatever mode it is in.

    >>> model = nn.Dropout()
    >>> with untouched(model, torch.device("cpu")):
    ...     model.training
    False
    >>> model.training
    True
    """
    modes = {module: module.training for module in model.modules()}
    devices = [device] if device.type == "cuda" else []
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(device.type, enabled=False),
            torch.random.fork_rng(devices=devices),
        ):
            model.eval()
            yield
    finally:
        for module, training in modes.items():
            module.training = training
