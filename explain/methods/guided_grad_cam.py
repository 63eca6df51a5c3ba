"""Guided Grad-CAM: guided backpropagation where Grad-CAM is positive."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from explain.methods.cam import beside, check, enlarged, run
from explain.methods.cam_layout import Kind
from explain.methods.grad_cam import grad_cam
from explain.methods.guided import GuidedBackprop
from explain.scorer import Scorer


@dataclass(frozen=True, kw_only=True)
class GuidedGradCam:
    """Guided backpropagation times the positive part of Grad-CAM, enlarged, pixel by pixel and channel by channel.

    The positive part by definition: a product of two negative numbers would read as evidence. It inherits what guided
    backpropagation refuses (any nonlinearity but ReLU) and that it depends little on the upper layers' weights. Equal
    to Captum's ``GuidedGradCam`` with bilinear interpolation. Source: Selvaraju et al. 2017, section 3.2. Cost: two
    forwards, and for each task a backward and one as far as the layer.

    Args:
        layer: as in ``grad_cam``.
        layout: as in ``grad_cam``.
    """

    layer: str | nn.Module | None = None
    layout: Kind | None = None

    def __post_init__(self) -> None:
        check("guided_grad_cam", self)

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        seen = run("guided_grad_cam", self, scorer, inputs)
        maps = []
        for guided, gradient in zip(
            GuidedBackprop()(scorer, inputs, first, seed), seen.gradients, strict=True
        ):
            image = scorer.split(guided)[seen.place]
            cam = enlarged(grad_cam(seen.activation, gradient).relu(), image)
            maps.append(beside(image * cam.to(image.dtype), scorer, inputs, seen.place))
        return maps
