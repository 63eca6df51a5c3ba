"""One input or several by name: the few places that must know which.

A lone tensor [B, *S] goes to the model as it is, ``model(inputs)``; several, such as an image and a question, come as
{name: tensor [B, ...]} and go in by name, ``model(**inputs)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Inputs = Tensor | Mapping[str, Tensor]


def each(function: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """``function`` of every input tensor.

    >>> each(len, {"image": torch.zeros(2, 3), "words": torch.zeros(2, 5)})
    {'image': 2, 'words': 2}
    """
    if isinstance(inputs, Mapping):
        return {name: function(part) for name, part in inputs.items()}
    return function(inputs)


def tensors(inputs: Inputs) -> dict[str, Tensor]:
    """Every input tensor by name; a lone one is called "inputs".

    >>> list(tensors(torch.zeros(2, 3)))
    ['inputs']
    """
    return dict(inputs) if isinstance(inputs, Mapping) else {"inputs": inputs}


def apply(model: nn.Module, inputs: Inputs) -> Any:
    """``model(inputs)``, or ``model(**inputs)`` of several."""
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def channels_last(inputs: Inputs) -> Inputs:
    """4-D inputs in the memory format that is faster for convolutions; the numbers are the same."""
    return each(
        lambda x: x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x,
        inputs,
    )
