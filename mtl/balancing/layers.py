"""Layer groups of the shared parameters: each module that owns some by itself."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def layer_groups(model: Any, shared: list[nn.Parameter]) -> tuple[list[int], list[str]]:
    """The column at which each group starts (and the number of columns), and the groups' names, in columns' order.

    A group is a run of neighbouring shared parameters that one module owns: a weight and its bias.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> layer_groups(net, list(net.parameters()))
    ([0, 9, 13], ['0', '2'])
    """
    owner = {id(p): name for name, module in model.named_modules() for p in module.parameters(recurse=False)}
    starts: list[int] = []
    names: list[str] = []
    at = 0
    for parameter in shared:
        name = owner.get(id(parameter), "")
        if not names or names[-1] != name:
            starts.append(at)
            names.append(name)
        at += parameter.numel()
    return [*starts, at], names


def columns_of(some: Sequence[nn.Parameter], shared: Sequence[nn.Parameter]) -> Tensor:
    """The columns of ``some`` of the shared parameters, in their order.

    >>> net = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1))
    >>> columns_of(list(net[1].parameters()), list(net.parameters()))
    tensor([3, 4])
    """
    starts = dict(
        zip(map(id, shared), itertools.accumulate((p.numel() for p in shared), initial=0), strict=False)
    )
    return torch.cat([torch.arange(p.numel()) + starts[id(p)] for p in some])
