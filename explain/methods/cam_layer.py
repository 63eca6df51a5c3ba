"""The layer of a class activation map: given, or found in one forward pass; never a patch embedding in silence."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from explain.layers.tap import find_layer
from explain.methods.cam_layout import EXPECTED, PREFIX, Kind, MapLayout, Reader, Shape, Unread
from explain.methods.cam_trace import Node, Ran, Trace, between, hooked, image_asks, traced
from explain.scorer import Scorer

TOGETHER = 16  # layers whose gradients are looked at in one backward pass


@dataclass(frozen=True)
class LayerOutput:
    """One layer's output in one forward pass, and the scores that came of it.

    Args:
        columns: K scores [B].
        name: the module's name in the model.
        output: what the layer gave; the scores can be differentiated with respect to it.
        layout: how to read it as maps.
    """

    columns: list[Tensor]
    name: str
    output: Tensor
    layout: MapLayout


def reader_of(scorer: Scorer, inputs: Tensor, place: int) -> Reader:
    """For the layers that see the image, the part ``place`` of the inputs."""
    image = scorer.split(inputs)[place]
    # tokens of another input, words say, may stand beside those of the image: then only a class token is taken for one
    prefix = PREFIX if len(scorer.names) == 1 else 1
    return Reader((image.shape[2], image.shape[3]), len(image), prefix)


def given(
    method: str, scorer: Scorer, inputs: Tensor, place: int, layer: str | nn.Module, layout: Kind | None
) -> LayerOutput:
    """The layer that the user names; no graph is built before it where the image is the only input.

    Raises:
        ValueError: no such layer, one that did not run or does not see the image, one that ran several times for the
            same scores, or whose output cannot be read as maps.
    """
    at = find_layer(scorer.model, layer)
    name, module = at.name, at.module
    reader = reader_of(scorer, inputs, place)
    several = len(scorer.names) > 1
    starts: list[tuple[Tensor, Node]] = []  # a leaf for each time the layer ran, and the node that follows it

    def see(_name: str, ran: nn.Module, _inputs: Any, output: Any) -> Tensor | None:
        reader.hear(ran, tuple(output.shape) if isinstance(output, Tensor) else ())
        if ran is not module:
            return None
        if not isinstance(output, Tensor):
            raise ValueError(f"{method}: layer '{name}' gives a {type(output).__name__}, not a tensor")
        if several and not between([output], start[0])[0]:
            raise ValueError(f"{method}: layer '{name}' does not see the image '{scorer.names[place]}'")
        torch.set_grad_enabled(True)
        leaf = output.detach().requires_grad_()
        copy = leaf.clone()  # what follows may change it in place
        starts.append((leaf, copy.grad_fn))
        return copy

    with (
        image_asks(scorer, inputs, place) as start,
        hooked(scorer.model, see),
        nullcontext() if several else torch.no_grad(),  # until the layer switches gradients on
    ):
        columns = scorer.columns(inputs.detach())
    if not starts:
        raise ValueError(f"{method}: layer '{name}' took no part in the forward pass")
    used = [one for one in starts if any(between(columns, one[1]))] if len(starts) > 1 else starts
    if len(used) > 1:
        raise ValueError(
            f"{method}: layer '{name}' ran {len(starts)} times and the scores use {len(used)} of these; "
            "give layer= a layer that runs once"
        )
    output = (used or starts)[-1][0]
    read = reader.read(tuple(output.shape), module, layout)
    if isinstance(read, Unread):
        raise ValueError(f"{method}: layer '{name}' {read.reason}")
    return LayerOutput(columns, name, output, read)


def found(method: str, scorer: Scorer, inputs: Tensor, place: int) -> LayerOutput:
    """The last layer with maps that all explained tasks use, from one forward pass.

    Raises:
        ValueError: there is no such layer, or its layout is open.
    """
    trace = traced(scorer, inputs, place)
    if not all(column.requires_grad for column in trace.columns):
        scorer.gradients(trace.columns, inputs)  # raises, and says why
    reader = reader_of(scorer, inputs, place)
    for one in trace.ran:
        reader.hear(one.module, one.shape)
    usable = _usable(scorer.tasks, trace)
    chosen, layout = _last(method, scorer.tasks, usable, reader)
    if layout.prefix:
        chosen = _with_patches(method, trace.columns, chosen, layout, usable, reader)
    name = _name(chosen, trace.ran)
    _refuse_patches(method, name, chosen, trace)
    if chosen.output._version != chosen.version:  # changed in place after the layer: keep a copy this time
        trace = traced(scorer, inputs, place, copy=chosen.index)
        chosen = trace.ran[chosen.index]
    return LayerOutput(trace.columns, name, chosen.output, layout)


def _usable(tasks: Sequence[str], trace: Trace) -> list[Ran]:
    """What every task depends on; of a dense output, only what something learned still follows.

    The last convolution of a segmentation is the output itself: a map of it would show the prediction, not what
    speaks for it.
    """
    end = len(trace.ran)
    for task, nodes in zip(tasks, trace.between, strict=True):
        if trace.outputs[task].dim() > 2:
            learned = [one.index for one in trace.ran if one.node in nodes and one.mixes and one.leaf]
            end = min(end, max(learned, default=0))
    common = set.intersection(*trace.between)
    return [one for one in trace.ran[:end] if one.node in common]


def _last(method: str, tasks: Sequence[str], usable: Sequence[Ran], reader: Reader) -> tuple[Ran, MapLayout]:
    """The last layer with weights that gives maps, or what follows it on the same grid: activation, addition, block."""
    anchor, chosen, layout, unread = None, None, None, None
    for one in usable:
        read = reader.read(one.shape, one.module)
        if isinstance(read, Unread):
            unread = (one, read) if read.open and one.learned else unread
        elif read.kind == "tokens" and not one.whole:
            continue
        elif one.learned or read.kind == "tokens":
            anchor, chosen, layout, unread = one, one, read, None
        elif (
            anchor is not None
            and layout is not None
            and read.sides == layout.sides
            and (one.holds(anchor) or any(_on_grid(reader, shape, read.sides) for shape in one.inputs))
        ):
            chosen, layout = one, read
    if unread is not None:
        raise ValueError(f"{method}: layer '{unread[0].name}' {unread[1].reason} (a layout goes with layer=)")
    if chosen is None or layout is None:
        which = f"tasks {list(tasks)} share no layer" if len(tasks) > 1 else "the model has no layer"
        hint = "explain them one at a time with task=, or give layer=" if len(tasks) > 1 else "give layer="
        raise ValueError(f"{method}: {which} whose output can be read as maps ({EXPECTED}); {hint}")
    return chosen, layout


def _on_grid(reader: Reader, shape: Shape, sides: tuple[int, int]) -> bool:
    read = reader.read(shape)
    return isinstance(read, MapLayout) and read.sides == sides


def _with_patches(
    method: str,
    columns: Sequence[Tensor],
    last: Ran,
    layout: MapLayout,
    usable: Sequence[Ran],
    reader: Reader,
) -> Ran:
    """The last layer of this width whose patch tokens matter to every task.

    Where the score is read off the class token, the patches of the last normalisation have no gradient: the last that
    matter are those that go into the last attention.
    """
    options = [
        one
        for one in usable
        if one.index <= last.index
        and one.whole
        and one.shape[-1] == last.shape[-1]
        and one.output._version == one.version
        and reader.read(one.shape, one.module) == layout
    ][::-1]
    for start in range(0, len(options), TOGETHER):
        some = options[start : start + TOGETHER]
        matter = [True] * len(some)
        for column in columns:
            gradients = torch.autograd.grad(
                column.sum(), [one.output for one in some], retain_graph=True, allow_unused=True
            )
            for place, gradient in enumerate(gradients):
                # all of it zero: a score that is flat here, which is no fault of the layer's
                matter[place] &= gradient is not None and bool(
                    gradient[:, layout.prefix :].any() or not gradient.any()
                )
        if any(matter):
            return some[matter.index(True)]
    raise ValueError(
        f"{method}: no layer's patch tokens matter to all of the scores (last layer with tokens: '{last.name}'); "
        "give layer="
    )


def _refuse_patches(method: str, name: str, chosen: Ran, trace: Trace) -> None:
    """Raise where the layer holds no more than the image cut into patches."""
    seen = set.union(*trace.between)
    mixing = [one.module for one in trace.ran[: chosen.index + 1] if one.mixes and one.node in seen]
    if all(isinstance(m, nn.Conv2d) and m.kernel_size == m.stride and max(m.stride) > 1 for m in mixing):
        raise ValueError(
            f"{method}: the last layer with maps, '{name}', holds the image cut into patches and nothing of what the "
            "model makes of them; give layer=, or choose another method"
        )


def _name(chosen: Ran, ran: Sequence[Ran]) -> str:
    """Of the modules that gave this very tensor, the innermost block, else the innermost."""
    same = [one for one in ran if one.output is chosen.output and one.version == chosen.version and one.name]
    return ([one.name for one in same if not one.leaf] or [one.name for one in same] or [chosen.name])[0]
