"""The layer of a class activation map: given, or found in one forward pass; never a patch embedding in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from explain.methods.cam_layout import EXPECTED, Kind, MapLayout, Reader, Shape, Unread
from explain.names import unknown
from explain.outputs import named_outputs
from explain.scorer import Scorer

TOGETHER = 16  # layers whose gradients are looked at in one backward pass


@dataclass(frozen=True)
class Layer:
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


@dataclass(frozen=True, eq=False)
class Ran:
    """A module that ran: the ``index``-th to end."""

    index: int
    name: str
    module: nn.Module
    inputs: tuple[Shape, ...]
    output: Tensor  # an empty one where the module gives none
    node: Any  # of the graph, as it was before anybody changed the output in place
    version: int

    @property
    def shape(self) -> Shape:
        return tuple(self.output.shape)

    @property
    def mixes(self) -> bool:
        """Whether it has weights of two or more dimensions: a convolution, a linear layer, an attention."""
        own = (self.module._parameters.get(name) for name in ("weight", "in_proj_weight"))
        return any(weight is not None and weight.dim() >= 2 for weight in own)

    @property
    def learned(self) -> bool:
        return any(parameter is not None for parameter in self.module._parameters.values())

    @property
    def whole(self) -> bool:
        """A normalisation or a block: of tokens, a linear layer alone gives queries, keys or hidden units."""
        return "norm" in type(self.module).__name__.lower() or any(True for _ in self.module.children())

    def holds(self, other: Ran) -> bool:
        return self.name == "" or other.name == self.name or other.name.startswith(self.name + ".")


@contextmanager
def _hooked(model: nn.Module, see: Callable[[str, nn.Module, Any, Any], Tensor | None]) -> Iterator[None]:
    handles = []
    try:
        for name, module in model.named_modules():
            handles.append(
                module.register_forward_hook(
                    lambda module, inputs, output, name=name: see(name, module, inputs, output)
                )
            )
        yield
    finally:
        for handle in handles:
            handle.remove()


def given(method: str, scorer: Scorer, image: Tensor, layer: str | nn.Module, layout: Kind | None) -> Layer:
    """The layer that the user names; no graph is built before it.

    Raises:
        ValueError: no such layer, one that did not run, or whose output cannot be read as maps.
    """
    name, module = _named(method, scorer.model, layer)
    reader = Reader((image.shape[2], image.shape[3]), len(image))
    starts: list[tuple[Tensor, Any]] = []  # a leaf for each time the layer ran, and the node that follows it

    def see(_name: str, ran: nn.Module, _inputs: Any, output: Any) -> Tensor | None:
        if isinstance(output, Tensor):
            reader.hear(ran, tuple(output.shape))
        if ran is not module:
            return None
        if not isinstance(output, Tensor):
            raise TypeError(f"{method}: layer '{name}' gives a {type(output).__name__}, not a tensor")
        torch.set_grad_enabled(True)
        leaf = output.detach().requires_grad_()
        copy = leaf.clone()  # what follows may change it in place
        starts.append((leaf, copy.grad_fn))
        return copy

    with _hooked(scorer.model, see), torch.no_grad():  # until the layer switches gradients on
        columns = scorer.columns(image.detach())
    if not starts:
        raise ValueError(f"{method}: layer '{name}' took no part in the forward pass")
    if len(starts) > 1:
        nodes = set.union(*[_reached(column) for column in columns])
        used = [start for start in starts if start[1] in nodes]
        if len(used) > 1:
            raise ValueError(
                f"{method}: layer '{name}' ran {len(starts)} times and the scores use {len(used)} of these; "
                "give layer= a layer that runs once"
            )
        starts = used or starts
    output = starts[-1][0]
    read = reader.read(tuple(output.shape), layout)
    if isinstance(read, Unread):
        raise ValueError(f"{method}: layer '{name}' {read.reason}")
    return Layer(columns, name, output, read)


def _named(method: str, model: nn.Module, layer: str | nn.Module) -> tuple[str, nn.Module]:
    modules = dict(model.named_modules())
    if isinstance(layer, str):
        if layer not in modules:
            raise unknown("layer", layer, [name for name in modules if name])
        return layer, modules[layer]
    if not isinstance(layer, nn.Module):
        raise TypeError(f"{method}: layer must be a module or its name, got {type(layer).__name__}")
    for name, module in modules.items():
        if module is layer:
            return name, layer
    raise ValueError(f"{method}: layer {type(layer).__name__} is not a part of the model")


def found(method: str, scorer: Scorer, image: Tensor) -> Layer:
    """The last layer with maps that all explained tasks use, from one forward pass.

    Raises:
        ValueError: there is no such layer, or its layout is open.
    """
    columns, ran, outputs = _traced(scorer, image)
    if not all(column.requires_grad for column in columns):
        scorer.gradients(columns, image)  # raises, and says why
    reader = Reader((image.shape[2], image.shape[3]), len(image))
    for one in ran:
        reader.hear(one.module, one.shape)
    dense = [task for task in scorer.tasks if outputs[task].dim() > 2]
    usable = _usable(scorer.tasks, dense, ran, [_reached(column) for column in columns])
    chosen, layout = _last(method, scorer.tasks, usable, reader)
    if layout.prefix:
        chosen = _with_patches(method, columns, chosen, layout, usable, reader)
    mixing = [one.module for one in ran[: chosen.index + 1] if one.mixes]
    if all(isinstance(m, nn.Conv2d) and m.kernel_size == m.stride and max(m.stride) > 1 for m in mixing):
        raise ValueError(
            f"{method}: the last layer with maps, '{_name(chosen, ran)}', holds the image cut into patches and nothing "
            "of what the model makes of them; give layer=, or choose another method"
        )
    if chosen.output._version != chosen.version:  # changed in place after the layer: keep a copy this time
        columns, ran, _ = _traced(scorer, image, copy=chosen.index)
        chosen = ran[chosen.index]
    return Layer(columns, _name(chosen, ran), chosen.output, layout)


def _traced(
    scorer: Scorer, image: Tensor, copy: int | None = None
) -> tuple[list[Tensor], list[Ran], dict[str, Tensor]]:
    """(scores, the modules in the order in which they end, the model's outputs); what follows ``copy`` gets a copy."""
    ran: list[Ran] = []
    last: list[Any] = []

    def see(name: str, module: nn.Module, inputs: Any, output: Any) -> Tensor | None:
        last[:] = [output]
        shapes = tuple(tuple(entry.shape) for entry in inputs if isinstance(entry, Tensor))
        tensor = output if isinstance(output, Tensor) else image.new_empty(0)
        ran.append(Ran(len(ran), name, module, shapes, tensor, tensor.grad_fn, tensor._version))
        return tensor.clone() if ran[-1].index == copy else None

    with _hooked(scorer.model, see):
        columns = scorer.columns(image.detach().requires_grad_())
    return columns, ran, named_outputs(last[0])


def _reached(score: Tensor) -> set[Any]:
    """The nodes of the graph that a score depends on."""
    seen: set[Any] = set()
    stack = [score.grad_fn]
    while stack:
        node = stack.pop()
        if node is not None and node not in seen:
            seen.add(node)
            stack.extend(following for following, _ in node.next_functions)
    return seen


def _usable(
    tasks: Sequence[str], dense: Sequence[str], ran: Sequence[Ran], reached: Sequence[set[Any]]
) -> list[Ran]:
    """What every task depends on; of a dense output, only what something learned still follows.

    The last convolution of a segmentation is the output itself: a map of it would show the prediction, not what
    speaks for it.
    """
    end = len(ran)
    for task, nodes in zip(tasks, reached, strict=True):
        if task in dense:
            learned = [
                one.index for one in ran if one.node in nodes and one.mixes and not any(one.module.children())
            ]
            end = min(end, max(learned, default=0))
    common = set.intersection(*reached)
    return [one for one in ran[:end] if one.node in common]


def _last(method: str, tasks: Sequence[str], usable: Sequence[Ran], reader: Reader) -> tuple[Ran, MapLayout]:
    """The last layer with weights that gives maps, or what follows it on the same grid: activation, addition, block."""
    anchor, chosen, layout, unread = None, None, None, None
    for one in usable:
        read = reader.read(one.shape)
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
        raise ValueError(f"{method}: layer '{unread[0].name}' {unread[1].reason} with layer=")
    if chosen is None or layout is None:
        which = f"tasks {list(tasks)} share no layer" if len(tasks) > 1 else "the model has no layer"
        hint = "explain them one at a time with task=, or give layer=" if len(tasks) > 1 else "give layer="
        raise ValueError(f"{method}: {which} whose output can be read as maps ({EXPECTED}); {hint}")
    return chosen, layout


def _on_grid(reader: Reader, shape: Shape, sides: tuple[int, int]) -> bool:
    read = reader.read(shape)
    return isinstance(read, MapLayout) and read.sides == sides


def _with_patches(
    method: str, columns: Sequence[Tensor], last: Ran, layout: MapLayout, usable: Sequence[Ran], reader: Reader
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
        and reader.read(one.shape) == layout
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


def _name(chosen: Ran, ran: Sequence[Ran]) -> str:
    """Of the modules that gave this very tensor, the innermost block, else the innermost."""
    same = [one for one in ran if one.output is chosen.output and one.version == chosen.version and one.name]
    blocks = [one.name for one in same if any(one.module.children())]
    return (blocks or [one.name for one in same] or [chosen.name])[0]
