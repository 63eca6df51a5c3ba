"""Which layers a task's score depends on, from the output down, and how they are made random."""

from __future__ import annotations

import copy
import graphlib
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Node = Any  # a node of autograd's graph, which torch gives no public type
ROOT = "(model)"  # the name of the model itself, where it holds parameters outside of its modules


def duplicate(model: nn.Module) -> nn.Module:
    """A deep copy whose parameters all take gradients and lie in memory in their natural order.

    So random numbers do not depend on how the memory of the original is laid out.

    Raises:
        ValueError: the model cannot be copied.
    """
    try:
        twin = copy.deepcopy(model)
    except Exception as error:  # whatever a user's module raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"randomisation works on a copy, and {type(model).__name__} cannot be copied by copy.deepcopy: {reason}"
        ) from error
    for parameter in twin.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.contiguous()
            parameter.requires_grad_(True)
    return twin


def paths(model: nn.Module, inputs: Tensor, scores: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """The modules whose own parameters each task's score depends on, those nearest to the output first.

    Found in autograd's graph, so functional uses of parameters count and modules off a task's path do not. A
    parameter sits where it first meets the inputs' way to the output; a module sits where the last of its uses is. The
    modules of all tasks are in one order, which holds for each.

    Args:
        model: whose parameters take gradients.
        inputs: a leaf that takes gradients, from which the scores were computed.
        scores: {task: tensor} with a graph.

    Returns:
        {task: names}; a parameter that several modules share belongs to the first of them.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> x = torch.ones(1, 2, requires_grad=True)
    >>> paths(model, x, {"a": model(x)})
    {'a': ['2', '0']}
    """
    roots = {task: score.grad_fn for task, score in scores.items()}
    nodes, depth = _from_the_top([root for root in roots.values() if root is not None])
    entry = _entries(nodes, depth, inputs)
    owner: dict[Any, str] = {}
    place: dict[str, int] = {}
    for number, (name, module) in enumerate(model.named_modules()):
        for parameter in module.parameters(recurse=False):
            owner.setdefault(parameter, name or ROOT)
        place[name or ROOT] = number
    met: dict[str, int] = {}  # how many operations lie between a module and the output
    for node in nodes:
        name = owner.get(getattr(node, "variable", None))
        if name is not None:
            met[name] = min(met.get(name, entry[node]), entry[node])
    found = {}
    for task, root in roots.items():
        reached = {owner.get(getattr(node, "variable", None)) for node in _reachable(root)}
        names = [name for name in reached if name is not None]
        found[task] = sorted(names, key=lambda name: (met[name], -place[name]))
    return found


def steps(paths: Mapping[str, Sequence[str]], at_most: int) -> list[list[str]]:
    """Groups of modules to be made random one after another, so that every task's own order is kept.

    Modules of different tasks' heads share a group, so that one explanation after each group serves all tasks.

    Args:
        paths: {task: names in order}.
        at_most: groups; where there would be more, neighbours after the first group are put together.

    >>> steps({"a": ["head_a", "trunk.1", "trunk.0"], "b": ["head_b", "trunk.1", "trunk.0"]}, at_most=10)
    [['head_a', 'head_b'], ['trunk.1'], ['trunk.0']]
    """
    before: dict[str, set[str]] = {}
    for names in paths.values():
        for number, name in enumerate(names):
            before.setdefault(name, set()).update(names[number - 1 : number])
    sorter = graphlib.TopologicalSorter(before)
    sorter.prepare()
    groups = []
    while sorter.is_active():
        ready = sorter.get_ready()
        groups.append(sorted(ready, key=list(before).index))
        sorter.done(*ready)
    if len(groups) > at_most:
        cuts = (
            np.array_split(np.arange(1, len(groups)), at_most - 1)
            if at_most > 1
            else [np.arange(1, len(groups))]
        )
        rest = [[name for number in cut for name in groups[number]] for cut in cuts]
        groups = [groups[0], *rest] if at_most > 1 else [groups[0] + rest[0]]
    return groups


def randomise(model: nn.Module, names: Sequence[str], seed: int, draw: int = 0) -> None:
    """Give the named modules' own parameters new values, in place; a stream of its own for each (seed, draw, name).

    A module without children that has ``reset_parameters`` is initialised by it (batch norm forgets its statistics,
    too). Otherwise, and where that changes nothing though there is something to forget, normal numbers take the values'
    place, with mean 0 and the same mean square.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    >>> before = [p.clone() for p in model.parameters()]
    >>> randomise(model, ["1"], seed=0)
    >>> [bool((p == q).all()) for p, q in zip(model.parameters(), before)]
    [True, True, False, False]
    """
    modules = dict(model.named_modules())
    for name in names:
        state = np.random.SeedSequence((seed, draw, zlib.crc32(name.encode()))).generate_state(1, np.uint64)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.default_generator.manual_seed(int(state[0] >> np.uint64(1)))
            _randomise_one(modules["" if name == ROOT else name])


def _randomise_one(module: nn.Module) -> None:
    own = [p for p in module.parameters(recurse=False) if p.is_floating_point()]
    before = [p.detach().clone() for p in own]
    reset = getattr(module, "reset_parameters", None)
    if callable(reset) and not list(module.children()):
        device = own[0].device
        module.to("cpu")  # the same numbers whatever the device
        reset()
        module.to(device)
    for parameter, old in zip(own, before, strict=True):
        constant = callable(reset) and bool((old == old.flatten()[:1]).all())  # as a fresh bias or scale is
        if torch.equal(parameter, old) and not constant:
            size = old.double().square().mean().sqrt()
            new = torch.randn(old.shape, dtype=torch.float64) * size.cpu()
            parameter.copy_(new.to(parameter))


def _from_the_top(roots: Sequence[Node]) -> tuple[list[Node], dict[Node, int]]:
    """(nodes in topological order, users before what they use; the longest way from a root to each)."""
    users: dict[Node, int] = defaultdict(int)
    seen, stack = set(roots), list(roots)
    while stack:
        for node in _next(stack.pop()):
            users[node] += 1
            if node not in seen:
                seen.add(node)
                stack.append(node)
    order, ready = [], [root for root in dict.fromkeys(roots) if not users[root]]
    depth = dict.fromkeys(seen, 0)
    while ready:
        node = ready.pop()
        order.append(node)
        for used in _next(node):
            depth[used] = max(depth[used], depth[node] + 1)
            users[used] -= 1
            if not users[used]:
                ready.append(used)
    return order, depth


def _entries(nodes: Sequence[Node], depth: Mapping[Node, int], inputs: Tensor) -> dict[Node, int]:
    """Each node's depth where it lies on the inputs' way, else the least depth at which what it makes gets there.

    So a weight that is computed first (transposed, normalised) counts where it is used.
    """
    way: set[Node] = set()
    for node in reversed(nodes):
        if getattr(node, "variable", None) is inputs or any(used in way for used in _next(node)):
            way.add(node)
    if not way:  # scores that do not depend on the inputs differentiably
        way = set(nodes)
    entry: dict[Node, int] = {}
    for node in nodes:
        if node in way and getattr(node, "variable", None) is None:
            entry[node] = depth[node]
        entry.setdefault(node, depth[node])
        for used in _next(node):
            if used not in way or getattr(used, "variable", None) is not None:
                entry[used] = min(entry.get(used, entry[node]), entry[node])
    return entry


def _reachable(root: Node | None) -> set[Node]:
    seen, stack = {root} - {None}, [root] if root is not None else []
    while stack:
        fresh = [node for node in _next(stack.pop()) if node not in seen]
        seen.update(fresh)
        stack.extend(fresh)
    return seen


def _next(node: Node) -> list[Node]:
    return [used for used, _ in node.next_functions if used is not None]
