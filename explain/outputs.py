"""Outputs of any structure as a dict of tensors by task name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

SINGLE = "output"  # the name of a lone tensor


def named_outputs(output: Any) -> dict[str, Tensor]:
    """The float tensors of an output by name: dict keys, fields of dataclasses and named tuples, else "0", "1", ...

    Nested structures join their names by a dot. Entries that are not float tensors (states, None) are left out.

    >>> import torch
    >>> list(named_outputs((torch.zeros(2, 3), {"mean": torch.zeros(2), "n": 3}))), list(named_outputs(torch.zeros(2)))
    (['0', '1.mean'], ['output'])
    """
    if isinstance(output, Tensor):
        return {SINGLE: output}
    if _entries(output) is None:
        raise TypeError(
            "the model must give a tensor, or a dict, tuple, list or dataclass of tensors (also nested), "
            f"got {type(output).__name__}"
        )
    named: dict[str, Tensor] = {}
    for name, tensor in _walk("", output):
        if name in named:
            raise ValueError(f"two outputs of the model are called '{name}'; rename one of its keys")
        named[name] = tensor
    if not named:
        raise TypeError(f"the model's {type(output).__name__} holds no float tensor to explain")
    return named


def _walk(name: str, output: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield name, output
        return
    for key, value in _entries(output) or ():
        yield from _walk(f"{name}.{key}" if name else key, value)


def _entries(output: Any) -> list[tuple[str, Any]] | None:
    """What a structure holds, by name; None for anything that is no structure."""
    if isinstance(output, Mapping):
        return [(str(key), value) for key, value in output.items()]
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return [(field.name, getattr(output, field.name)) for field in dataclasses.fields(output)]
    if isinstance(output, tuple | list):
        fields = getattr(output, "_fields", range(len(output)))
        return [(str(key), value) for key, value in zip(fields, output, strict=True)]
    return None


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
