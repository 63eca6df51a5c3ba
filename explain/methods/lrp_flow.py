"""How relevance flows back through each kind of function, and a count of what does not come through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from explain.methods.lrp_rules import Layer, LayerRule, quotient, relevance
from explain.rules.functions import MASKED, NAMES, SAME, tensors_in
from explain.rules.intercept import Call, Rule, passed
from explain.rules.parts import PARTS

GATES = {"sigmoid", "hardsigmoid", "softmax"}  # values in 0..1 that weigh others
SUMMING = {"scatter_add", "index_add", "fold", "col2im"}  # moves that add up where they meet
FILLING = {"pad", "constant_pad_nd", "masked_fill", "index_fill", "fill"}
FACTORS = {SAME.get(name, name) for name in NAMES["bilinear"].split()} | {"div"}


@dataclass(frozen=True, eq=False)
class Fact:
    """What is known of an intermediate value.

    Args:
        raw: nothing but moves and the normalisation of pixels lies between the input and this.
        gate: a value that weighs others.
        layer: the layer that it comes out of, and whether that is a first one; for a batch norm that follows.
    """

    raw: bool = False
    gate: bool = False
    layer: tuple[Layer, bool] | None = None


@dataclass
class Flow:
    """The rules of one forward pass, and what is kept of each task's relevance in the backward passes.

    Args:
        rule: the rule of a layer with weights, given whether it is a first one.
        epsilon: what keeps denominators from zero.
        current: tells which task's backward pass is running.
    """

    rule: Callable[[Layer, bool], LayerRule]
    epsilon: float
    current: Callable[[], str | None] = lambda: None
    kept: dict[str | None, Tensor] = field(default_factory=dict)
    facts: dict[Node, Fact] = field(default_factory=dict)

    def rules(self) -> dict[str, Rule]:
        return {
            **dict.fromkeys(["relu", "clipped_relu", "elementwise", "norm", "softmax"], self._identity),
            **dict.fromkeys(["shape", "select", "dropout"], self._moved),
            **dict.fromkeys(["max", "maximum"], passed),  # the winner takes all, as of the gradient
            **{kind: PARTS[kind] for kind in ("attention", "gated")},
            "linear": self._layer,
            "batch_norm": self._batch_norm,
            "scale": self._shared,
            "add": self._shared,
            "shift": self._shared,
            "gate": self._gated,
            "product": self._product,
            "divide": self._divided,
        }

    def keep(self, amount: Tensor) -> None:
        """Count relevance that stops here in the backward pass that is running."""
        task = self.current()
        self.kept[task] = self.kept.get(task, torch.zeros((), dtype=torch.float64)) + amount.double().cpu()

    # ---- what is known of a value: by the node that made it, for a tensor may be written over

    def _fact(self, call: Call, tensor: Tensor) -> Fact:
        node = tensor.grad_fn
        while node is not None and node.name() == "CopyBackwards":  # written into another: what was written
            node = node.next_functions[-1][0]
        if node is None:
            return Fact()
        return Fact(raw=True) if node is call.engine.source else self.facts.get(node, Fact())

    def _known(self, result: Any, fact: Fact) -> Any:
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor) and tensor.grad_fn is not None:
                self.facts[tensor.grad_fn] = fact
        return result

    # ---- by kind of function

    def _identity(self, call: Call) -> Any:
        """Relevance goes through functions of single elements, and normalisation, as it is."""
        operand = call.active[0]
        result = _Passed.apply(operand, call)
        if result.shape != operand.shape:
            return call.refused()
        return self._known(result, Fact(gate=call.name in GATES))

    def _batch_norm(self, call: Call) -> Any:
        """Folded into the layer before it; else the identity."""
        before = self._fact(call, call.active[0]).layer
        folded = None if before is None else before[0].folded(call)
        if before is None or folded is None:
            return self._identity(call)
        return self._weighted(folded, before[1])

    def _layer(self, call: Call) -> Any:
        layer = Layer.of(call)
        if layer is None:
            return self._shared(call)
        return self._weighted(layer, self._fact(call, layer.x).raw)

    def _weighted(self, layer: Layer, first: bool) -> Any:
        result = _Weighted.apply(layer.x, layer, self.rule(layer, first), self)
        return self._known(result, Fact(layer=(layer, first)))

    def _shared(self, call: Call) -> Any:
        """In proportion to what each operand adds; of the input itself, as it is (a normalisation of pixels)."""
        facts = [self._fact(call, operand) for operand in call.active]
        if call.kind in ("scale", "add") and len(facts) == 1 and facts[0].raw:
            result = _Passed.apply(call.active[0], call)
            if result.shape == call.active[0].shape:
                return self._known(result, Fact(raw=True))
        result = _Shared.apply(call, self, None, *call.active)
        return self._known(result, Fact(gate=call.kind == "scale" and facts[0].gate))

    def _gated(self, call: Call) -> Any:
        """With a value of the input without a gradient: a mask moves values, a factor is a constant."""
        if call.name in MASKED or call.name == "__setitem__":
            return self._moved(call)
        return self._shared(call) if call.name in FACTORS else self._identity(call)

    def _product(self, call: Call) -> Any:
        """All to what is weighed by a gate; without one, half to each."""
        gates = [self._fact(call, operand).gate for operand in call.active]
        one = any(gates) and not all(gates)
        shares = [float(not gate) if one else 1 / len(gates) for gate in gates]
        return _Shared.apply(call, self, shares, *call.active)

    def _divided(self, call: Call) -> Any:
        """The numerator takes all; a constant over a value is a function of that value."""
        if len(call.active) == 1:
            return self._identity(call)
        above = call.args[1] if call.name == "rdiv" else call.args[0]
        shares = [float(operand is above) for operand in call.active]
        return _Shared.apply(call, self, shares, *call.active)

    def _moved(self, call: Call) -> Any:
        """Relevance moves back with its element; what arrives at a constant beside it (a class token) is kept."""
        if call.name in SUMMING:
            return self._shared(call)
        facts = [self._fact(call, operand) for operand in call.active]
        result = call.run()
        constants = call.name in FILLING or any(
            tensor.is_floating_point() and not tensor.requires_grad
            for tensor in tensors_in((call.args, call.kwargs))
        )
        if constants and isinstance(result, Tensor) and result.requires_grad:
            with torch.no_grad():
                ones, zeros = (
                    call.run(*[fill(o) for o in call.active]) for fill in (torch.ones_like, torch.zeros_like)
                )
            of_constants = ones == zeros
            result.register_hook(lambda relevance: self.keep((relevance * of_constants).sum()))
        raw = all(fact.raw for fact in facts)
        return self._known(result, Fact(raw=raw, gate=any(fact.gate for fact in facts)))


class _Passed(torch.autograd.Function):
    """A call forward; backward the relevance as it is."""

    @staticmethod
    def forward(_ctx: Any, operand: Tensor, call: Call) -> Tensor:
        return call.run(operand)

    @staticmethod
    def backward(_ctx: Any, *relevances: Tensor) -> tuple[Tensor, None]:
        return relevances[0], None


class _Weighted(torch.autograd.Function):
    """A layer forward; backward its rule."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Layer, rule: LayerRule, flow: Flow) -> Tensor:
        ctx.layer, ctx.rule, ctx.flow = layer.at(x.detach()), rule, flow
        return layer(ctx.layer.x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx: Any, *relevances: Tensor) -> tuple[Tensor, None, None, None]:
        inside, kept = relevance(ctx.layer, ctx.rule, relevances[0], ctx.flow.epsilon)
        ctx.flow.keep(kept)
        return inside, None, None, None


class _Shared(torch.autograd.Function):
    """A function linear in each operand forward; backward what each adds, times a share where they are factors."""

    @staticmethod
    def forward(ctx: Any, call: Call, flow: Flow, shares: list[float] | None, *operands: Tensor) -> Tensor:
        ctx.call, ctx.flow, ctx.shares = call, flow, shares
        ctx.operands = [operand.detach() for operand in operands]
        return call.run(*ctx.operands)

    @staticmethod
    def backward(ctx: Any, *relevances: Tensor) -> tuple[Any, ...]:
        out, operands = relevances[0], [operand.clone().requires_grad_() for operand in ctx.operands]
        with torch.enable_grad():
            z = ctx.call.run(*operands)
        signal = quotient(out, z.detach(), ctx.flow.epsilon)
        found = torch.autograd.grad(z, operands, signal, allow_unused=True)
        parts = [
            torch.zeros_like(o) if g is None else (o * g).detach()
            for o, g in zip(operands, found, strict=True)
        ]
        used = signal * z.detach()
        if ctx.shares is None:  # a constant that is added keeps its part
            with torch.no_grad():
                used = used - signal * ctx.call.run(*[torch.zeros_like(o) for o in operands])
        else:
            parts = [part * share for part, share in zip(parts, ctx.shares, strict=True)]
        ctx.flow.keep((out - used).sum())
        return None, None, None, *parts
