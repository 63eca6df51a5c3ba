"""One layer's output during forward passes: read it, differentiate at it, put another in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from explain.names import unknown
from explain.scorer import Scorer


@dataclass(frozen=True)
class Layer:
    """A layer of a model, as `find_layer` gives it.

    Args:
        name: its name in the model.
        module: the module.
        call: which of its calls in a forward pass, from 0; None: it has only one.
        part: which of the float tensors of its output, from 0; None: it has only one.
    """

    name: str
    module: nn.Module
    call: int | None = None
    part: int | None = None

    def put(self, output: Any, change: Callable[[Tensor], Tensor]) -> tuple[Any, Tensor]:
        """The output with ``change`` made to its tensor, and that tensor as it was."""
        leaves, structure = tree_flatten(output)
        floats = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
        if not floats:
            raise ValueError(
                f"layer '{self.name}' gives {type(output).__name__}, which holds no float tensor"
            )
        if self.part is None and len(floats) > 1:
            shapes = ", ".join(str(list(leaves[i].shape)) for i in floats)
            raise ValueError(
                f"layer '{self.name}' gives {len(floats)} float tensors ({shapes}); give part=0 to "
                f"{len(floats) - 1} to say which"
            )
        if self.part is not None and self.part >= len(floats):
            raise ValueError(
                f"layer '{self.name}' gives {len(floats)} float tensors; part must be in 0..{len(floats) - 1}, "
                f"got {self.part}"
            )
        place = floats[self.part or 0]
        tensor = leaves[place]
        leaves[place] = change(tensor)
        return tree_unflatten(leaves, structure), tensor


def find_layer(
    model: nn.Module, layer: str | nn.Module, call: int | None = None, part: int | None = None
) -> Layer:
    """The layer by its name, or the module itself.

    >>> find_layer(nn.Sequential(nn.ReLU()), "1")
    Traceback (most recent call last):
    ValueError: no layer '1'; known: 0
    """
    for name, value in (("call", call), ("part", part)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise ValueError(f"{name} must be an integer >= 0, or None, got {value!r}")
    modules = {name: module for name, module in model.named_modules(remove_duplicate=False) if name}
    if isinstance(layer, nn.Module):
        for name, module in modules.items():
            if module is layer:
                return Layer(name, module, call, part)
        raise ValueError(f"layer {type(layer).__name__} is not a part of the model; give one of its modules")
    if not isinstance(layer, str):
        raise TypeError(f"layer must be a module of the model or its name, got {type(layer).__name__}")
    if layer not in modules:
        raise unknown("layer", layer, modules)
    return Layer(layer, modules[layer], call, part)


@contextmanager
def tapped(layer: Layer, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """One forward pass inside, in which ``change(output)`` takes the place of the layer's output.

    ``change`` must give a tensor of its own (a clone), for what follows may change it in place.

    >>> model = nn.Sequential(nn.Identity(), nn.Identity())
    >>> with tapped(find_layer(model, "0"), lambda output: output + 1):
    ...     model(torch.zeros(2))
    tensor([1., 1.])
    >>> model(torch.zeros(2))
    tensor([0., 0.])
    """
    calls = 0
    seen: list[tuple[Tensor, int]] = []

    def hook(_module: nn.Module, _inputs: object, output: Any) -> Any:
        nonlocal calls
        calls += 1
        if layer.call is None and calls == 2:
            raise ValueError(
                f"layer '{layer.name}' runs more than once in a forward pass; give call=0, 1, ... to say which time"
            )
        if calls - 1 != (layer.call or 0):
            return output
        changed, tensor = layer.put(output, change)
        seen.append((tensor, tensor._version))
        return changed

    handle = layer.module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
    if not calls:
        raise ValueError(f"layer '{layer.name}' took no part in the forward pass")
    if not seen:
        raise ValueError(
            f"layer '{layer.name}' runs {calls} times; call must be in 0..{calls - 1}, got {layer.call}"
        )
    for tensor, version in seen:
        if tensor._version != version:
            raise ValueError(
                f"layer '{layer.name}' gives a tensor that shares its memory with one that is changed in place "
                "later; choose the layer after that change"
            )


def at_layer(
    scorer: Scorer, inputs: Tensor, layer: Layer, value: Tensor | None = None
) -> tuple[list[Tensor], Tensor]:
    """(K scores [n B], the layer's output [n B, *L] that they come from, a leaf) from one forward pass.

    Args:
        scorer: of the model.
        inputs: [n B, *S]; gradients with respect to them are those past the layer.
        layer: the layer.
        value: [n B, *L], what to put in the place of the layer's output.
    """
    found: list[Tensor] = []

    def change(activation: Tensor) -> Tensor:
        if activation.dim() == 0 or len(activation) != len(inputs):
            raise ValueError(
                f"layer '{layer.name}' gives {list(activation.shape)} for {len(inputs)} examples; expected [B, ...]"
            )
        leaf = (activation if value is None else value.to(activation)).detach().clone()
        if leaf.shape != activation.shape:
            raise ValueError(
                f"layer '{layer.name}' gives {list(activation.shape[1:])} for an example and "
                f"{list(leaf.shape[1:])} for its baseline; both must have one shape"
            )
        found.append(leaf.requires_grad_())
        return leaf.clone()

    with tapped(layer, change):
        columns = scorer.columns(inputs)
    return columns, found[0]


def layer_gradients(
    scorer: Scorer,
    columns: Sequence[Tensor],
    leaf: Tensor,
    layer: Layer,
    inputs: Tensor | None = None,
    *,
    keep: bool = False,
) -> tuple[list[Tensor], list[Tensor | None]]:
    """The gradients of each column's sum with respect to the layer's output, and to ``inputs`` past the layer.

    Args:
        scorer: of the model.
        columns: its scores.
        leaf: the layer's output.
        layer: for messages.
        inputs: what was put in.
        keep: whether the graph is used again.

    Returns:
        K tensors like ``leaf``; K tensors like ``inputs``, None where nothing passes by.
    """
    last, own, past = len(columns) - 1, [], []
    of = [leaf] if inputs is None else [leaf, inputs]
    for k, (task, column) in enumerate(zip(scorer.tasks, columns, strict=True)):
        found: Sequence[Tensor | None] = [None]
        if column.requires_grad:
            found = torch.autograd.grad(column.sum(), of, retain_graph=keep or k < last, allow_unused=True)
        if found[0] is None:
            raise ValueError(
                f"task '{task}' does not depend on layer '{layer.name}' through differentiable operations; give "
                "task= a task that uses it, or layer= another layer"
            )
        own.append(found[0])
        past.append(found[-1] if inputs is not None else None)
    return own, past


def check_rows(scorer: Scorer, inputs: Tensor, layer: Layer) -> None:
    """Raise unless the layer's first dimension is that of the examples, which a chance equality of sizes would hide.

    After the scorer's first call.
    """
    if len(inputs) > 1:
        first = torch.zeros(1, dtype=torch.long, device=inputs.device)
        scorer, inputs = scorer.of(first), inputs[:1]
    else:
        inputs = inputs.repeat(2, *[1] * (inputs.dim() - 1))
    with torch.no_grad():
        at_layer(scorer, inputs, layer)
