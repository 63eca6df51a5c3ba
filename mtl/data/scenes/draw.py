"""What is in a scene and from where it is seen, drawn from numbers that belong to its seed and index alone.

All in the camera's frame: x right, y down, z forward, in metres. Only + - * / and square roots are used, here and in
the renderer: they are exactly rounded, so that not a bit depends on which scenes are drawn together.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mtl.training.streams import stream_seed

K = 7  # objects at most
_TRIES = 3  # places for each
SPHERE, BOX, CYLINDER = 0, 1, 2
PLAIN, CHECKER, STRIPES = 0, 1, 2
_NUMBERS = 256  # drawn for each scene


@dataclass(frozen=True, eq=False)
class Scene:
    """N scenes of K objects each, of which some are absent. Vectors come first: [3, N, ...].

    Attributes:
        tangent: [N] of half the angle of view.
        up: [3, N] the ground's normal.
        height: [N] of the camera above the ground, whose points p have p . up = -height.
        there: bool [N, K].
        kind: [N, K] `SPHERE`, `BOX` or `CYLINDER`.
        centre: [3, N, K].
        axes: [3, 3, N, K], the object's own axes, each a unit vector: axes[a] is the a-th.
        half: [3, N, K] half sizes along the axes (a sphere has one size, a cylinder two: its third axis is its own).
        light: [3, N] the unit vector towards the light.
        ambient, direct: [N] the share of light from everywhere, and from there.
        pattern, scale: [N, K + 1] of the texture (`PLAIN`, `CHECKER`, `STRIPES`) and its size; last the ground's.
        colours: [2, 3, N, K + 1] the two colours of the texture, 0..1.
        sky: [2, 3, N] its colours at the horizon and above.
    """

    tangent: Tensor
    up: Tensor
    height: Tensor
    there: Tensor
    kind: Tensor
    centre: Tensor
    axes: Tensor
    half: Tensor
    light: Tensor
    ambient: Tensor
    direct: Tensor
    pattern: Tensor
    scale: Tensor
    colours: Tensor
    sky: Tensor

    @property
    def radius(self) -> Tensor:
        """[N, K] of the sphere around each object."""
        return _radius(self.kind, self.half)

    def to(self, dtype: torch.dtype) -> Scene:
        """The same with its floating-point tensors in ``dtype``."""
        return Scene(**{name: t.to(dtype) if t.is_floating_point() else t for name, t in vars(self).items()})


def draw(seed: int, part: str, indices: Sequence[int]) -> Scene:
    """The scenes ``indices`` of a part (``"train"``, say) of the set with this seed, in float64.

    >>> draw(0, "train", [5]).centre.equal(draw(0, "train", [3, 5]).centre[:, 1:])
    True
    """
    key = stream_seed(seed, f"scenes {part}")
    rows = [np.random.Generator(np.random.Philox(key=[key, index])).random(_NUMBERS) for index in indices]
    uniform = _Uniform(torch.from_numpy(np.stack(rows)))
    at, there, half, kind, quaternion = _objects(uniform)
    camera, frame = _camera(uniform)  # [3, N], [3, 3, N]: frame[a] is the camera's a-th axis in the world
    axes, bottom = _stand(kind, half, quaternion)
    centre = torch.stack([at[0], at[1], bottom])
    light = unit(torch.stack([uniform(-1, 1), uniform(-1, 1), uniform(0.5, 1.4)]))
    bright, dark = uniform(0.15, 1.0, 3, K + 1), uniform(0.1, 1.0, 3, K + 1)
    scene = Scene(
        tangent=uniform(0.5, 0.75),
        up=frame[:, 2],
        height=camera[2],
        there=there,
        kind=kind,
        centre=_seen(centre - camera[:, :, None], frame),
        axes=torch.stack([_seen(axis, frame) for axis in axes]),
        half=half,
        light=_seen(light, frame),
        ambient=uniform(0.2, 0.45),
        direct=uniform(0.5, 0.8),
        pattern=uniform(0, 3, K + 1).long(),
        scale=torch.cat([uniform(0.12, 0.35, K), uniform(0.25, 0.8, 1)], dim=1),
        colours=torch.stack([bright, dark]).permute(0, 2, 1, 3),
        sky=torch.stack([uniform(0.3, 1.0, 3).T, uniform(0.1, 0.9, 3).T]),
    )
    scene.there.logical_and_(length(scene.centre) > scene.radius + 0.3)  # none around the camera
    return scene


def _objects(uniform: _Uniform) -> tuple[Tensor, ...]:
    """Places on the ground, sizes and rotations; those that would cut into an earlier one are left out."""
    wanted = uniform(3, K + 1).long()  # [N]
    kind = uniform(0, 3, K).long()
    size = uniform(0.22, 0.66, K)
    other, third = uniform(0.5, 1.3, K) * size, uniform(0.5, 1.3, K) * size
    half = torch.stack(
        [
            size,
            torch.where(kind == BOX, other, size),
            torch.where(kind == SPHERE, size, third),
        ]
    )
    around = _radius(kind, half)
    places = torch.stack([uniform(-2.2, 2.2, K, _TRIES), uniform(-2.2, 2.2, K, _TRIES)])
    at, there = places[..., 0].clone(), torch.zeros(kind.shape, dtype=torch.bool)
    for k, t in itertools.product(range(K), range(_TRIES)):
        x, y = at - places[:, :, k, t, None]
        least = around + around[:, k : k + 1]
        free = ~(there & (x * x + y * y < least * least)).any(dim=1) & (k < wanted) & ~there[:, k]
        at[:, :, k] = torch.where(free, places[:, :, k, t], at[:, :, k])
        there[:, k] |= free
    lying = (uniform(0, 1, K) < 0.4).double()  # the others stand upright
    quaternion = torch.stack(
        [uniform(-1, 1, K), lying * uniform(-1, 1, K), lying * uniform(-1, 1, K), uniform(-1, 1, K)]
    )
    return at, there, half, kind, quaternion


def _camera(uniform: _Uniform) -> tuple[Tensor, Tensor]:
    """Its place [3, N] and axes [3, 3, N] in a world whose third axis points up; it looks at about the middle."""
    away = unit(torch.stack([uniform(-1, 1), uniform(-1, 1)]))
    place = torch.cat([uniform(2.6, 4.2) * away, uniform(0.9, 2.6)[None]])
    looked_at = torch.stack([uniform(-0.7, 0.7), uniform(-0.7, 0.7), uniform(0.1, 0.6)])
    forward = unit(looked_at - place)
    zero = torch.zeros_like(forward[0])
    right = unit(torch.stack([forward[1], -forward[0], zero]))
    down = cross(forward, right)
    tilt = uniform(-0.12, 0.12)  # about that many radians
    right = unit(right + tilt * down)
    return place, torch.stack([right, cross(forward, right), forward])


def _stand(kind: Tensor, half: Tensor, quaternion: Tensor) -> tuple[Tensor, Tensor]:
    """The objects' axes [3, 3, N, K] in the world, and how high their centres are [N, K] when they touch the ground."""
    w, x, y, z = quaternion / length(quaternion)
    axes = torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)]),
            torch.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)]),
            torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)]),
        ]
    )
    steep = axes[:, 2].abs()  # [3, N, K] of each axis, how upright it is
    box = dot(steep, half)
    cylinder = (1 - steep[2] * steep[2]).clamp(min=0).sqrt() * half[0] + steep[2] * half[2]
    return axes, torch.where(kind == SPHERE, half[0], torch.where(kind == BOX, box, cylinder))


class _Uniform:
    """Hands out the numbers of each row, in order."""

    def __init__(self, numbers: Tensor) -> None:
        self.numbers, self.at = numbers, 0

    def __call__(self, low: float, high: float, *shape: int) -> Tensor:
        """[N, *shape] between ``low`` and ``high``."""
        count = int(np.prod(shape))
        found = self.numbers[:, self.at : self.at + count]
        self.at += count
        return low + (high - low) * found.reshape(-1, *shape)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product over the first axis, of three; written out, for no sum may depend on the shape."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Tensor, b: Tensor) -> Tensor:
    """The vector product over the first axis."""
    return torch.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def length(a: Tensor) -> Tensor:
    """The length over the first axis."""
    total = a[0] * a[0]
    for part in a[1:]:
        total = total + part * part
    return total.sqrt()


def unit(a: Tensor) -> Tensor:
    """``a`` divided by its length."""
    return a / length(a)


def _radius(kind: Tensor, half: Tensor) -> Tensor:
    """From the centre to the surface, a box's corners and a cylinder's rim."""
    round_ = torch.where(kind == SPHERE, half[0], length(half[[0, 2]]))
    return torch.where(kind == BOX, length(half), round_)


def _seen(vectors: Tensor, frame: Tensor) -> Tensor:
    """Vectors of the world [3, N, ...] in the camera's frame."""
    frame = frame.reshape(*frame.shape, *[1] * (vectors.dim() - 2))
    return torch.stack([dot(axis, vectors) for axis in frame])
