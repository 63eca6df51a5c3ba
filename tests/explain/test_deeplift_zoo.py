"""DeepLIFT on models of timm and torchvision: maps add up, and close to the baseline they are the gradient."""

import pytest
import torch
from torch import nn

import explain

MODELS = {  # name: (library, options, image size)
    "resnet10t": ("timm", {}, 64),
    "convnext_atto": ("timm", {}, 64),
    "mobilenetv3_small_050": ("timm", {}, 64),
    "vit_tiny_patch16_224": ("timm", {"img_size": 32}, 32),
    "mobilevit_xxs": ("timm", {}, 64),
    "regnety_002": ("timm", {}, 64),
    "efficientnet_lite0": ("timm", {}, 32),
    "mobilenet_v2": ("torchvision", {}, 32),
    "shufflenet_v2_x0_5": ("torchvision", {}, 32),
    "densenet121": ("torchvision", {}, 32),
    "swin_t": ("torchvision", {}, 32),
    "squeezenet1_1": ("torchvision", {}, 32),
}
RECTIFIED = {
    "resnet10t",
    "efficientnet_lite0",
    "mobilenet_v2",
    "shufflenet_v2_x0_5",
    "densenet121",
    "squeezenet1_1",
}


def model_of(name: str) -> nn.Module:
    library, options, _ = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if library == "timm":
            import timm

            model = timm.create_model(name, **options)
        else:
            import torchvision

            model = getattr(torchvision.models, name)(weights=None, **options)
        for p in model.parameters():  # biases that are zero make a black image a special case
            if p.dim() == 1:
                p.data += 0.1 * torch.randn_like(p)
    return model.double()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_zoo(name: str) -> None:
    """The sum to 1e-9 in float64; the gradient where baseline and input nearly meet; ReLU networks alone are guided."""
    model, size = model_of(name), MODELS[name][2]
    generator = torch.Generator().manual_seed(0)
    x, away = (torch.rand(2, 3, size, size, generator=generator, dtype=torch.float64) for _ in range(2))
    found = explain.saliency(model, x, method="deeplift", target=3, tolerance=1e-9)
    assert found.abs().sum() > 0
    near = explain.saliency(model, x, method="deeplift", target=3, baseline=x - 1e-7 * away) / (1e-7 * away)
    gradient = explain.saliency(model, x, target=3)
    assert (near - gradient).norm() <= 1e-3 * gradient.norm()
    for method in ("guided_backprop", "deconvolution"):
        if name in RECTIFIED:
            assert explain.saliency(model, x, method=method, target=3).abs().sum() > 0
        else:
            with pytest.raises(ValueError, match=f"{method} has no rule for: "):
                explain.saliency(model, x, method=method, target=3)
