"""Layer groups of the shared parameters: each module that owns some by itself."""

from typing import Any

from torch import nn


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
