"""LRP's propagation rules: how the relevance of a layer's outputs is shared among its inputs.

A rule is a list of groups. Each group passes on a share of every output's relevance, in proportion to what its terms
(an operand through the layer with some weights) add to the group's own sum z:
relevance of the inputs = sum over groups and terms of operand * (layer with these weights)^T [share * R / z].
With the layer's own operand and weights as the only term this is the epsilon rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from explain.rules.intercept import Call

CONVOLUTIONS = {"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer with weights, linear in ``x``: ``func(x, weight, bias, *rest)``."""

    func: Callable[..., Tensor]
    name: str
    x: Tensor
    weight: Tensor
    bias: Tensor | None
    rest: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, call: Call) -> Layer | None:
        """The layer of a call; None for another function, or one whose weights depend on the input."""
        if call.name not in {"linear", *CONVOLUTIONS}:
            return None
        x, weight, bias = (call.argument(i, name) for i, name in enumerate(("input", "weight", "bias")))
        if len(call.active) != 1 or call.active[0] is not x:
            return None
        kwargs = {k: v for k, v in call.kwargs.items() if k not in ("input", "weight", "bias")}
        return cls(call.func, call.name, x, weight, bias, call.args[3:], kwargs)

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return self.func(x, weight, bias, *self.rest, **self.kwargs)

    def at(self, x: Tensor) -> Layer:
        """The same layer at another input."""
        return replace(self, x=x)

    def shaped(self, bias: Tensor) -> Tensor:
        """The bias as it is added to the output."""
        return bias if self.name == "linear" else bias.reshape(-1, *[1] * (self.weight.dim() - 2))

    def folded(self, call: Call) -> Layer | None:
        """This layer with the batch norm that follows it in its weights; None where that cannot be."""
        if self.name.startswith("conv_transpose") or (self.name == "linear" and self.x.dim() != 2):
            return None
        mean, variance = call.argument(1, "running_mean"), call.argument(2, "running_var")
        weight, bias = call.argument(3, "weight"), call.argument(4, "bias")
        if mean is None or variance is None:
            return None
        scale = (variance + call.argument(7, "eps", 1e-5)).rsqrt()
        scale = scale if weight is None else scale * weight
        shift = -mean * scale if bias is None else bias - mean * scale
        shift = shift if self.bias is None else shift + self.bias * scale
        wide = scale.reshape(-1, *[1] * (self.weight.dim() - 1))
        return Layer(self.func, self.name, self.x, self.weight * wide, shift, self.rest, self.kwargs)


@dataclass(frozen=True)
class Group:
    """Terms whose sum shares out ``share`` of the relevance: a fraction, or one for each output."""

    terms: list[tuple[Tensor, Tensor]]
    bias: Tensor | None
    share: float | Tensor = 1.0


LayerRule = Callable[[Layer], list[Group]]


def plain(layer: Layer) -> list[Group]:
    """LRP-epsilon: in proportion to what each input adds (Bach et al. 2015, equation 58)."""
    return [Group([(layer.x, layer.weight)], layer.bias)]


def gamma(value: float) -> LayerRule:
    """LRP-gamma: terms of the output's sign count (1 + gamma) times (Montavon et al. 2019, section 10.2.3).

    For inputs and outputs that are not negative these are the positive weights, as in the paper.
    """

    def rule(layer: Layer) -> list[Group]:
        (up, down), (wp, wn) = _signs(layer.x), _signs(layer.weight)
        bp, bn = (None, None) if layer.bias is None else _signs(layer.bias)
        w, b = layer.weight, layer.bias
        with torch.no_grad():
            positive = (layer(layer.x, w, b) > 0).to(layer.x)
        return [
            Group(
                [(up, w + value * wp), (down, w + value * wn)],
                None if b is None or bp is None else b + value * bp,
                positive,
            ),
            Group(
                [(up, w + value * wn), (down, w + value * wp)],
                None if b is None or bn is None else b + value * bn,
                1 - positive,
            ),
        ]

    return rule


def alpha_beta(alpha: float) -> LayerRule:
    """LRP-alpha-beta with beta = alpha - 1: positive and negative terms apart (Bach et al. 2015, equation 60).

    Alpha = 1 is the z+ rule.
    """

    def rule(layer: Layer) -> list[Group]:
        (up, down), (wp, wn) = _signs(layer.x), _signs(layer.weight)
        bp, bn = (None, None) if layer.bias is None else _signs(layer.bias)
        groups = [Group([(up, wp), (down, wn)], bp, alpha)]
        return groups if alpha == 1 else [*groups, Group([(up, wn), (down, wp)], bn, 1 - alpha)]

    return rule


def flat(layer: Layer) -> list[Group]:
    """Evenly among the inputs of each output (Lapuschkin et al. 2019, methods)."""
    return [Group([(torch.ones_like(layer.x), torch.ones_like(layer.weight))], None)]


def box(low: float | None, high: float | None) -> LayerRule:
    """z^B, for inputs between two bounds: by x w - low w+ - high w- (Montavon et al. 2017, equation 15).

    A bound that is None is the example's own minimum or maximum.
    """

    def rule(layer: Layer) -> list[Group]:
        wp, wn = _signs(layer.weight)
        flattened = layer.x.flatten(1)
        shape = (-1, *[1] * (layer.x.dim() - 1))
        bottom = flattened.amin(1).reshape(shape) if low is None else torch.full_like(layer.x[:1], low)
        top = flattened.amax(1).reshape(shape) if high is None else torch.full_like(layer.x[:1], high)
        x = layer.x
        return [Group([(x, layer.weight), (-bottom.expand_as(x), wp), (-top.expand_as(x), wn)], None)]

    return rule


def relevance(layer: Layer, rule: LayerRule, out: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """(relevance of the inputs like ``x``, what biases and epsilon keep of it, a number) from the outputs' ``out``."""
    inside, kept = torch.zeros_like(layer.x), out.new_zeros((), dtype=torch.float64)
    for group in rule(layer):
        operands = [operand.detach().clone().requires_grad_() for operand, _ in group.terms]
        with torch.enable_grad():
            ways = [layer(o, weight) for o, (_, weight) in zip(operands, group.terms, strict=True)]
        total = torch.stack([way.detach() for way in ways]).sum(0)
        z = total if group.bias is None else total + layer.shaped(group.bias)
        part = out * group.share
        signal = quotient(part, z, epsilon)
        gradients = torch.autograd.grad(ways, operands, [signal] * len(ways))
        for operand, gradient in zip(operands, gradients, strict=True):
            inside += operand.detach() * gradient
        kept += (part - signal * total).double().sum()
    return inside, kept


def quotient(out: Tensor, z: Tensor, epsilon: float) -> Tensor:
    """out / z, with z moved away from zero by epsilon (zero itself upwards); zero where there is nothing to share by.

    >>> quotient(torch.ones(2), torch.tensor([0.0, -1.0]), 0.5).tolist(), quotient(torch.ones(1), torch.zeros(1), 0)
    ([2.0, -0.6666666865348816], tensor([0.]))
    """
    z = z + torch.where(z >= 0, epsilon, -epsilon)
    return torch.where(z == 0, 0.0, out / torch.where(z == 0, 1.0, z))


def _signs(values: Tensor) -> tuple[Tensor, Tensor]:
    return values.clamp(min=0), values.clamp(max=0)
