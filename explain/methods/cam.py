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
    """The options that say where."""

    @property
    def layer(self) -> str | nn.Module | None: ...
    @property
    def layout(self) -> Kind | None: ...


class Signed(Options, Protocol):
    """And whether only what is positive is kept."""

    @property
    def relu(self) -> bool: ...


@dataclass(frozen=True)
class Pass:
    """A layer in one forward pass of all tasks.

    Args:
        place: which part of the inputs is the image.
        name: of the layer.
        activation: its maps [B, c, h, w], detached, at least float32.
        gradients: of each task's score with respect to them, K tensors [B, c, h, w]; empty where none were asked for.
    """

    place: int
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
    place = image_place(method, scorer, inputs)
    if options.layer is None:
        layer = found(method, scorer, inputs, place)
    else:
        layer = given(method, scorer, inputs, place, options.layer, options.layout)
    activation = _precise(layer.layout.maps(layer.output.detach()))
    if not gradients:
        return Pass(place, layer.name, activation, [])
    maps = []
    for task, gradient in zip(scorer.tasks, scorer.gradients(layer.columns, layer.output), strict=True):
        if gradient is None:
            raise ValueError(
                f"{method}: task '{task}' does not depend on layer '{layer.name}'; "
                "give layer= a layer that it uses"
            )
        maps.append(_precise(layer.layout.maps(gradient)))
    return Pass(place, layer.name, activation, maps)


def image_place(method: str, scorer: Scorer, inputs: Tensor) -> int:
    """Which part of the inputs is the image: the only one of [B, C, H, W]."""
    parts = scorer.split(inputs)
    images = [place for place, part in enumerate(parts) if part.dim() == 4]
    if len(images) == 1:
        return images[0]
    shapes = [list(part.shape) for part in parts]
    raise ValueError(
        f"{method} needs images [B, C, H, W], one input of them, got {shapes[0] if len(shapes) == 1 else shapes}"
    )


def maps_of(method: str, options: Signed, scorer: Scorer, inputs: Tensor, formula: Formula) -> list[Tensor]:
    """K maps [B, *S] of a variant that is a formula of the activation and its gradient."""
    seen = run(method, options, scorer, inputs)
    cams = [formula(seen.activation, gradient) for gradient in seen.gradients]
    return spread(cams, options.relu, scorer, inputs, seen.place)


def enlarged(cam: Tensor, image: Tensor) -> Tensor:
    """Maps [B, n, h, w] at the image's resolution, bilinearly."""
    return F.interpolate(cam, size=image.shape[2:], mode="bilinear", align_corners=False)


def spread(cams: Sequence[Tensor], relu: bool, scorer: Scorer, inputs: Tensor, place: int) -> list[Tensor]:
    """Maps [B, 1, h, w] like the inputs: enlarged, and divided equally among the channels, whose sum is the CAM.

    Inputs beside the image get zeros.
    """
    image = scorer.split(inputs)[place]
    maps = []
    for cam in cams:
        large = enlarged(cam.relu() if relu else cam, image)
        maps.append(beside((large / image.shape[1]).expand_as(image), scorer, inputs, place))
    return maps


def beside(part: Tensor, scorer: Scorer, inputs: Tensor, place: int) -> Tensor:
    """A map of the image as one of all inputs, zeros elsewhere."""
    parts = [torch.zeros_like(other) for other in scorer.split(inputs)]
    parts[place] = part.to(parts[place].dtype).contiguous()
    return scorer.join(parts)


def _precise(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
