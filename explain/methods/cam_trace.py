"""One forward pass, watched: which modules ran, what they gave, and which of it lies between the image and a score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from explain.methods.cam_layout import Shape
from explain.outputs import named_outputs
from explain.scorer import Scorer

Node = Any  # of the graph of autograd, which has no public type
See = Callable[[str, nn.Module, Any, Any], Tensor | None]  # name, module, inputs, output -> another output


@dataclass(frozen=True, eq=False)
class Ran:
    """A module that ran: the ``index``-th to end."""

    index: int
    name: str
    module: nn.Module
    inputs: tuple[Shape, ...]
    output: Tensor  # an empty one where the module gives no tensor
    node: Node | None  # of the output, as it was before anybody changed it in place
    version: int

    @property
    def shape(self) -> Shape:
        return tuple(self.output.shape)

    @property
    def leaf(self) -> bool:
        return not any(True for _ in self.module.children())

    @property
    def learned(self) -> bool:
        """Whether it has parameters of its own."""
        return any(parameter is not None for parameter in self.module._parameters.values())

    @property
    def mixes(self) -> bool:
        """Whether it has weights of two or more dimensions: a convolution, a linear layer, an attention."""
        own = (self.module._parameters.get(name) for name in ("weight", "in_proj_weight"))
        return any(weight is not None and weight.dim() >= 2 for weight in own)

    @property
    def whole(self) -> bool:
        """A normalisation or a block: of tokens, a linear layer alone gives queries, keys or hidden units."""
        return "norm" in type(self.module).__name__.lower() or not self.leaf

    def holds(self, other: Ran) -> bool:
        return self.name == "" or other.name == self.name or other.name.startswith(self.name + ".")


@dataclass(frozen=True)
class Trace:
    """A forward pass on inputs whose image, and nothing else, asks for a gradient.

    Args:
        columns: K scores [B].
        ran: the modules, in the order in which they end.
        outputs: what the model gave, by task.
        between: for each task, the nodes of the graph that lie between the image and its score.
    """

    columns: list[Tensor]
    ran: list[Ran]
    outputs: dict[str, Tensor]
    between: list[set[Node]]


def traced(scorer: Scorer, inputs: Tensor, place: int, copy: int | None = None) -> Trace:
    """The pass; ``place``: which part of the inputs is the image; ``copy``: what follows that module gets a copy."""
    ran: list[Ran] = []
    last: list[Any] = []

    def see(name: str, module: nn.Module, given: Any, output: Any) -> Tensor | None:
        last[:] = [output]
        shapes = tuple(tuple(entry.shape) for entry in given if isinstance(entry, Tensor))
        first = output[0] if isinstance(output, tuple) and output else output  # an attention gives a pair
        node = first.grad_fn if isinstance(first, Tensor) else None
        tensor = output if isinstance(output, Tensor) else inputs.new_empty(0)
        ran.append(Ran(len(ran), name, module, shapes, tensor, node, tensor._version))
        return tensor.clone() if ran[-1].index == copy else None

    with image_asks(scorer, inputs, place) as start, hooked(scorer.model, see):
        columns = scorer.columns(inputs.detach())
    return Trace(columns, ran, named_outputs(last[0]), between(columns, start[0]))


@contextmanager
def hooked(model: nn.Module, see: See) -> Iterator[None]:
    """``see`` is called after each module inside."""
    handles = []
    try:
        for name, module in model.named_modules():
            handles.append(
                module.register_forward_hook(
                    lambda module, given, output, name=name: see(name, module, given, output)
                )
            )
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def image_asks(scorer: Scorer, inputs: Tensor, place: int) -> Iterator[list[Node]]:
    """The image, as it enters the model, asks for a gradient; the list then holds the node that it starts from.

    Several inputs are cut out of one tensor, so that asking there would make all of them ask.
    """
    shape = scorer.split(inputs)[place].shape
    start: list[Node] = []

    def ask(entry: Any) -> Any:
        if not isinstance(entry, Tensor) or entry.shape != shape or not entry.is_floating_point():
            return entry
        asking = entry.detach().requires_grad_().clone()  # a copy, which the model may change in place
        start.append(asking.grad_fn)
        return asking

    def before(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        return tuple(ask(entry) for entry in args), {name: ask(entry) for name, entry in kwargs.items()}

    handle = scorer.model.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield start
    finally:
        handle.remove()


def between(columns: Sequence[Tensor], start: Node) -> list[set[Node]]:
    """For each score, the nodes of the graph that it depends on and that depend on ``start``.

    >>> import torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> start = x.clone()
    >>> middle, other = 2 * start, 3 * x
    >>> nodes = between([(middle + other).sum()], start.grad_fn)[0]
    >>> middle.grad_fn in nodes, other.grad_fn in nodes
    (True, False)
    """
    users: dict[Node, list[Node]] = {}
    reached = []
    for column in columns:
        seen: set[Node] = set()
        stack = [column.grad_fn]
        while stack:
            node = stack.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            for following, _ in node.next_functions:
                users.setdefault(following, []).append(node)
                stack.append(following)
        reached.append(seen)
    depending: set[Node] = set()
    stack = [start]
    while stack:
        node = stack.pop()
        if node not in depending:
            depending.add(node)
            stack.extend(users.get(node, ()))
    return [seen & depending for seen in reached]
