"""T passes through the trunk into the rows of the buffer: one by one, or all at once by vmap.

On a CPU one by one is two to three times faster (measured by benchmarks/balancing.py), and always taken, so that a run
can be repeated to the bit. On an accelerator the first step of each layout times both.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from mtl.balancing.factors import Factor
from mtl.balancing.rows import Parameters, Rows
from mtl.distributed.ranks import ranks

Seeds = Sequence[Sequence[Tensor | None]]
_batched: dict[object, bool] = {}  # by layout: is vmap the faster one?


def backward(
    roots: Sequence[object], seeds: Sequence[Tensor], *, inputs: Parameters | None = None, keep: bool = False
) -> None:
    """`torch.autograd.backward` from tensors or edges; with an empty list of inputs there is nothing to do."""
    if inputs is not None and not inputs:
        return
    try:
        torch.autograd.backward(roots, seeds, retain_graph=keep, inputs=inputs)  # type: ignore[arg-type]  # edges too
    except RuntimeError as error:
        raise explained(error) from error


def explained(error: RuntimeError) -> Exception:
    """What a user can do about an error of the backward pass, where that is known."""
    if "donated buffer" in str(error):
        return ValueError(
            "a compiled model lets go of its buffers after one backward pass, and balancing by gradients needs more: "
            "set torch._functorch.config.donated_buffer = False before the first forward"
        )
    return error


def trunk_rows(
    roots: Sequence[GradientEdge],
    seeds: Seeds,
    parameters: Parameters,
    buffer: Rows,
    at: Sequence[int],
    *,
    add: bool,
    all_leaves: bool,
    keep: bool,
) -> None:
    """Fill (or add to) the rows ``at`` with the gradients of ``parameters`` for each row of ``seeds`` at ``roots``.

    ``.grad`` of the parameters must be None. ``all_leaves``: the parameters are all leaves of the trunk.
    """
    if add or len(seeds) == 1 or not _at_once_is_faster(roots, seeds, parameters, ()):
        return _one_by_one(roots, seeds, parameters, buffer, at, add=add, all_leaves=all_leaves, keep=keep)
    for row, found in zip(at, _at_once(roots, seeds, parameters, keep=keep), strict=True):
        buffer.put(row, found)
    return None


def trunk_factors(
    roots: Sequence[GradientEdge],
    seeds: Seeds,
    parameters: Parameters,
    factors: Sequence[Factor],
    buffer: Rows,
    *,
    keep: bool,
) -> None:
    """Fill the rows with the gradients of ``parameters``, and their extra matrices with those at the factors' edges."""
    inputs: list[Any] = [*parameters, *(factor.edge for factor in factors)]
    for factor in factors:
        _ = factor.source  # the last pass may free the graph
    if _at_once_is_faster(roots, seeds, inputs, factors):
        passes: Iterable[list[Tensor | None]] = _at_once(roots, seeds, inputs, keep=keep)
    else:
        passes = each_alone(roots, seeds, inputs, keep=keep)
    for row, found in enumerate(passes):
        own = found[len(parameters) :]
        flat = [None if g is None else factor.flat(g) for factor, g in zip(factors, own, strict=True)]
        buffer.put(row, [*found[: len(parameters)], *flat])


def _one_by_one(
    roots: Sequence[GradientEdge],
    seeds: Seeds,
    parameters: Parameters,
    buffer: Rows,
    at: Sequence[int],
    *,
    add: bool,
    all_leaves: bool,
    keep: bool,
) -> None:
    inputs = None if all_leaves else list(parameters)  # without a list, re-entrant checkpoints work too
    with buffer.receive(add=add) as into:
        for k, (row, seed) in enumerate(zip(at, seeds, strict=True)):
            there = [(root, s) for root, s in zip(roots, seed, strict=True) if s is not None]
            with into(row):
                if there:
                    again = keep or k + 1 < len(seeds)
                    backward([root for root, _ in there], [s for _, s in there], inputs=inputs, keep=again)


def each_alone(
    roots: Sequence[GradientEdge], seeds: Seeds, inputs: Sequence[Any], *, keep: bool
) -> Iterator[list[Tensor | None]]:
    """One pass a task, when it is asked for: only one task's gradients exist at a time."""
    for k, seed in enumerate(seeds):
        there = [(root, s) for root, s in zip(roots, seed, strict=True) if s is not None]
        yield gradients(
            [root for root, _ in there],
            inputs,
            [s for _, s in there],
            keep=keep or k + 1 < len(seeds),
        )


def _at_once(
    roots: Sequence[GradientEdge], seeds: Seeds, inputs: Sequence[Any], *, keep: bool
) -> list[list[Tensor | None]]:
    columns = []
    for leaf in range(len(roots)):
        like = next(seed[leaf] for seed in seeds if seed[leaf] is not None)
        assert like is not None
        columns.append(
            torch.stack([torch.zeros_like(like) if (s := seed[leaf]) is None else s for seed in seeds])
        )
    found = gradients(roots, inputs, columns, keep=keep, batched=True)
    return [[None if gradient is None else gradient[k] for gradient in found] for k in range(len(seeds))]


def gradients(
    roots: Sequence[Any], inputs: Sequence[Any], seeds: Sequence[Tensor], *, keep: bool, batched: bool = False
) -> list[Tensor | None]:
    """`torch.autograd.grad` from and to tensors or edges; None where no root reaches an input."""
    if not roots or not inputs:
        return [None] * len(inputs)
    try:
        return list(
            torch.autograd.grad(
                roots, inputs, seeds, retain_graph=keep, allow_unused=True, is_grads_batched=batched
            )
        )
    except RuntimeError as error:
        raise explained(error) from error


def _at_once_is_faster(
    roots: Sequence[GradientEdge], seeds: Seeds, inputs: Sequence[Any], factors: Sequence[Factor]
) -> bool:
    """On a CPU never. Elsewhere the first step of a layout times both; vmap loses where it cannot pass the trunk."""
    first = next(s for seed in seeds for s in seed if s is not None)
    if first.device.type == "cpu" or len(seeds) == 1 or ranks() is not None:
        return False  # among several processes each would time for itself, and passes must be the same on all
    parameters = [p.shape for p in inputs if isinstance(p, Tensor)]
    layout = (len(seeds), first.shape, first.device, *parameters, *((f.n, f.out) for f in factors))
    if layout not in _batched:
        _batched[layout] = _faster_at_once(roots, seeds, inputs, first.device)
    return _batched[layout]


def _faster_at_once(
    roots: Sequence[GradientEdge], seeds: Seeds, inputs: Sequence[Any], device: torch.device
) -> bool:
    """Time both on this device, the better of three (the first warms up)."""

    def seconds(at_once: bool) -> float:
        best = float("inf")
        for _ in range(3):
            torch.accelerator.synchronize(device)
            start = time.perf_counter()
            if at_once:
                _at_once(roots, seeds, inputs, keep=True)
            else:
                for _ in each_alone(roots, seeds, inputs, keep=True):
                    pass
            torch.accelerator.synchronize(device)
            best = min(best, time.perf_counter() - start)
        return best

    one_by_one = seconds(at_once=False)
    try:
        return seconds(at_once=True) < one_by_one
    except RuntimeError:  # an operator without a batching rule, or not enough memory
        return False
