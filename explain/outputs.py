"""Outputs of any structure as a dict of tensors by task name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

SINGLE = "output"  # the name of a lone tensor


def named_outputs(output: Any) -> dict[str, Tensor]:
    """A tensor, or a dict, tuple or list of tensors, by name: dict keys, else "0", "1", ...

    Entries that are not float tensors (states, None) are left out.

    >>> import torch
    >>> list(named_outputs((torch.zeros(2, 3), torch.zeros(2)))), list(named_outputs(torch.zeros(2)))
    (['0', '1'], ['output'])
    """
    if isinstance(output, Tensor):
        return {SINGLE: output}
    if isinstance(output, Mapping):
        pairs = [(str(key), value) for key, value in output.items()]
    elif isinstance(output, tuple | list):
        pairs = [(str(index), value) for index, value in enumerate(output)]
    else:
        raise TypeError(
            f"the model must give a tensor, or a dict, tuple or list of tensors, got {type(output).__name__}"
        )
    named = {key: value for key, value in pairs if isinstance(value, Tensor) and value.is_floating_point()}
    if not named:
        raise TypeError(f"the model's {type(output).__name__} holds no float tensor to explain")
    return named


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside ``torch.compile``, DataParallel and DistributedDataParallel, which hooks and autograd can use.

    >>> inner = nn.Linear(1, 1)
    >>> unwrap(DataParallel(inner)) is inner
    True
    """
    while True:
        if isinstance(model, DataParallel | DistributedDataParallel):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod  # type: ignore[assignment]  # checked in the line above
        else:
            return model
