"""Optimizers and learning-rate schedules, by name or as objects of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mtl.names import lookup

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
}


def _constant(optimizer: Optimizer, _steps: int) -> LRScheduler:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)


def _cosine(optimizer: Optimizer, steps: int) -> LRScheduler:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)


def _linear(optimizer: Optimizer, steps: int) -> LRScheduler:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / steps))


def _one_cycle(optimizer: Optimizer, steps: int) -> LRScheduler:
    peak = [group["lr"] for group in optimizer.param_groups]
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=peak, total_steps=max(2, steps))


SCHEDULES: dict[str, Callable[[Optimizer, int], LRScheduler]] = {
    "constant": _constant,
    "cosine": _cosine,
    "linear": _linear,
    "one_cycle": _one_cycle,
}


def make_optimizer(
    spec: str | Optimizer | Callable[..., Optimizer], model: nn.Module, lr: float, weight_decay: float
) -> Optimizer:
    """An optimizer over the model's trainable parameters.

    Args:
        spec: a name in `OPTIMIZERS` (``lr`` and ``weight_decay`` apply), a factory called with the parameters,
            or an optimizer object, which must hold the model's parameters.

    >>> make_optimizer("sgd", nn.Linear(2, 1), lr=0.1, weight_decay=0.0).param_groups[0]["lr"]
    0.1
    """
    if isinstance(spec, Optimizer):
        held = {id(p) for group in spec.param_groups for p in group["params"]}
        if not all(id(p) in held for p in model.parameters() if p.requires_grad):
            raise ValueError("the optimizer does not hold all trainable parameters of the model")
        return spec
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("the model has no trainable parameter")
    if isinstance(spec, str):
        if not lr > 0 or weight_decay < 0:
            raise ValueError(f"lr must be > 0 and weight_decay >= 0, got {lr} and {weight_decay}")
        return lookup("optimizer", spec, OPTIMIZERS)(parameters, lr=lr, weight_decay=weight_decay)
    return spec(parameters)


def make_schedule(
    spec: str | LRScheduler | Callable[[Optimizer, int], Any], optimizer: Optimizer, steps: int
) -> Any:
    """A schedule stepped once a training step: a name in `SCHEDULES`, a factory ``(optimizer, steps)``, an object."""
    if isinstance(spec, str):
        return lookup("schedule", spec, SCHEDULES)(optimizer, steps)
    if hasattr(spec, "step"):
        return spec
    return spec(optimizer, steps)
