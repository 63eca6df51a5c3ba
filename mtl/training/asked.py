"""What a training was asked to do, in plain values: a checkpoint keeps it, and a resumed training must be the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mtl.balancing import Balancer
from mtl.data.task_data import TaskData
from mtl.names import lookup
from mtl.training.batches import Data

CHANGES = {
    "steps": "the length of training",
    "batch_size": "examples a step",
    "optimizer": "its kind, lr, weight_decay and other settings",
    "schedule": "of the learning rate",
    "validate_every": "steps between validations",
    "dynamics_every": "steps between measurements of gradients",
    "augment": "of training batches",
    "data_workers": "processes that read the data, whose random numbers depend on their number",
    "train": "the training data",
    "validation": "the validation data",
}  # what a resumed training may do in another way than before, where it is allowed by name


def plain(value: Any) -> Any:
    """An option as plain values, equal for equal options; functions and objects by the name of their type.

    >>> plain({"lr": 0.1, "betas": (0.9, 0.99), "hook": print})
    {'lr': 0.1, 'betas': [0.9, 0.99], 'hook': 'print'}
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return getattr(value, "__qualname__", type(value).__qualname__)


def of_balancer(balancer: Balancer) -> dict[str, Any]:
    """A balancer's method and settings."""
    settings = ("level", "every", "match_norm", "smooth", "stream")
    return {
        "name": balancer.name,
        **plain({name: getattr(balancer, name) for name in settings}),
        **(plain(balancer.method) if dataclasses.is_dataclass(balancer.method) else {}),
    }


def of_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """An optimizer's kind and the settings of its groups, before a schedule touches them."""
    groups = [{k: plain(v) for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    same = {k: v for k, v in groups[0].items() if all(group.get(k) == v for group in groups)}
    return {"name": type(optimizer).__name__, **(same if len(groups) == 1 else {**same, "groups": groups})}


def of_data(data: Data | None) -> dict[str, Any] | None:
    """A split's length, and of examples in memory their sha256."""
    if data is None:
        return None
    found: dict[str, Any] = {"kind": type(data).__name__}
    with suppress(TypeError):  # a stream has no length
        found["length"] = len(data)  # type: ignore[arg-type]  # or none
    if isinstance(data, torch.utils.data.DataLoader):
        found["batch_size"] = data.batch_size
    if isinstance(data, TaskData):
        found["sha256"] = data.fingerprint()
    return found


def check_same(
    before: Mapping[str, Any], now: Mapping[str, Any], allow: Collection[str], where: object
) -> set[str]:
    """The options of `CHANGES` that differ and may; all must be allowed.

    Raises:
        ValueError: something else differs; the message shows the differences in one line.
    """
    for name in allow:
        lookup("change", name, CHANGES)
    differ = {name for name in {*before, *now} if before.get(name) != now.get(name)}
    refused = [name for name in now if name in differ and name not in allow]
    refused += sorted(name for name in differ if name not in now)
    if refused:
        told = [difference for name in refused for difference in _told(name, before.get(name), now.get(name))]
        may = [name for name in refused if name in CHANGES]
        advice = f"; allow_change={may} lets them differ" if len(may) == len(refused) else ""
        raise ValueError(
            f"cannot resume {where}: {', '.join(told)}; give what it was started with, or train into another "
            f"folder{advice}"
        )
    return differ


def _told(name: str, before: Any, now: Any) -> list[str]:
    """``name was X, is Y`` for each part that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        parts = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        return [told for key in parts for told in _told(f"{name}.{key}", before.get(key), now.get(key))]
    return [f"{name} was {_short(before)}, is {_short(now)}"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:40] + "..."
