"""What the class activation maps share: one pass, and the way from a layer's grid to the input's pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from explain.methods.cam_layer import found, given
from explain.methods.cam_layout import KINDS, Kind
from explain.names import unknown
from explain.scorer import Scorer

Formula = Callable[[Tensor, Tensor], Tensor]  # activation, gradient [B, c, h, w] -> map [B, 1, h, w]


class Options(Protocol):
    """The options that all of the family have."""

    @property
    def layer(self) -> str | nn.Module | None: ...
    @property
    def relu(self) -> bool: ...
    @property
    def layout(self) -> Kind | None: ...


@dataclass(frozen=True)
class Pass:
    """A layer in one forward pass of all tasks.

    Args:
        name: of the layer.
        activation: its maps [B, c, h, w], detached, at least float32.
        gradients: of each task's score with respect to them, K tensors [B, c, h, w]; empty where none were asked for.
    """

    name: str
    activation: Tensor
    gradients: list[Tensor]


def check(method: str, options: Options) -> None:
    """Raise for options that cannot be meant."""
    if options.layout is not None and options.layout not in KINDS:
        raise unknown(f"layout of {method}", options.layout, KINDS)
    if options.layout is not None and options.layer is None:
        raise ValueError(f"{method}: layout says how to read a layer's output; give layer= with it")


def run(method: str, options: Options, scorer: Scorer, inputs: Tensor, *, gradients: bool = True) -> Pass:
    """One forward pass for all tasks, and a backward pass for each as far as the layer.

    Raises:
        ValueError: no image, no layer, a layer that a task does not use, an output that cannot be read as maps.
    """
    if inputs.dim() != 4:
        raise ValueError(f"{method} needs images [B, C, H, W], got {list(inputs.shape)}")
    if options.layer is None:
        layer = found(method, scorer, inputs)
    else:
        layer = given(method, scorer, inputs, options.layer, options.layout)
    activation = _precise(layer.layout.maps(layer.output.detach()))
    if not gradients:
        return Pass(layer.name, activation, [])
    maps = []
    for task, gradient in zip(scorer.tasks, scorer.gradients(layer.columns, layer.output), strict=True):
        if gradient is None:
            raise ValueError(
                f"{method}: task '{task}' does not depend on layer '{layer.name}'; "
                "give layer= a layer that it uses"
            )
        maps.append(_precise(layer.layout.maps(gradient)))
    return Pass(layer.name, activation, maps)


def maps_of(method: str, options: Options, scorer: Scorer, inputs: Tensor, formula: Formula) -> list[Tensor]:
    """K maps [B, *S] of a variant that is a formula of the activation and its gradient."""
    seen = run(method, options, scorer, inputs)
    return spread([formula(seen.activation, gradient) for gradient in seen.gradients], options, inputs)


def enlarged(cam: Tensor, inputs: Tensor) -> Tensor:
    """A map [B, 1, h, w] at the input's resolution, bilinearly."""
    return F.interpolate(cam, size=inputs.shape[2:], mode="bilinear", align_corners=False)


def spread(cams: Sequence[Tensor], options: Options, inputs: Tensor) -> list[Tensor]:
    """Maps [B, 1, h, w] like the inputs: enlarged, and divided equally among the channels, whose sum is the CAM."""
    maps = []
    for cam in cams:
        large = enlarged(cam, inputs)
        large = large.relu() if options.relu else large
        maps.append((large / inputs.shape[1]).expand_as(inputs).contiguous().to(inputs.dtype))
    return maps


def _precise(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
