"""Guided backpropagation and deconvolution: the gradient, with another backward pass through ReLU.

Both are defined for networks whose only nonlinearities are ReLU and max pooling. What counts as ReLU is what it
computes, not what it is called (`explain.rules.functions`); ReLU6, a ReLU with an upper bound, is taken as one whose
mask is its own. Normalisation and linear layers pass the gradient as it is. Any other nonlinearity (GELU, SiLU, leaky
ReLU, sigmoid gates, softmax) is refused: there the papers say nothing, and what is left would be the plain gradient
under another name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from explain.rules.functions import NAMES
from explain.rules.intercept import Call, Intercept, Rule, passed
from explain.scorer import Scorer

PASSED = [
    "shape",
    "linear",
    "scale",
    "add",
    "max",
    "maximum",
    "norm",
    "batch_norm",
    "dropout",
    "select",
    "shift",
]
ADVICE = "It is defined for networks of ReLU alone; gradient, smoothgrad, integrated_gradients and deeplift take any"


class _Rectified(torch.autograd.Function):
    """A call forward; backward the positive part of the gradient, where the mask is."""

    @staticmethod
    def forward(ctx: Any, operand: Tensor, call: Call, mask: Tensor | None) -> Tensor:
        ctx.mask = mask
        return call.run(operand)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        positive = gradients[0].clamp(min=0)
        return positive if ctx.mask is None else positive * ctx.mask, None, None


def _open(call: Call) -> Tensor:
    """Where the slope is one: above zero, and below the bound of a ReLU6."""
    operand = call.active[0].detach()
    if call.kind == "relu":
        return operand > 0
    operand.requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(call.run(operand).sum(), operand)[0] > 0


def rectified_maps(name: str, guided: bool, scorer: Scorer, inputs: Tensor) -> list[Tensor]:
    """K maps [B, *S] from one forward pass, with the ReLU's backward pass replaced."""
    fired: set[str | None] = set()

    def rectify(call: Call) -> Tensor:
        result: Tensor = _Rectified.apply(call.active[0], call, _open(call) if guided else None)
        engine = call.engine
        result.register_hook(lambda _: fired.add(engine.task))
        return result

    def of_the_target(call: Call) -> Any:
        """A target callable is no part of the network: its own gradient."""
        return call.run() if call.module is None else call.refused()

    rules: dict[str, Rule] = {
        **dict.fromkeys([*NAMES, "product", "gate"], of_the_target),
        **dict.fromkeys(PASSED, passed),
        **dict.fromkeys(["relu", "clipped_relu"], rectify),
    }
    intercept = Intercept(name, scorer.model, rules, ADVICE)
    columns = intercept.columns(scorer, inputs)
    maps = intercept.gradients(scorer, columns)
    plain = [task for task in scorer.tasks if task not in fired and task in intercept.dependent]
    if plain:
        raise ValueError(
            f"{name}: no ReLU lies between the input and {plain}, so its map would be the plain gradient; "
            "use method='gradient'"
        )
    return maps


@dataclass(frozen=True, kw_only=True)
class GuidedBackprop:
    """The gradient, with only what is positive passed back through each ReLU, where the ReLU itself is open.

    Source: Springenberg et al. 2015, section 3.4. Equal to Captum's ``GuidedBackprop`` where every ReLU is an
    ``nn.ReLU``; functional and in-place forms are the same here. It is known to depend little on the weights of the
    upper layers (Adebayo et al. 2018): do not read it as what the class depends on.
    Cost: one forward, one backward a task.
    """

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del first, seed
        return rectified_maps("guided_backprop", True, scorer, inputs)


@dataclass(frozen=True, kw_only=True)
class Deconvolution:
    """The gradient, with only what is positive passed back through each ReLU, whether it is open or not.

    Source: Zeiler and Fergus 2014, section 2.1. Equal to Captum's ``Deconvolution`` where every ReLU is an ``nn.ReLU``.
    Cost: one forward, one backward a task.
    """

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del first, seed
        return rectified_maps("deconvolution", False, scorer, inputs)
