"""Where the heads leave the trunk: an alias of the features for each task, which backward passes can find again.

With a fork in the graph, one backward pass of all losses through the heads gives every head its gradient and every
task its gradient of the features, and only the trunk is passed T times. Nothing is kept on the model: the aliases
are marked in the autograd graph itself, and `find_fork` walks from the losses to them. Where a loss reaches a shared
parameter on another way (a tied weight, a penalty), no fork is found, and the general way is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node

_MARK = "mtl.fork"
_serial = count()
Leaf = tuple[int, int]  # which call of `fork`, and which tensor of its features


@dataclass(frozen=True)
class Fork:
    """What the losses of T tasks have in common: the edges into the trunk, and each task's edges at its alias."""

    trunk: dict[Leaf, GradientEdge]
    aliases: list[dict[Leaf, GradientEdge]]  # for each loss


def fork(features: Any, tasks: int) -> list[Any]:
    """The features once for each task: aliases of the same memory, to be given to the heads.

    Args:
        features: a tensor, or lists, tuples and dicts of them, nested as you like.
        tasks: T.

    A model of your own calls this between trunk and heads, and balancing then passes the heads once and not T times.

    >>> z = torch.ones(2, 3, requires_grad=True) * 2
    >>> left, right = fork({"map": z}, 2)
    >>> left["map"].data_ptr() == z.data_ptr()
    True
    """
    if torch.compiler.is_compiling():  # a compiled graph is one node; there is nothing to find in it
        return [features] * tasks
    serial = next(_serial)

    def alias(task: int) -> Callable[[int, Tensor], Tensor]:
        def mark(leaf: int, tensor: Tensor) -> Tensor:
            if not (tensor.requires_grad and torch.is_grad_enabled()):
                return tensor
            own = tensor.view_as(tensor)
            assert own.grad_fn is not None
            _notes(own.grad_fn)[_MARK] = (serial, task, leaf)
            return own

        return mark

    return [_each(features, alias(task), count()) for task in range(tasks)]


def find_fork(
    losses: Sequence[Tensor], shared: Sequence[nn.Parameter], heads: Sequence[nn.Parameter]
) -> Fork | None:
    """The fork through which alone the losses reach the shared parameters, each by aliases of its own; or None."""
    own, trunk = {id(p) for p in heads}, {id(p) for p in shared}
    owner: dict[tuple[int, int], int] = {}
    edges: dict[Leaf, GradientEdge] = {}
    aliases: list[dict[Leaf, GradientEdge]] = []
    for row, loss in enumerate(losses):
        mine: dict[Leaf, GradientEdge] = {}
        waiting: list[Node | None] = [loss.grad_fn]
        seen: set[Node] = set()
        while waiting:
            node = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            name = node.name()
            if name == "ViewBackward0" and (mark := _notes(node).get(_MARK)) is not None:
                serial, task, leaf = mark
                if owner.setdefault((serial, task), row) != row:
                    return None
                mine[serial, leaf] = GradientEdge(node, 0)
                following, output = node.next_functions[0]
                assert following is not None
                edges[serial, leaf] = GradientEdge(following, output)
            elif name == "torch::autograd::AccumulateGrad":
                variable = id(node.variable)  # type: ignore[attr-defined]
                if variable in trunk or variable not in own:
                    return None
            elif name == "CheckpointFunctionBackward":  # re-entrant: only a plain backward passes it
                return None
            else:
                waiting.extend([following for following, _ in node.next_functions])
        aliases.append(mine)
    return Fork(edges, aliases) if edges else None


def _notes(node: Node) -> dict[str, Any]:
    """What was noted on a node of the graph; it lives as long as the graph."""
    notes: Any = node.metadata  # a property, whatever the annotations of torch say
    return notes


def _each(value: Any, change: Callable[[int, Tensor], Tensor], leaves: count[int]) -> Any:
    """``value`` with every tensor changed; leaves are counted in order."""
    if isinstance(value, Tensor):
        return change(next(leaves), value)
    if isinstance(value, dict):
        return type(value)((name, _each(part, change, leaves)) for name, part in value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_each(part, change, leaves) for part in value))
    if isinstance(value, list | tuple):
        return type(value)(_each(part, change, leaves) for part in value)
    return value
