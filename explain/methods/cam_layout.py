"""Where the pixels and the channels of a layer's output lie: [B, C, H, W], [B, H, W, C], or tokens [B, N, C].

The shape alone is not enough ([B, 8, 8, 8] may be either of two), so the modules that ran are asked: a convolution
gives channels first, a `Linear` or `LayerNorm` channels last, and the sides of the convolutions are the grids that
tokens can lie on. What stays open is an error, for a map read in the wrong layout looks like any other map.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

Kind = Literal["channels_first", "channels_last", "tokens"]
KINDS: tuple[Kind, ...] = ("channels_first", "channels_last", "tokens")
EXPECTED = "expected [B, C, H, W], [B, H, W, C] or tokens [B, N, C]"
PREFIX = 16  # class, distillation and register tokens at most
Shape = tuple[int, ...]


@dataclass(frozen=True)
class MapLayout:
    """How to read a tensor as maps.

    Args:
        kind: where the channels are.
        sides: height and width of the grid.
        prefix: tokens before those of the grid (class, distillation, registers).
    """

    kind: Kind
    sides: tuple[int, int]
    prefix: int = 0

    def maps(self, tensor: Tensor) -> Tensor:
        """The tensor as [B, C, h, w], without the tokens that have no place.

        >>> import torch
        >>> tokens = torch.tensor([[[9.0], [1.0], [2.0], [3.0], [4.0]]])  # a class token, then 2 x 2 patches
        >>> MapLayout("tokens", (2, 2), prefix=1).maps(tokens).tolist()
        [[[[1.0, 2.0], [3.0, 4.0]]]]
        """
        if self.kind == "channels_first":
            return tensor
        if self.kind == "channels_last":
            return tensor.permute(0, 3, 1, 2)
        return tensor[:, self.prefix :].transpose(1, 2).unflatten(2, self.sides)


@dataclass(frozen=True)
class Unread:
    """Why a shape has no layout; ``open`` where it has more than one."""

    reason: str
    open: bool = False


def told(module: nn.Module, shape: Shape) -> Kind | None:
    """What a module says of its output [B, ...] of four dimensions; None for one that would take either layout."""
    if len(shape) != 4:
        return None
    if type(module).__name__.endswith("2d"):  # PyTorch's and timm's name for what takes [B, C, H, W]
        return "channels_first"
    if isinstance(module, nn.GroupNorm):
        return "channels_first"
    if isinstance(module, nn.Linear):
        return "channels_last"
    if isinstance(module, nn.LayerNorm | nn.RMSNorm) and tuple(module.normalized_shape) == shape[3:]:
        return "channels_last"
    return None


@dataclass
class Reader:
    """Reads shapes, from the input's sides and from what the modules of one forward pass said.

    Args:
        size: height and width of the image.
        batch: examples.
        prefix: the largest number of tokens before those of the grid.
    """

    size: tuple[int, int]
    batch: int
    prefix: int = PREFIX
    said: dict[Shape, set[Kind]] = field(default_factory=dict)
    grids: dict[tuple[int, int], None] = field(default_factory=dict)  # in order of execution
    widths: set[int] = field(default_factory=set)  # channels of tokens, as their normalisations say

    def hear(self, module: nn.Module, shape: Shape) -> None:
        """Take note of a module's output."""
        if len(shape) == 3 and isinstance(module, nn.LayerNorm | nn.RMSNorm):
            self.widths.add(shape[2])
        kind = told(module, shape)
        if kind is not None:
            self.said.setdefault(shape, set()).add(kind)
        if kind == "channels_first":
            self.grids.setdefault((shape[2], shape[3]))
        elif kind == "channels_last" and self._fits((shape[1], shape[2])):
            self.grids.setdefault((shape[1], shape[2]))

    def read(
        self, shape: Shape, module: nn.Module | None = None, stated: Kind | None = None
    ) -> MapLayout | Unread:
        """The layout of an output of this shape.

        Args:
            shape: of the output, [B, ...].
            module: what gave it.
            stated: the user's word for it.
        """
        if len(shape) not in (3, 4) or shape[0] != self.batch:
            return Unread(f"gives {list(shape)}; {EXPECTED} with B = {self.batch}")
        if stated is not None and (stated == "tokens") != (len(shape) == 3):
            return Unread(f"gives {list(shape)}, which cannot be {stated}")
        if len(shape) == 3:
            found = self._tokens(shape, stated)
        else:
            found = self._image(
                shape, stated or (told(module, shape) if module is not None else None), stated
            )
        if isinstance(found, MapLayout) and math.prod(found.sides) == 1:
            return Unread(f"gives {list(shape)}, a single pixel")
        return found

    def _image(self, shape: Shape, own: Kind | None, stated: Kind | None) -> MapLayout | Unread:
        first = MapLayout("channels_first", (shape[2], shape[3]))
        last = MapLayout("channels_last", (shape[1], shape[2]))
        # a turned tensor has another shape, unless all sides are equal: then only the module itself can tell
        cube = shape[1] == shape[2] == shape[3]
        said = {own} if own is not None else set() if cube else self.said.get(shape, set())
        if said == {"channels_first"}:
            return first
        if said == {"channels_last"} and (stated or self._fits(last.sides)):
            return last
        known = {*self.grids, self.size}
        fitting = [layout for layout in (first, last) if self._fits(layout.sides) and layout.sides in known]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            return Unread(
                f"gives {list(shape)}, which may be channels first or channels last; give layout=", open=True
            )
        return Unread(
            f"gives {list(shape)}, whose sides fit neither the image's {list(self.size)} nor a convolution's output; "
            f"{EXPECTED} (or say layout='channels_first' or 'channels_last')"
        )

    def _tokens(self, shape: Shape, stated: Kind | None) -> MapLayout | Unread:
        count = shape[1]
        if stated is None and count in self.widths and shape[2] not in self.widths:
            return Unread(f"gives {list(shape)}, channels before tokens; {EXPECTED}")
        patches = {sides: math.prod(sides) for sides in self.grids if math.prod(sides) > 1}
        grids = [sides for sides in patches if 0 <= count - patches[sides] <= self.prefix]
        grids = grids or list(self._same_aspect(count))
        if not grids:
            return Unread(
                f"gives {list(shape)}, whose {count} tokens are not those of a grid of patches of an image of "
                f"{list(self.size)}; {EXPECTED}"
            )
        most = max(math.prod(sides) for sides in grids)
        largest = [sides for sides in grids if math.prod(sides) == most]
        if len(largest) > 1:
            return Unread(f"gives {list(shape)}, whose tokens fit several grids: {largest}", open=True)
        turned = (
            count in self.widths or not self.widths
        )  # it may be channels before tokens, as inside an MLP-Mixer
        if stated is None and turned and shape[2] in patches.values():
            return Unread(
                f"gives {list(shape)}, of which either side may count the patches; "
                "if it is [B, N, C], say layout='tokens'",
                open=True,
            )
        return MapLayout("tokens", largest[0], count - most)

    def _same_aspect(self, count: int) -> Iterable[tuple[int, int]]:
        """Grids with exactly the image's aspect, with and without a class token: patches cut without a convolution."""
        for patches in (count, count - 1):
            high = round(math.sqrt(patches * self.size[0] / self.size[1])) if patches > 1 else 0
            if high and patches % high == 0 and high * self.size[1] == patches // high * self.size[0]:
                yield high, patches // high

    def _fits(self, sides: tuple[int, int]) -> bool:
        """Whether a grid has the image's aspect, to one pixel."""
        (high, wide), (height, width) = sides, self.size
        return high <= height and wide <= width and abs(high * width - wide * height) <= max(height, width)
