"""Class activation maps from gradients: Grad-CAM, Grad-CAM++, HiResCAM and LayerCAM, each one formula."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from explain.methods.cam import check, maps_of
from explain.methods.cam_layout import Kind
from explain.scorer import Scorer

PIXELS = (2, 3)


def grad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Each channel weighted by its mean gradient: Selvaraju et al. 2017, equations 1 and 2."""
    return _weighted(gradient.mean(PIXELS), activation)


def grad_cam_plus_plus(activation: Tensor, gradient: Tensor) -> Tensor:
    """Each channel weighted by its positive gradients, each times alpha: Chattopadhay et al. 2018, equations 5 and 19.

    alpha = g^2 / (2 g^2 + g^3 sum(A)) = 1 / (2 + g sum(A)); where g is not positive, alpha takes no part.
    """
    bottom = 2 + gradient.relu() * activation.sum(PIXELS, keepdim=True)
    if not (bottom > 0).all():
        raise ValueError(
            "grad_cam_plus_plus: the layer's activations are so negative that its closed form, which is meant for what "
            "follows a ReLU, has no positive weights; give layer= a layer after a ReLU, or choose layercam or hirescam"
        )
    return _weighted((gradient.relu() / bottom).sum(PIXELS), activation)


def hirescam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Activation times gradient: Draelos and Carin 2020."""
    return (gradient * activation).sum(1, keepdim=True)


def layercam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Activation times positive gradient: Jiang et al. 2021, section III."""
    return (gradient.relu() * activation).sum(1, keepdim=True)


def _weighted(weight: Tensor, activation: Tensor) -> Tensor:
    """The channels [B, c, h, w] added up with weights [B, c]: [B, 1, h, w]."""
    return (weight[:, None] @ activation.flatten(2)).unflatten(2, activation.shape[2:])


@dataclass(frozen=True, kw_only=True)
class GradCam:
    """Grad-CAM: sum over channels of (mean gradient) x (activation) at one layer, upsampled to the input.

    A pass of our own, equal to Captum's ``LayerGradCam`` task by task: the layer's output is found and
    differentiated in the one forward pass. The map is signed unless ``relu``; it is spread equally over the input's
    channels, so that their sum is the CAM. Source: Selvaraju et al. 2017, equations 1 and 2. Cost: one forward, and
    for each task a backward as far as the layer.

    Args:
        layer: a module of the model or its name; None: the last layer with maps that all explained tasks use, with the
            activation, addition and block that follow it on the same grid. Of a vision transformer, the last whose
            patch tokens matter to the scores. There must be something that the model makes of the patches.
        relu: keep only the positive part, as the paper does.
        layout: how to read the output of ``layer`` where its shape leaves that open: ``"channels_first"`` [B, C, H, W],
            ``"channels_last"`` [B, H, W, C], ``"tokens"`` [B, N, C] (tokens that are not on the grid come first).
    """

    layer: str | nn.Module | None = None
    relu: bool = False
    layout: Kind | None = None

    def __post_init__(self) -> None:
        check("grad_cam", self)

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del first, seed
        return maps_of("grad_cam", self, scorer, inputs, grad_cam)


@dataclass(frozen=True, kw_only=True)
class GradCamPlusPlus:
    """Grad-CAM++: channels weighted by their positive gradients, which count less where the channel is active widely.

    The closed form for exp(score); the factor exp(score), which scales the whole map of an example, is left out, as
    in the authors' code. Only positive gradients count, by definition; the map is signed where the activation is
    (after a ReLU it is not), unless ``relu``. Activations so negative that an alpha would be negative are refused.
    Source: Chattopadhay et al. 2018, equations 5 and 19. Cost: as ``grad_cam``, whose options these are.

    Args:
        layer: as in ``grad_cam``.
        relu: keep only the positive part, as the paper does.
        layout: as in ``grad_cam``.
    """

    layer: str | nn.Module | None = None
    relu: bool = False
    layout: Kind | None = None

    def __post_init__(self) -> None:
        check("grad_cam_plus_plus", self)

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del first, seed
        return maps_of("grad_cam_plus_plus", self, scorer, inputs, grad_cam_plus_plus)


@dataclass(frozen=True, kw_only=True)
class HiResCam:
    """HiResCAM: sum over channels of gradient x activation, place by place.

    Where only one linear layer follows the layer, the map before upsampling sums to the score less the bias, and each
    place's value is its part in it; Grad-CAM's mean over places loses that. Source: Draelos and Carin 2020. Cost: as
    ``grad_cam``, whose options these are.

    Args:
        layer: as in ``grad_cam``.
        relu: keep only the positive part.
        layout: as in ``grad_cam``.
    """

    layer: str | nn.Module | None = None
    relu: bool = False
    layout: Kind | None = None

    def __post_init__(self) -> None:
        check("hirescam", self)

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del first, seed
        return maps_of("hirescam", self, scorer, inputs, hirescam)


@dataclass(frozen=True, kw_only=True)
class LayerCam:
    """LayerCAM: sum over channels of positive gradient x activation, place by place; meant for any layer's depth.

    Only positive gradients count, by definition; the map is signed where the activation is (after a ReLU it is not),
    unless ``relu``. Source: Jiang et al. 2021, section III. Cost: as ``grad_cam``, whose options these are.

    Args:
        layer: as in ``grad_cam``.
        relu: keep only the positive part, as the paper does.
        layout: as in ``grad_cam``.
    """

    layer: str | nn.Module | None = None
    relu: bool = False
    layout: Kind | None = None

    def __post_init__(self) -> None:
        check("layercam", self)

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del first, seed
        return maps_of("layercam", self, scorer, inputs, layercam)
