"""Grad-CAM: the channels of a convolution, weighted by the mean gradient of the score."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn import functional as F

from explain.names import unknown
from explain.scorer import Scorer

AFTER = (  # what may follow a convolution without changing what its channels are
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.Identity,
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Tanh, nn.Sigmoid,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GradCam:
    """Grad-CAM: sum over channels of (mean gradient) x (activation) at one layer, upsampled to the input.

    A pass of our own, equal to Captum's ``LayerGradCam`` task by task: the layer's output is found and
    differentiated in the one forward pass. The map is signed unless ``relu``; it is spread equally over the input's
    channels, so that their sum is the CAM. Source: Selvaraju et al. 2017, equations 1 and 2. Cost: one forward, and
    for each task a backward as far as the layer.

    Args:
        layer: a module of the model or its name; None: the last convolution with more than one pixel, with the
            normalisation and activation modules that follow it.
        relu: keep only the positive part, as the paper does.
    """

    layer: str | nn.Module | None = None
    relu: bool = False

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del first, seed
        if inputs.dim() != 4:
            raise ValueError(f"grad_cam needs images [B, C, H, W], got {list(inputs.shape)}")
        if self.layer is None:
            scores, name, activation = _at_last_convolution(scorer, inputs)
        else:
            scores, name, activation = _at_layer(scorer, inputs, self.layer)
        _check_layout(name, activation, inputs)
        maps = []
        for task, gradient in zip(scorer.tasks, scorer.gradients(scores, activation), strict=True):
            if gradient is None:
                raise ValueError(
                    f"grad_cam: task '{task}' does not depend on layer '{name}'; give layer= a layer that it uses"
                )
            cam = (gradient.mean(dim=(2, 3), keepdim=True) * activation.detach()).sum(1, keepdim=True)
            cam = F.interpolate(cam, size=inputs.shape[2:], mode="bilinear", align_corners=False)
            cam = cam.relu() if self.relu else cam
            maps.append((cam / inputs.shape[1]).expand_as(inputs).contiguous().to(inputs.dtype))
        return maps


@dataclass
class _Watch:
    """Forward hooks that keep the output of the last convolution that has more than one pixel."""

    convolutions: list[nn.Conv2d] = field(default_factory=list)
    name: str = ""
    output: Tensor | None = None
    version: int = 0
    following: bool = False

    def see(self, name: str, module: nn.Module, output: object) -> None:
        if not isinstance(output, Tensor) or output.dim() != 4 or output.shape[2] * output.shape[3] == 1:
            return
        if isinstance(module, nn.Conv2d):
            self.convolutions.append(module)
            self.following = True
        elif self.output is None or not isinstance(module, AFTER) or output.shape != self.output.shape:
            self.following = False
        if self.following:
            self.name, self.output, self.version = name, output, output._version


def _at_last_convolution(scorer: Scorer, inputs: Tensor) -> tuple[list[Tensor], str, Tensor]:
    """(K scores [B], layer name, its output [B, c, h, w]) from one forward pass."""
    watch, handles = _Watch(), []
    try:
        for name, module in scorer.model.named_modules():
            if isinstance(module, (nn.Conv2d, *AFTER)):
                handles.append(
                    module.register_forward_hook(
                        lambda module, _, output, name=name: watch.see(name, module, output)
                    )
                )
        scores = scorer.columns(inputs.detach().requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    if watch.output is None:
        raise ValueError("grad_cam: the model has no Conv2d with more than one pixel; give layer=")
    only = watch.convolutions[0]
    if len(watch.convolutions) == 1 and only.kernel_size == only.stride and max(only.stride) > 1:
        raise ValueError(
            f"grad_cam: the only convolution, '{watch.name}', cuts the image into patches and sees nothing of what "
            "the model makes of them; give layer= a layer with output [B, C, H, W], or choose another method"
        )
    if watch.output._version != watch.version:  # changed in place after the hook: keep a copy this time
        return _at_layer(scorer, inputs, watch.name)
    return scores, watch.name, watch.output


def _at_layer(scorer: Scorer, inputs: Tensor, layer: str | nn.Module) -> tuple[list[Tensor], str, Tensor]:
    """The same at a given layer; no graph is built before it."""
    modules = dict(scorer.model.named_modules())
    if isinstance(layer, str):
        if layer not in modules:
            raise unknown("layer", layer, [name for name in modules if name])
        name, module = layer, modules[layer]
    else:
        names = [name for name, module in modules.items() if module is layer]
        if not names:
            raise ValueError(f"grad_cam: layer {type(layer).__name__} is not a part of the model")
        name, module = names[0], layer
    found: list[Tensor] = []

    def start_here(_module: nn.Module, _inputs: object, output: object) -> Tensor:
        if not isinstance(output, Tensor):
            raise TypeError(f"grad_cam: layer '{name}' gives a {type(output).__name__}, not a tensor")
        found.append(output.detach().requires_grad_())
        return found[-1].clone()  # what follows may change it in place

    handle = module.register_forward_hook(start_here)
    try:
        scores = scorer.columns(inputs.detach())
    finally:
        handle.remove()
    if not found:
        raise ValueError(f"grad_cam: layer '{name}' took no part in the forward pass")
    return scores, name, found[-1]


def _check_layout(name: str, activation: Tensor, inputs: Tensor) -> None:
    shape = list(activation.shape)
    if activation.dim() != 4:
        raise ValueError(f"grad_cam: layer '{name}' gives {shape}; expected [B, C, H, W]")
    height, width = activation.shape[2:]
    aspect = (height * inputs.shape[3]) / (width * inputs.shape[2])
    if (
        not 0.5 <= aspect <= 2
    ):  # channels last ([B, h, w, c], as in Swin), which would give a wrong map in silence
        raise ValueError(
            f"grad_cam: layer '{name}' gives {shape}, whose last two sides do not fit an image of "
            f"{list(inputs.shape[2:])}; expected [B, C, H, W] (is it channels last?)"
        )
