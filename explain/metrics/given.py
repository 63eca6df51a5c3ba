"""What `explain.evaluate` scores: the given maps and the controls, checked, as tensors that metrics take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from explain.inputs import Layout
from explain.methods import METHODS, Method
from explain.names import lookup, unknown
from explain.outputs import SINGLE
from explain.scorer import Scorer

GIVEN = "given"
CONTROLS = ("random", "image", "edges")  # methods that do not look at the model
Maps = dict[tuple[str, str], Tensor]  # (given or a control, task): [B, *S]


def checked_maps(maps: Any, layout: Layout, inputs: Tensor, task: str | None) -> dict[str, Tensor]:
    """{task: map [B, *S]}, joined as the inputs are and on their device."""
    lone = isinstance(maps, Tensor) or (
        layout.kind == "tuple" if isinstance(maps, tuple | list) else _is_lone(maps, layout)
    )
    if lone:
        maps = {task or SINGLE: maps}
    elif not isinstance(maps, Mapping):
        raise TypeError(f"maps must be {{task: map like the inputs}} or one map, got {type(maps).__name__}")
    elif task is not None:
        maps = {task: lookup("map of task", task, maps)}
    if not maps:
        raise ValueError("maps is empty; give {task: map like the inputs}")
    return {name: _checked(name, found, layout, inputs) for name, found in maps.items()}


def _is_lone(maps: object, layout: Layout) -> bool:
    """Whether a dict is one map of several inputs, {input: tensor}, and not {task: map}."""
    return (
        layout.kind == "dict"
        and isinstance(maps, Mapping)
        and set(maps) == set(layout.names)
        and all(isinstance(part, Tensor) for part in maps.values())
    )


def _checked(task: str, found: Any, layout: Layout, inputs: Tensor) -> Tensor:
    if layout.kind == "tensor":
        parts = {"": found}
    elif isinstance(found, Mapping):
        parts = {name: found.get(name) for name in layout.names}
    elif isinstance(found, tuple | list):
        given = dict(zip(layout.order, found, strict=False))
        parts = {name: given.get(name) for name in layout.names}
    else:
        raise TypeError(
            f"the map of task '{task}' must be a tuple or dict like the inputs, got {type(found).__name__}"
        )
    checked = []
    for (name, part), own in zip(parts.items(), layout.split(inputs), strict=True):
        where = f"the map of task '{task}'" + (f" for input '{name}'" if name else "")
        if not isinstance(part, Tensor) or part.shape != own.shape:
            got = list(part.shape) if isinstance(part, Tensor) else type(part).__name__
            raise ValueError(f"{where} must be like the inputs, {list(own.shape)}, got {got}")
        if not part.is_floating_point():
            raise TypeError(f"{where} must be floating point, got {part.dtype}")
        bad = (~torch.isfinite(part)).flatten(1).any(1).nonzero()[:, 0]
        if len(bad):
            raise ValueError(
                f"{where} holds NaN or infinite values in {len(bad)} examples, first example {int(bad[0])}"
            )
        checked.append(part.detach().to(inputs.device))
    return checked[0] if layout.kind == "tensor" else layout.join(checked)


def check_tasks(maps: Mapping[str, Tensor], tasks: Sequence[str]) -> None:
    for task in maps:
        if task not in tasks:
            if task == SINGLE:
                raise ValueError(
                    f"maps is one map and the model has the tasks {list(tasks)}: give task=, or {{task: map}}"
                )
            raise unknown("task", task, tasks)


def make_controls(names: Sequence[str]) -> dict[str, Method]:
    """{name: control}.

    >>> make_controls(["gradient"])
    Traceback (most recent call last):
    ValueError: no control 'gradient'; known: random, image, edges
    """
    for name in names:
        if name not in CONTROLS:
            raise unknown("control", name, CONTROLS)
    return {name: METHODS[name]() for name in names}


def blank(layout: Layout, total: int) -> Scorer:
    """The scorer of a model that looks at nothing, for a whole batch."""
    return Scorer(_Nothing(), layout, None, "predicted", "logit", slice(0, total), total)


def named_controls(
    maps: Mapping[str, Tensor], controls: Mapping[str, Method], nothing: Scorer, inputs: Tensor, seed: int
) -> Maps:
    """The given maps and, once for all tasks, those of the controls, which know nothing of the model."""
    every: Maps = {(GIVEN, task): found for task, found in maps.items()}
    for name, make in controls.items():
        shared = make(nothing, inputs, 0, seed)[0].detach()
        every |= {(name, task): shared for task in maps}
    return every


class _Nothing(nn.Module):
    """A model of one task that looks at nothing."""

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        return torch.zeros(len(next(iter([*inputs, *named.values()]))), 1)


def checked_masks(masks: Mapping[str, Tensor] | None, inputs: Tensor, layout: Layout) -> dict[str, Tensor]:
    """The masks on the CPU; the scores are computed there, so that every device gives the same."""
    if not masks:
        raise ValueError("localisation needs masks={task: bool [B, H, W]}")
    if layout.kind != "tensor":
        raise ValueError(
            "localisation needs one image, got several inputs; score the image and its map alone"
        )
    if inputs.dim() not in (3, 4):
        raise ValueError(f"localisation needs inputs [B, C, H, W] or [B, H, W], got {list(inputs.shape)}")
    expected = [len(inputs), *inputs.shape[-2:]]
    for task, mask in masks.items():
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or list(mask.shape) != expected:
            got = f"{mask.dtype} {list(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(f"the mask of task '{task}' must be bool {expected}, got {got}")
    return {task: mask.cpu() for task, mask in masks.items()}
