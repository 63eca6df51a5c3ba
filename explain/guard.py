"""Leave the model as it was: modes, gradients, random state, grad mode, memory layout, also after an exception."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from explain.scorer import ForwardError

T = TypeVar("T")


def guarded(model: nn.Module, device: torch.device, work: Callable[[], T]) -> T:
    """What ``work()`` gives, with the model `untouched` and its convolutions `channels_last` where that is faster.

    A model that cannot run with channels last (``x.view(...)`` after a convolution) makes ``work`` start again without.

    >>> model = nn.Conv2d(3, 4, 3)
    >>> guarded(model, torch.device("cpu"), lambda: model(torch.zeros(1, 3, 5, 5)).is_contiguous())
    False
    """
    with untouched(model, device):
        filters = _filters(model) if device.type == "cpu" else []
        if filters:
            try:
                with channels_last(filters):
                    return work()
            except (ForwardError, RuntimeError) as error:
                if "view" not in str(error):
                    raise
        return work()


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


@contextmanager
def channels_last(filters: list[nn.Parameter]) -> Iterator[None]:
    """Weights of convolutions in memory as [O, H, W, I] inside, which a CPU computes up to twice as fast.

    >>> weight = nn.Conv2d(2, 2, 3).weight
    >>> with channels_last([weight]):
    ...     weight.is_contiguous()
    False
    >>> weight.is_contiguous()
    True
    """
    own = [weight.data for weight in filters]
    try:
        for weight, data in zip(filters, own, strict=True):
            _, channels, height, width = data.shape
            strides = (channels * height * width, 1, width * channels, channels)
            # strides by hand: for one channel both layouts are the same numbers, and torch would take the slow one
            weight.data = torch.empty_strided(data.shape, strides, dtype=data.dtype).copy_(data)
        yield
    finally:
        for weight, data in zip(filters, own, strict=True):
            weight.data = data


def _filters(model: nn.Module) -> list[nn.Parameter]:
    """The float32 weights of 2-d convolutions that are worth it."""
    return [
        module.weight
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
        and type(module.weight) is nn.Parameter
        and type(module.weight.data) is Tensor
        and module.weight.dtype == torch.float32
        and not module.weight.is_inference()
        and module.weight.is_contiguous()
    ]
