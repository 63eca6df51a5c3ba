"""Every method on families of timm and torchvision: a finite map whose axiom was checked, or one line that refuses."""

import warnings
from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import nn

import explain


def vision(name: str) -> Callable[[], nn.Module]:
    return lambda: torchvision.models.get_model(name)


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "resnet (torchvision)": vision("resnet18"),
    "resnet (timm)": lambda: timm.create_model("resnet10t"),
    "convnext": lambda: timm.create_model("convnext_atto"),
    "efficientnet (torchvision)": vision("efficientnet_b0"),
    "efficientnet (timm)": lambda: timm.create_model("efficientnet_lite0"),
    "mobilenet_v2": vision("mobilenet_v2"),
    "mobilenet_v3": lambda: timm.create_model("mobilenetv3_small_050"),
    "vgg": vision("vgg11_bn"),
    "densenet": vision("densenet121"),
    "regnet": lambda: timm.create_model("regnety_002"),
    "squeezenet": vision("squeezenet1_1"),
    "vit (torchvision)": lambda: torchvision.models.VisionTransformer(64, 16, 2, 3, 48, 96),
    "vit (timm)": lambda: timm.create_model("vit_tiny_patch16_224", img_size=64, depth=3),
    "deit": lambda: timm.create_model("deit_tiny_distilled_patch16_224", img_size=64, depth=3),
    "swin": lambda: timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=64, depths=(1, 1, 1, 1), window_size=2
    ),
    "mixer": lambda: timm.create_model("mixer_s32_224", img_size=64),
}
FEW = {  # options that make the long methods short
    "integrated_gradients": {"steps": 4, "max_steps": 4, "tolerance": float("inf")},
    "smoothgrad": {"samples": 2},
    "smoothgrad_squared": {"samples": 2},
    "vargrad": {"samples": 2},
    "gradient_shap": {"samples": 2},
    "occlusion": {"window": 32, "stride": 32},
    "feature_ablation": {"size": 4},
    "rise": {"samples": 4},
    "shapley_sampling": {"permutations": 1, "size": 4},
    "kernel_shap": {"size": 2},
    "lime": {"size": 3, "samples": 32},
    "score_cam": {"channels": 3},
}
RELU_ONLY = ("guided_backprop", "deconvolution", "guided_grad_cam")
NO_RELU = {  # those are not defined for these families' activations and gates
    "convnext", "efficientnet (torchvision)", "mobilenet_v3", "regnet", "vit (torchvision)", "vit (timm)", "deit",
    "swin", "mixer",
}  # fmt: skip


def build(family: str) -> nn.Module:
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's, about its own initialisation
        torch.manual_seed(0)
        model = FAMILIES[family]().eval()
        for parameter in model.parameters():  # some heads begin at zero, where every map is zero
            if parameter.dim() > 1 and not parameter.any():
                nn.init.normal_(parameter, std=0.02)
    return model


def outcome(model: nn.Module, method: str) -> str:
    """ "map" or the line that refuses."""
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    refusal = ""
    try:
        found = explain.saliency(model, image, method=method, target=3, **FEW.get(method, {}))
    except (ValueError, TypeError) as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal
        assert method in refusal or "guided_backprop" in refusal, refusal
        return refusal
    assert found.shape == image.shape
    assert torch.isfinite(found).all()
    return "map"


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_map_or_one_line(family: str) -> None:
    model = build(family)
    for method in explain.METHODS:
        found = outcome(model, method)
        refused = method in RELU_ONLY and family in NO_RELU
        assert (found != "map") == refused, f"{method}: {found}"
