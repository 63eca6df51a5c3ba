"""Shared backbones by name: the article's CNN, an MLP, any timm model, any torchvision classification model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl.dense.pyramid import pyramid
from mtl.names import check_options, lookup, unknown
from mtl.piecewise import PiecewiseLinear


class CNN(nn.Module):
    """Two 3x3 convolutions (32 and 64 channels), each with ReLU and 2x2 pooling, then 120 and 84 units.

    Padding 1 keeps the size, so 28x28 images reach the first linear layer as 64 x 7 x 7 = 3,136 values.

    >>> import torch
    >>> CNN(in_channels=1, image_size=28)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 84])
    """

    def __init__(self, in_channels: int = 1, image_size: int | tuple[int, int] = 28) -> None:
        super().__init__()
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        if in_channels < 1 or min(height, width) < 4:
            raise ValueError(
                f"the cnn backbone needs in_channels >= 1 and image_size >= 4, got {in_channels} and "
                f"{height}x{width}"
            )
        self.input_shape = (in_channels, height, width)
        self.out_features = 84
        self.convolutions = nn.Sequential(
            nn.Conv2d(in_channels, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.linear = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64 * (height // 4) * (width // 4), 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> features [B, 84]."""
        if tuple(images.shape[1:]) != self.input_shape:
            raise ValueError(
                f"the cnn backbone was built for images [B, {', '.join(map(str, self.input_shape))}], got "
                f"{list(images.shape)}; build it with the right in_channels and image_size"
            )
        return self.linear(self.convolutions(images))


class ConvNet(nn.Module):
    """3x3 convolutions, each with batch norm, ReLU and 2x2 pooling; then each channel's largest value over the image.

    Takes any size of image from 2 ** len(widths), and what it finds does not depend on where it is.

    >>> import torch
    >>> ConvNet(in_channels=3, widths=(8, 16))(torch.zeros(2, 3, 20, 30)).shape
    torch.Size([2, 16])
    """

    def __init__(self, in_channels: int = 3, widths: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        if in_channels < 1 or not widths or min(widths) < 1:
            raise ValueError(
                f"the convnet backbone needs in_channels >= 1 and positive widths, got {in_channels} and {list(widths)}"
            )
        layers: list[nn.Module] = []
        for before, width in zip((in_channels, *widths), widths, strict=False):
            layers += [
                nn.Conv2d(before, width, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        self.convolutions = nn.Sequential(*layers)
        self.in_channels, self.out_features = in_channels, widths[-1]

    def forward(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> features [B, F]."""
        least = 2 ** (len(self.convolutions) // 4)
        if images.dim() != 4 or images.shape[1] != self.in_channels or min(images.shape[2:]) < least:
            raise ValueError(
                f"the convnet backbone was built for images [B, {self.in_channels}, H, W] of at least {least}x{least}, "
                f"got {list(images.shape)}"
            )
        return self.convolutions(images).amax(dim=(2, 3))


def mlp(
    in_features: int,
    *,
    hidden: Sequence[int] = (64, 64),
    dropout: float = 0.0,
    edges: Sequence[Sequence[float]] | None = None,
) -> nn.Module:
    """Linear layers with ReLU (and dropout) after each; the last width is the feature count.

    Given ``edges`` of each column, as `mtl.quantile_edges` finds them, a `mtl.PiecewiseLinear` comes first.

    >>> mlp(8, hidden=(32, 16)).out_features
    16
    """
    if in_features < 1 or not hidden or min(hidden) < 1:
        raise ValueError(
            f"the mlp backbone needs in_features >= 1 and positive hidden widths, got {in_features} and "
            f"{list(hidden)}"
        )
    layers: list[nn.Module] = [nn.Flatten()]
    width = in_features
    if edges is not None:
        if len(edges) != in_features:
            raise ValueError(
                f"the mlp backbone got edges of {len(edges)} columns, in_features is {in_features}"
            )
        pieces = PiecewiseLinear(edges)
        layers, width = [*layers, pieces], pieces.out_features
    for next_width in hidden:
        layers += [nn.Linear(width, next_width), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        width = next_width
    model = nn.Sequential(*layers)
    model.out_features = width  # type: ignore[assignment]  # MultiTaskModel reads it
    return model


def bag_of_words(in_features: int, *, hidden: Sequence[int] = (64,)) -> nn.Module:
    """A text [B, L, V] as the sum of its words, one-hot or embedded, and an `mlp`: the order of the words is lost.

    >>> import torch
    >>> bag_of_words(26, hidden=(32,))(torch.zeros(2, 9, 26)).shape
    torch.Size([2, 32])
    """
    model = nn.Sequential(Sum(dim=1), mlp(in_features, hidden=hidden))
    model.out_features = hidden[-1]  # type: ignore[assignment]  # MultiTaskModel reads it
    return model


class Embeddings(nn.Module):
    """A vector for each category of a table's columns, beside its numbers, and an `mlp` on all of them.

    Args:
        numbers: F, columns of numbers.
        sizes: of each of the K columns of categories, the number of its codes; a code out of range is an error.
        width: of a column's vectors; None: half its codes, at most 32.
        hidden, dropout: see `mlp`.

    >>> import torch
    >>> model = Embeddings(2, sizes=(5, 3), hidden=(8,))
    >>> model(numbers=torch.zeros(4, 2), categories=torch.zeros(4, 2, dtype=torch.long)).shape
    torch.Size([4, 8])
    """

    def __init__(
        self,
        numbers: int,
        sizes: Sequence[int],
        *,
        width: int | None = None,
        hidden: Sequence[int] = (64, 64),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if numbers < 0 or not sizes or min(sizes) < 1:
            raise ValueError(
                f"the embeddings backbone needs numbers >= 0 and sizes >= 1, got {numbers} and {list(sizes)}"
            )
        widths = [min(32, -(-size // 2)) if width is None else width for size in sizes]
        self.tables = nn.ModuleList(nn.Embedding(size, w) for size, w in zip(sizes, widths, strict=True))
        self.layers = mlp(numbers + sum(widths), hidden=hidden, dropout=dropout)
        self.out_features = hidden[-1]

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """numbers [B, F], categories int [B, K] -> features [B, hidden[-1]]."""
        vectors = [table(column) for table, column in zip(self.tables, categories.unbind(dim=1), strict=True)]
        return self.layers(torch.cat([numbers, *vectors], dim=1))


class Sum(nn.Module):
    """The sum over one dimension."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.sum(dim=self.dim)


def identity(in_features: int) -> nn.Module:
    """The inputs themselves as features: with linear heads this is linear (or logistic) regression.

    >>> identity(10).out_features
    10
    """
    model = nn.Flatten()
    model.out_features = in_features  # type: ignore[assignment]  # MultiTaskModel reads it
    return model


def timm_backbone(
    name: str,
    *,
    pretrained: bool = False,
    in_channels: int = 3,
    image_size: int | None = None,
    **options: Any,
) -> nn.Module:
    """Any timm model without its classifier; ``options`` go to ``timm.create_model``."""
    import timm

    if name.split(".")[0] not in timm.list_models():  # a pretrained tag, as in resnet18.a1_in1k, may follow
        raise unknown("timm model", name, timm.list_models())
    if image_size is not None:
        options["img_size"] = image_size
    try:
        model = timm.create_model(name, pretrained=pretrained, in_chans=in_channels, num_classes=0, **options)
    except TypeError as error:  # a keyword that this architecture does not take
        raise ValueError(f"timm/{name}: {error}") from error
    # what forward gives without a classifier; num_features alone is the trunk's width in some families
    model.out_features = getattr(model, "head_hidden_size", None) or model.num_features
    return model


def torchvision_backbone(
    name: str, *, pretrained: bool = False, in_channels: int = 3, **options: Any
) -> nn.Module:
    """Any torchvision classification model; its last linear layer gives way to the heads.

    ``pretrained=True`` loads torchvision's default weights; ``options`` go to ``torchvision.models.get_model``.
    """
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise unknown("torchvision model", name, known)
    if name in ("googlenet", "inception_v3") and not pretrained:
        options = {"aux_logits": False, "init_weights": True, **options}
    model = torchvision.models.get_model(name, weights="DEFAULT" if pretrained else None, **options)
    linear = [n for n, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear or list(model.named_modules())[-1][0] != linear[-1]:
        raise ValueError(f"torchvision/{name} does not end in a linear layer; use timm/<name> instead")
    model.out_features = model.get_submodule(linear[-1]).in_features
    _replace(model, linear[-1], nn.Identity())
    if in_channels != 3:
        _adapt_input(model, in_channels)
    return model


def _adapt_input(model: nn.Module, in_channels: int) -> None:
    """A new first convolution for another number of input channels."""
    name, first = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    _replace(
        model,
        name,
        nn.Conv2d(
            in_channels,
            first.out_channels,
            first.kernel_size,  # type: ignore[arg-type]  # a pair by now
            first.stride,  # type: ignore[arg-type]
            first.padding,  # type: ignore[arg-type]
            bias=first.bias is not None,
        ),
    )


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "cnn": CNN,
    "convnet": ConvNet,
    "embeddings": Embeddings,
    "bag_of_words": bag_of_words,
    "mlp": mlp,
    "identity": identity,
}
FAMILIES: dict[str, Callable[..., nn.Module]] = {
    "timm": timm_backbone,
    "torchvision": torchvision_backbone,
    "pyramid": pyramid,
}


def backbone(name: str, **options: Any) -> nn.Module:
    """A backbone [B, *S] -> [B, F] by name, with ``out_features`` = F; or a pyramid of feature maps for dense tasks.

    Args:
        name: ``"cnn"`` (in_channels, image_size), ``"convnet"`` (in_channels, widths), ``"mlp"`` (in_features, hidden,
            dropout, edges), ``"embeddings"`` (numbers, sizes, width, hidden, dropout), ``"bag_of_words"`` (in_features,
            hidden), ``"identity"`` (in_features), ``"timm/<model>"`` or ``"torchvision/<model>"`` (pretrained,
            in_channels, and what their own factories take), or ``"pyramid/timm/<model>"`` (the same, and pool) and
            ``"pyramid/convnet"`` (in_channels, widths, pool, stride); tasks that are not dense read their coarsest map,
            averaged in pool x pool cells.

    Raises:
        ValueError: an unknown name (with the nearest one), or an option that this backbone does not take.

    >>> backbone("cnn", in_channels=1, image_size=36).out_features
    84
    >>> backbone("timm/resnet18", in_channels=1).out_features
    512
    """
    family, _, rest = name.partition("/")
    if rest:
        return lookup("backbone family", family, FAMILIES)(rest, **options)
    build = lookup("backbone", name, {**BACKBONES, **FAMILIES})
    if name in FAMILIES:
        example = "pyramid/timm/resnet18" if name == "pyramid" else f"{name}/resnet18"
        raise ValueError(f"which {name} model? write '{name}/<model>', e.g. '{example}'")
    check_options(f"backbone '{name}'", build, options)
    return build(**options)
