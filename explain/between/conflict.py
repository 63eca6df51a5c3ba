"""Where in the input, or in a layer, the tasks' losses pull apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from explain.between.layers import find_layers, recorded
from explain.between.passes import each_batch, nothing, task_names
from explain.inputs import Inputs
from explain.names import unknown
from explain.options import checked_call
from explain.scorer import Scorer
from explain.targets import Target


@dataclass(frozen=True, eq=False)
class Conflict:
    """What `conflict` finds.

    Args:
        pairs: {(a, b): like the inputs}: g_a g_b / (|g_a| |g_b|), signed: negative where the two losses pull apart,
            positive where they pull together. Each example's map sums to the cosine of the two gradients.
        total: like the inputs, not negative: the absolute values of the negative parts, averaged over the pairs.
        table: a row for each example and pair: example, task_a, task_b, cosine, conflict, aligned; the last two are the
            sums of the negative part (its absolute value) and of the positive one: cosine = aligned - conflict.
    """

    pairs: dict[tuple[str, str], Any]
    total: Any
    table: pd.DataFrame


def conflict(
    model: nn.Module,
    inputs: Inputs,
    losses: Mapping[str, Target],
    *,
    layer: str | nn.Module | None = None,
    batch_size: int | None = None,
) -> Conflict:
    """Where the gradients of two or more tasks' losses oppose each other.

    The cosine of two gradients says that tasks conflict, and not where. Here it is taken apart: g_a g_b, element by
    element, over the product of the norms. An element conflicts where the signs differ: a change there that lowers one
    loss raises the other. Rescaling a loss changes nothing. A gradient of zero (a task that does not use the input, a
    loss at its minimum) conflicts with nothing: maps of zeros, NaN in the table.

    This is about losses, so it needs the truth. For the evidence of what is predicted: `overlap`, `contrast`.

    Args:
        model: as for `explain.saliency`.
        inputs: likewise.
        losses: {task: its truth}, at least two: labels [B] or one class (cross entropy); values [B] where the task
            gives one value an example (squared error); an `explain.Region` with labels (mean cross entropy); or a
            callable ``output -> losses [B]`` that treats examples alike. Tasks left out are not looked at.
        layer: a module or its name: gradients with respect to its output in place of the inputs.
        batch_size: examples a micro-batch; it does not change the numbers.

    Raises:
        ValueError: fewer than two tasks, unknown names, labels out of range, inputs that are empty or not finite,
            losses that are not differentiable, a layer that runs not once in a forward pass.

    Cost: a forward, and a backward a task. Source: the cosine is that of Yu et al. 2020, definition 1, for inputs in
    place of weights; taken apart by element here.

    >>> class Two(nn.Module):
    ...     def forward(self, x):
    ...         return {"up": x.sum(1), "down": x[:, 0] - x[:, 1]}
    >>> found = conflict(Two(), torch.zeros(1, 2), {"up": [1.0], "down": [1.0]})
    >>> found.pairs["up", "down"].round(decimals=4).tolist(), found.table["cosine"].abs().round(6).tolist()
    ([[0.5, -0.5]], [0.0])
    """
    model = checked_call(model, batch_size)
    if not isinstance(losses, Mapping):
        raise TypeError(f"losses must be {{task: labels [B]}}, got {type(losses).__name__}")
    if len(losses) < 2:
        raise ValueError(f"conflict needs the losses of at least 2 tasks, got {list(losses)}")
    layers = find_layers(model, layer) if layer is not None else {}
    if len(layers) > 1:
        raise ValueError(f"conflict takes one layer, got {list(layers)}")
    known = task_names(model, inputs)
    for task in losses:
        if task not in known:
            raise unknown("task", task, known)
    layout, pieces = each_batch(
        model,
        inputs,
        lambda scorer, part: _directions(scorer, part, list(losses), layers),
        target={task: losses.get(task, nothing) for task in known},
        score={task: "loss" if task in losses and not _is_loss(losses[task]) else "logit" for task in known},
        batch_size=batch_size,
    )
    directions = {task: torch.cat([piece[task] for piece in pieces]) for task in losses}
    restore = layout.restore if layer is None else lambda found: found
    dtype = layout.dtypes[0]
    pairs, tables, apart = {}, [], []
    for a, b in combinations(losses, 2):
        product = directions[a] * directions[b]
        pairs[a, b] = restore(product.to(dtype))
        apart.append((-product).clamp(min=0))
        tables.append(_table(a, b, product, directions))
    return Conflict(
        pairs, restore(torch.stack(apart).mean(0).to(dtype)), pd.concat(tables, ignore_index=True)
    )


def _is_loss(given: Target) -> bool:
    """Whether it gives the losses itself."""
    return callable(given) and not isinstance(given, Tensor)


def _directions(
    scorer: Scorer, inputs: Tensor, tasks: list[str], layers: Mapping[str, nn.Module]
) -> dict[str, Tensor]:
    """Each task's loss gradient of unit norm, [b, *S] in float64; zeros where it is zero."""
    of = inputs.requires_grad_()
    with recorded(layers) as outputs:
        columns = scorer.columns(inputs)
    for name, found in outputs.items():
        if len(found) != 1:
            raise ValueError(
                f"layer '{name}' ran {len(found)} times in a forward pass; conflict needs a layer that runs once"
            )
        of = found[0]
        if not of.requires_grad:
            raise ValueError(f"layer '{name}' does not depend on the input through differentiable operations")
        if len(of) != len(inputs):
            raise ValueError(
                f"layer '{name}' gives {list(of.shape)} for {len(inputs)} examples; expected [B, ...]"
            )
    places = [scorer.tasks.index(task) for task in tasks]
    asked = replace(scorer, scores={task: scorer.scores[task] for task in tasks})
    directions = {}
    for task, gradient in zip(tasks, asked.gradients([columns[k] for k in places], of), strict=True):
        flat = (torch.zeros_like(of) if gradient is None else gradient).detach().flatten(1).double()
        if not torch.isfinite(flat).all():
            raise ValueError(
                f"conflict: the gradient of the loss of task '{task}' holds NaN or infinite values"
            )
        largest = flat.abs().amax(1, keepdim=True)  # first: squares of small gradients leave float64
        flat = flat / torch.where(largest > 0, largest, 1.0)
        norm = flat.norm(dim=1, keepdim=True)
        directions[task] = (flat / torch.where(norm > 0, norm, 1.0)).reshape(of.shape)
    return directions


def _table(a: str, b: str, product: Tensor, directions: Mapping[str, Tensor]) -> pd.DataFrame:
    flat = product.flatten(1).cpu()
    there = (directions[a].flatten(1).any(1) & directions[b].flatten(1).any(1)).cpu()
    columns = {
        "cosine": flat.sum(1),
        "conflict": (-flat).clamp(min=0).sum(1),
        "aligned": flat.clamp(min=0).sum(1),
    }
    values = {name: torch.where(there, column, torch.nan).numpy() for name, column in columns.items()}
    return pd.DataFrame({"example": range(len(flat)), "task_a": a, "task_b": b, **values})
