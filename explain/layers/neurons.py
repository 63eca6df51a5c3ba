"""What in the input moves one unit of a layer, and what a task gets from the input through that unit."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from explain.guard import untouched
from explain.inputs import Inputs, lay_out
from explain.layers.tap import Layer, find_layer, tapped
from explain.outputs import unwrap
from explain.saliency import saliency

Neuron = int | Sequence[int] | Callable[[Tensor], Tensor]
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def neuron_attribution(
    model: nn.Module,
    inputs: Inputs,
    layer: str | nn.Module,
    neuron: Neuron,
    /,
    *,
    method: str = "gradient",
    call: int | None = None,
    part: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    progress: bool = False,
    **options: Any,
) -> Any:
    """Signed maps of what in the input moves a unit of a layer: `saliency` of its activation.

    A unit belongs to no task, so that there is one map. Any method will do, with its own checks: integrated gradients
    sum to the unit's activation less that at the baseline. "gradient" is Captum's ``NeuronGradient``,
    "integrated_gradients" its ``NeuronIntegratedGradients``, and so on. The model is run to its end.

    Args:
        model: as for `saliency`; also left as it was.
        inputs: as for `saliency`.
        layer: a module of the model or its name, whose output is [B, *L].
        neuron: the unit's index in *L, a number for [B, N]; or a callable ``activation [B, *L] -> [B]``, e.g.
            ``lambda a: a[:, 3].mean(dim=(1, 2))`` for a channel.
        method: a name in `explain.METHODS`.
        call: which call, from 0, of a module that runs several times in a forward pass.
        part: which float tensor, from 0, of a layer that gives several.
        batch_size: as for `saliency`.
        seed: as for `saliency`.
        progress: as for `saliency`.
        options: of the method; ``layer=`` is that of the methods of the Grad-CAM family, by the same names.

    Returns:
        Like ``inputs``.

    Raises:
        ValueError: as `saliency`; an index that is not in the layer's output.

    Cost: that of the method for one task.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> _ = nn.init.constant_(model[0].weight, 2.0)
    >>> neuron_attribution(model, torch.ones(1, 2), "0", 1)
    tensor([[2., 2.]])
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    model = unwrap(model)
    place = find_layer(model, layer, call, part)
    _, joined = lay_out(inputs)
    with untouched(model, joined.device):
        return saliency(
            neuron_view(model, place, neuron),
            inputs,
            method=method,
            batch_size=batch_size,
            seed=seed,
            progress=progress,
            **options,
        )


def neuron_view(model: nn.Module, layer: Layer, neuron: Neuron) -> nn.Module:
    """A model with the same parts under the same names that gives the unit's activation [B]; the model is not changed.

    A shallow copy whose forward pass is the model's own, so that methods find every module where they expect it. Its
    mode does not reach the model itself: that one must be in eval mode.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> view = neuron_view(model, find_layer(model, "0"), 1)
    >>> view(torch.ones(4, 2)).shape, [name for name, _ in view.named_modules()]
    (torch.Size([4]), ['', '0', '1'])
    """
    pick = neuron if callable(neuron) else _at_index(layer, neuron)
    view = copy.copy(model)
    for hooks in HOOKS:  # those of the model run in the model's own call
        setattr(view, hooks, OrderedDict())

    def forward(*args: Any, **kwargs: Any) -> Tensor:
        found: list[Tensor] = []

        def keep(activation: Tensor) -> Tensor:
            found.append(pick(activation.clone()))
            return activation.clone()  # what follows may change it in place

        with tapped(layer, keep):
            model(*args, **kwargs)
        if not isinstance(found[0], Tensor) or found[0].dim() != 1:
            got = list(found[0].shape) if isinstance(found[0], Tensor) else type(found[0]).__name__
            raise ValueError(
                f"the neuron callable must give [B] of the output of layer '{layer.name}', got {got}"
            )
        return found[0]

    view.forward = forward
    return view


def _at_index(layer: Layer, neuron: int | Sequence[int]) -> Callable[[Tensor], Tensor]:
    index: tuple[int, ...] = (neuron,) if isinstance(neuron, int) else tuple(neuron)
    if any(type(i) is not int for i in index):
        raise TypeError(f"neuron must be an index of integers or a callable, got {neuron!r}")

    def pick(activation: Tensor) -> Tensor:
        shape = list(activation.shape[1:])
        if len(index) != len(shape) or any(not 0 <= i < side for i, side in zip(index, shape, strict=True)):
            raise ValueError(
                f"neuron must be an index into {shape}, the output of layer '{layer.name}' for an example, got "
                f"{index}; for a group of units give a callable, e.g. lambda a: a[:, 0].flatten(1).mean(1)"
            )
        for i in index:
            activation = activation.select(1, i)
        return activation

    return pick
