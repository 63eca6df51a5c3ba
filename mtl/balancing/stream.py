"""The Gramian of the tasks' gradients, piece by piece of the trunk, without ever keeping whole gradients.

The trunk is cut wherever a single tensor, no larger than the largest layer, connects what is above with what is
below (between layers, between residual blocks). All T backward passes go through one piece before the next, so only
the rows of one layer exist at a time; the weights then take one more pass to become a direction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node

from mtl.balancing.factors import Factor, incoming, leaf_variable
from mtl.balancing.gramian import gramian
from mtl.balancing.passes import each_alone
from mtl.balancing.rows import rows_dtype
from mtl.balancing.shards import Shards


@dataclass
class Piece:
    """What lies between two cuts: where gradients enter, what it is made of, where they leave (None: nowhere)."""

    entries: list[GradientEdge]
    nodes: set[Node] = field(default_factory=set)
    parameters: list[nn.Parameter] = field(default_factory=list)
    exit: GradientEdge | None = None


def pieces(roots: Sequence[GradientEdge], room: float = float("inf")) -> list[Piece]:
    """The trunk behind ``roots`` cut into as many pieces as its graph allows, from the features down.

    A cut is through a tensor of at most ``room`` numbers, as T gradients of it will wait there.

    >>> trunk = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> z = trunk(torch.ones(4, 2))
    >>> [sum(p.numel() for p in piece.parameters) for piece in pieces([GradientEdge(z.grad_fn, 0)])]
    [4, 0, 9]
    """
    waiting_for = incoming([root.node for root in roots])
    open_edges = {(root.node, root.output_nr) for root in roots}
    found = [Piece(list(roots))]
    ready = [node for node in dict.fromkeys(root.node for root in roots) if not waiting_for[node]]
    while ready:
        node = ready.pop()
        if len(open_edges) == 1 and found[-1].nodes:
            cut = GradientEdge(*next(iter(open_edges)))  # all that is left goes through here
            size = math.prod(node._input_metadata[cut.output_nr].shape)
            if size <= room:
                found[-1].exit = cut
                found.append(Piece([cut]))
        open_edges = {edge for edge in open_edges if edge[0] is not node}
        found[-1].nodes.add(node)
        for following, output in node.next_functions:
            if following is None:
                continue
            variable = leaf_variable(following)
            if variable is not None:
                found[-1].parameters.append(variable)
                continue
            open_edges.add((following, output))
            waiting_for[following] -= 1
            if waiting_for[following] == 0:
                ready.append(following)
    return found


def streamed_gramian(
    roots: Sequence[GradientEdge],
    seeds: Sequence[Sequence[Tensor | None]],
    shared: Sequence[nn.Parameter],
    factors: Sequence[Factor],
    shards: Shards | None = None,
) -> Tensor:
    """Inner products [T, T] float64 of the gradients of ``shared`` for each row of ``seeds`` at ``roots``.

    Several processes add up the rows of each layer, and have no factors.

    The graph is kept. Memory: T rows of one layer, and T gradients of the tensor at a cut, neither above T times the
    largest layer. A parameter that is used in several pieces is compared in the first, from where all its uses are
    reached.
    """
    shards = shards or Shards()
    room = max(p.numel() for p in shared)
    own = {id(p) for p in shared} - {id(p) for factor in factors for p in factor.parameters}
    dtype = rows_dtype(shared)
    products = torch.zeros(len(seeds), len(seeds), dtype=torch.float64, device=shared[0].device)
    flowing: list[list[Tensor | None]] = [list(seed) for seed in seeds]
    for part in pieces(roots, room):
        columns = list(dict.fromkeys(p for p in part.parameters if id(p) in own))
        own -= {id(p) for p in columns}
        inside = [factor for factor in factors if factor.node in part.nodes]
        *first, last = _layers([*inside, *columns], room)
        for layer in first:
            products += _compared(part.entries, layer, flowing, None, dtype, shards)
        products += _compared(part.entries, last, flowing, part.exit, dtype, shards)
    return shards.total(products)


def _compared(
    entries: Sequence[GradientEdge],
    layer: Sequence[Factor | nn.Parameter],
    flowing: list[list[Tensor | None]],
    exit: GradientEdge | None,
    dtype: torch.dtype,
    shards: Shards,
) -> Tensor:
    """The products [T, T] of the gradients of one layer, by T passes from ``entries``.

    With an exit, the gradients there take the place of those ``flowing``, one by one.
    """
    like = next(s for seed in flowing for s in seed if s is not None)
    sizes = [_size(entry) for entry in layer]
    rows = torch.zeros(len(flowing), sum(sizes), dtype=dtype, device=like.device)
    inputs = [entry.edge if isinstance(entry, Factor) else entry for entry in layer]
    exits = [] if exit is None else [exit]
    for task, got in enumerate(each_alone(entries, flowing, [*inputs, *exits], keep=True)):
        for entry, columns, gradient in zip(layer, rows[task].split(sizes), got, strict=False):
            if gradient is not None:
                columns.copy_((entry.flat(gradient) if isinstance(entry, Factor) else gradient).flatten())
        if exits:
            flowing[task] = [got[-1]]
    products = torch.zeros(len(flowing), len(flowing), dtype=torch.float64, device=like.device)
    for entry, columns in zip(layer, rows.split(sizes, dim=1), strict=True):
        if isinstance(entry, Factor):
            products += entry.products(columns.unflatten(1, (entry.n, entry.out)))
        else:
            products += gramian(shards.summed(columns))
    return products


def _size(entry: Factor | nn.Parameter) -> int:
    return entry.n * entry.out if isinstance(entry, Factor) else entry.numel()


def _layers(entries: Sequence[Factor | nn.Parameter], room: int) -> list[list[Factor | nn.Parameter]]:
    """The entries in groups of at most ``room`` numbers a row, one group at least; vectors go along with any."""
    groups: list[list[Factor | nn.Parameter]] = [[]]
    used = 0
    for entry in entries:
        size = _size(entry) if isinstance(entry, Factor) or entry.dim() > 1 else 0
        if groups[-1] and used + size > room:
            groups, used = [*groups, []], 0
        groups[-1].append(entry)
        used += size
    return groups
