"""Backbones that give feature maps at several scales, for dense heads and others side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mtl.names import check_options, lookup, unknown


class Pyramid(NamedTuple):
    """The feature maps of a batch.

    Attributes:
        maps: [B, C_l, H_l, W_l] each, the finest first.
        size: H, W of the images.
    """

    maps: list[Tensor]
    size: tuple[int, int]


class ConvPyramid(nn.Module):
    """A small pyramid for CPUs: stages of two 3x3 convolutions with batch norm and ReLU, each at half the resolution.

    ``stride``: of the first stage; 1 keeps the images' resolution at four times the cost. ``pool``: tasks that are not
    dense read the coarsest map, averaged in pool x pool cells: with 1 they know what there is, with more also about
    where.

    >>> [list(m.shape) for m in ConvPyramid(widths=(8, 16, 24))(torch.zeros(2, 3, 20, 32)).maps]
    [[2, 8, 10, 16], [2, 16, 5, 8], [2, 24, 3, 4]]
    """

    def __init__(
        self,
        in_channels: int = 3,
        widths: Sequence[int] = (32, 64, 128, 160),
        pool: int = 4,
        stride: int = 2,
    ) -> None:
        super().__init__()
        if min(in_channels, stride, *widths, len(widths)) < 1:
            raise ValueError(
                f"the convnet pyramid needs in_channels and stride >= 1 and positive widths, got {in_channels}, "
                f"{stride} and {list(widths)}"
            )
        for level, (before, width) in enumerate(zip((in_channels, *widths), widths, strict=False)):
            step = 2 if level else stride
            self.add_module(
                f"stage{level}",
                nn.Sequential(*_convolution(before, width, step), *_convolution(width, width, 1)),
            )
        self.in_channels, self.least = in_channels, stride * 2 ** (len(widths) - 1)
        self.channels, self.pool = tuple(widths), _checked_pool(pool)
        self.out_features = widths[-1] * pool**2

    def forward(self, images: Tensor) -> Pyramid:
        """images [B, C, H, W] -> `Pyramid`."""
        if images.dim() != 4 or images.shape[1] != self.in_channels or min(images.shape[2:]) < self.least:
            raise ValueError(
                f"the convnet pyramid was built for images [B, {self.in_channels}, H, W] of at least "
                f"{self.least}x{self.least}, got {list(images.shape)}"
            )
        # channels last in memory: a step of small maps takes two thirds of the time on CPUs, heads included
        maps, z = [], images.contiguous(memory_format=torch.channels_last)
        for stage in self.children():
            z = stage(z)
            maps.append(z)
        return Pyramid(maps, _size(images))


class TimmPyramid(nn.Module):
    """The feature maps of a timm model, as ``features_only=True`` gives them; see `pyramid`."""

    def __init__(self, body: nn.Module, pool: int) -> None:
        super().__init__()
        self.body = body
        self.channels, self.pool = tuple(body.feature_info.channels()), _checked_pool(pool)  # type: ignore[union-attr,operator]
        self.out_features = self.channels[-1] * pool**2

    def forward(self, images: Tensor) -> Pyramid:
        """images [B, C, H, W] -> `Pyramid`."""
        maps = [
            z if z.shape[1] == channels else z.permute(0, 3, 1, 2)  # some families have the channels last
            for z, channels in zip(self.body(images), self.channels, strict=True)
        ]
        return Pyramid(maps, _size(images))


def timm_pyramid(
    name: str,
    *,
    pretrained: bool = False,
    in_channels: int = 3,
    image_size: int | None = None,
    pool: int = 1,
    **options: Any,
) -> nn.Module:
    """The pyramid of a timm model; ``options`` go to ``timm.create_model`` (``out_indices`` chooses levels)."""
    import timm

    if name.split(".")[0] not in timm.list_models():
        raise unknown("timm model", name, timm.list_models())
    if image_size is not None:
        options["img_size"] = image_size
    try:
        body = timm.create_model(
            name, pretrained=pretrained, in_chans=in_channels, features_only=True, **options
        )
    except (RuntimeError, TypeError, AttributeError, AssertionError, IndexError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"pyramid/timm/{name}: timm makes no feature maps of it with these options: {reason}"
        ) from error
    return TimmPyramid(body, pool)


PYRAMIDS: dict[str, Callable[..., nn.Module]] = {"convnet": ConvPyramid}


def pyramid(name: str, **options: Any) -> nn.Module:
    """A backbone with feature maps: ``"convnet"`` (in_channels, widths, pool, stride), or ``"timm/<model>"``.

    >>> pyramid("timm/resnet18").channels
    (64, 64, 128, 256, 512)
    """
    family, _, rest = name.partition("/")
    if family == "timm" and rest:
        return timm_pyramid(rest, **options)
    build = lookup("pyramid", name, {**PYRAMIDS, "timm/<model>": timm_pyramid})
    check_options(f"backbone 'pyramid/{name}'", build, options)
    return build(**options)


def _convolution(before: int, width: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(before, width, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]


def _checked_pool(pool: int) -> int:
    if pool < 1:
        raise ValueError(f"pyramid: pool must be at least 1, got {pool}")
    return pool


def _size(images: Tensor) -> tuple[int, int]:
    return int(images.shape[-2]), int(images.shape[-1])
