"""T passes through the trunk into the rows of the buffer: one by one, or all at once by vmap.

On a CPU one by one is two to three times faster (measured by benchmarks/balancing.py), and always taken, so that a run
can be repeated to the bit. On an accelerator the first step of each layout times both.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from mtl.balancing.rows import Parameters, Rows

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
    arguments = (roots, seeds, parameters, buffer, at)
    if parameters[0].device.type == "cpu" or add or len(seeds) == 1:
        return _one_by_one(*arguments, add=add, all_leaves=all_leaves, keep=keep)
    layout = (
        len(seeds),
        tuple((p.shape, p.device) for p in parameters),
        seeds[0][0] is not None and seeds[0][0].shape,
    )
    if layout not in _batched:
        _batched[layout] = _faster_at_once(arguments, all_leaves)
    if _batched[layout]:
        return _at_once(*arguments, keep=keep)
    return _one_by_one(*arguments, add=add, all_leaves=all_leaves, keep=keep)


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


def _at_once(
    roots: Sequence[GradientEdge],
    seeds: Seeds,
    parameters: Parameters,
    buffer: Rows,
    at: Sequence[int],
    *,
    keep: bool,
) -> None:
    columns = []
    for leaf in range(len(roots)):
        like = next(seed[leaf] for seed in seeds if seed[leaf] is not None)
        assert like is not None
        columns.append(
            torch.stack([torch.zeros_like(like) if (s := seed[leaf]) is None else s for seed in seeds])
        )
    found = torch.autograd.grad(
        roots,
        list(parameters),
        columns,
        retain_graph=keep,
        allow_unused=True,
        is_grads_batched=True,
    )
    for k, row in enumerate(at):
        buffer.put(row, [None if gradient is None else gradient[k] for gradient in found])


def _faster_at_once(
    arguments: tuple[Sequence[GradientEdge], Seeds, Parameters, Rows, Sequence[int]], all_leaves: bool
) -> bool:
    """Time both on this device (after one warm-up each); vmap loses where it cannot pass the trunk at all."""
    device = arguments[2][0].device

    def seconds(at_once: bool) -> float:
        best = float("inf")
        for _ in range(3):
            torch.accelerator.synchronize(device)
            start = time.perf_counter()
            if at_once:
                _at_once(*arguments, keep=True)
            else:
                _one_by_one(*arguments, add=False, all_leaves=all_leaves, keep=True)
            torch.accelerator.synchronize(device)
            best = min(best, time.perf_counter() - start)
        return best

    one_by_one = seconds(at_once=False)
    try:
        return seconds(at_once=True) < one_by_one
    except RuntimeError:  # an operator without a batching rule, or not enough memory
        return False
