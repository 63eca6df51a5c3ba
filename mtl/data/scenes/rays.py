"""Ray-casting of scenes, one ray a pixel, in closed form and for all at once.

A ray is only tried on objects whose bounding sphere it meets; what is left is a flat list of pairs (object, pixel),
each kind with its own formula. The rays' directions have z = 1, so that the distance along a ray is the depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtl.data.scenes.draw import BOX, CHECKER, CYLINDER, SPHERE, STRIPES, K, Scene, cross, dot, length, unit
from mtl.data.scenes.shapes import facing, inside

FARTHEST = 20.0  # metres: where the ground ends
GROUND, SKY = K, K + 1  # what a pixel shows, where it is none of the K objects


@dataclass(frozen=True, eq=False)
class Seen:
    """What N cameras see, P = size x size pixels each, row by row.

    Attributes:
        colour: [3, N, P] in 0..1.
        depth: [N, P] z in metres; infinite in the sky.
        normal: [3, N, P] unit vectors in the camera's frame; zero in the sky.
        what: [N, P] the object 0..K-1, `GROUND` or `SKY`.
    """

    colour: Tensor
    depth: Tensor
    normal: Tensor
    what: Tensor


def cast(scene: Scene, size: int) -> Seen:
    """The pictures of ``scene``, size x size pixels, in the scene's precision."""
    rays = _rays(scene.tangent, size)  # [3, N, P]
    depth, what = _first(scene, rays)
    points = rays * torch.where(what == SKY, 1, depth)
    normal = torch.where(what == SKY, 0, scene.up[:, :, None]).contiguous()
    n, p = (what < K).nonzero().unbind(1)
    k = what[n, p]
    local = _local(scene, n, k, points[:, n, p] - scene.centre[:, n, k])
    half = scene.half[:, n, k]
    normal[:, n, p] = unit(_out(scene, n, k, facing(scene.kind[n, k], local / half) / half))
    on_ground = _ground_places(scene, points)
    colour = _texture(scene, on_ground, (n, p, k), local)
    bright = dot(normal, scene.light[:, :, None]).clamp(min=0)
    bright = bright * ~_shadow(scene, points, what, bright > 0)
    colour = colour * (scene.ambient[:, None] + scene.direct[:, None] * bright)
    above = (dot(unit(rays), scene.up[:, :, None]) * 3).clamp(0, 1)
    horizon, zenith = scene.sky[:, :, :, None]
    return Seen(
        torch.where(what == SKY, horizon + (zenith - horizon) * above, colour).clamp(0, 1),
        depth,
        normal,
        what,
    )


def _rays(tangent: Tensor, size: int) -> Tensor:
    """Through the middle of each pixel, [3, N, P], z = 1."""
    middle = (torch.arange(size, dtype=tangent.dtype) + 0.5) * 2 / size - 1
    across, down = middle.repeat(size), middle.repeat_interleave(size)
    x, y = (tangent[:, None] * part for part in (across, down))
    return torch.stack([x, y, torch.ones_like(x)])


def _first(scene: Scene, rays: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest surface on each ray: its depth, and what it is, [N, P]."""
    N, P = rays.shape[1:]
    falling = -dot(rays, scene.up[:, :, None])
    depth = torch.where(falling > 0, scene.height[:, None] / falling, torch.inf)
    what = torch.where(depth < FARTHEST, GROUND, SKY)
    depth = torch.where(depth < FARTHEST, depth, torch.inf)
    # c.d >= |d| sqrt(|c|² - r²): the ray meets the sphere around the object, with room for rounding
    (x, y, _), (cx, cy, cz) = rays[:, :, None], scene.centre[..., None]
    size = round(P**0.5)
    along = ((cx * x[..., :size])[..., None, :] + (cy * y[..., ::size] + cz)[..., None]).flatten(
        2
    )  # [N, K, P]
    least = (dot(scene.centre, scene.centre) - 1.01 * scene.radius * scene.radius).sqrt()
    least = torch.where(scene.there, least, torch.inf)
    n, k, p = (along >= least[..., None] * length(rays)[:, None]).nonzero().unbind(1)
    near, far = _pairs(scene, n, k, None, rays[:, n, p])
    hits = near < far
    n, k, p, near = n[hits], k[hits], p[hits], near[hits]
    each = rays.new_full((N, K, P), torch.inf)
    each[n, k, p] = near
    nearest, who = each.min(dim=1)
    closer = nearest < depth
    return torch.where(closer, nearest, depth), torch.where(closer, who, what)


def _shadow(scene: Scene, points: Tensor, what: Tensor, lit: Tensor) -> Tensor:
    """Whether an object stands between each point and the light, bool [N, P].

    An object never shadows a point of its own that faces the light, for all are convex.
    """
    first = _perpendicular(scene.light)
    second = unit(cross(scene.light, first))
    a, b, s = (dot(points, axis[:, :, None]) for axis in (first, second, scene.light))  # [N, P]
    ca, cb, cs = (dot(scene.centre, axis[:, :, None]) for axis in (first, second, scene.light))  # [N, K]
    room = torch.where(scene.there, 1.01 * scene.radius * scene.radius, -1)
    beside, across = ca[..., None] - a[:, None], cb[..., None] - b[:, None]  # [N, K, P]
    n, k, p = (beside * beside + across * across <= room[..., None]).nonzero().unbind(1)
    perhaps = lit[n, p] & (what[n, p] != k) & (s[n, p] < (cs + scene.radius)[n, k])
    n, k, p = n[perhaps], k[perhaps], p[perhaps]
    near, far = _pairs(scene, n, k, points[:, n, p], scene.light[:, n])
    dark = (near < far) & (far > 1e-3)
    found = torch.zeros_like(lit)
    found[n[dark], p[dark]] = True
    return found


def _pairs(
    scene: Scene, n: Tensor, k: Tensor, start: Tensor | None, direction: Tensor
) -> tuple[Tensor, Tensor]:
    """near, far [M] of rays [3, M] and objects; ``start`` None: the camera."""
    near, far = torch.empty_like(direction[0]), torch.empty_like(direction[0])
    kinds = scene.kind[n, k]
    for kind in (SPHERE, BOX, CYLINDER):
        at = (kinds == kind).nonzero()[:, 0]
        own_n, own_k = n[at], k[at]
        centre, half = scene.centre[:, own_n, own_k], scene.half[:, own_n, own_k]
        begin = -centre if start is None else start[:, at] - centre
        near[at], far[at] = inside(
            kind,
            _local(scene, own_n, own_k, begin) / half,
            _local(scene, own_n, own_k, direction[:, at]) / half,
        )
    return near, far


def _local(scene: Scene, n: Tensor, k: Tensor, vectors: Tensor) -> Tensor:
    """Vectors [3, M] along the objects' own axes."""
    return torch.stack([dot(scene.axes[a][:, n, k], vectors) for a in range(3)])


def _out(scene: Scene, n: Tensor, k: Tensor, vectors: Tensor) -> Tensor:
    """The inverse of `_local`."""
    x, y, z = (scene.axes[a][:, n, k] * vectors[a] for a in range(3))
    return x + y + z


def _ground_places(scene: Scene, points: Tensor) -> Tensor:
    """Two coordinates [2, N, P] of points on the ground."""
    first = _perpendicular(scene.up)
    second = cross(scene.up, first)
    return torch.stack([dot(points, axis[:, :, None]) for axis in (first, second)])


def _texture(scene: Scene, on_ground: Tensor, places: tuple[Tensor, Tensor, Tensor], local: Tensor) -> Tensor:
    """The surfaces' own colour [3, N, P]: one of two, by where on the surface.

    ``places`` says of which examples, pixels and objects ``local`` [3, M] are the points, along the objects' axes.
    """
    n, p, k = places
    ground = _which(scene.pattern[:, -1:], on_ground / scene.scale[:, -1:])
    ground_colours = scene.colours[:, :, :, -1:]  # [2, 3, N, 1]
    colour = torch.where(ground, ground_colours[1], ground_colours[0]).contiguous()
    which = _which(scene.pattern[n, k], local / scene.scale[n, k])
    colour[:, n, p] = torch.where(which, scene.colours[1][:, n, k], scene.colours[0][:, n, k])
    return colour


def _which(pattern: Tensor, places: Tensor) -> Tensor:
    """Whether a texture shows its second colour at ``places`` [2 or 3, ...], in units of its size."""
    cells = places.floor()
    total = cells[0]
    for part in cells[1:]:
        total = total + part
    checker, stripes = (value - 2 * (value / 2).floor() != 0 for value in (total, cells[-1]))
    return ((pattern == CHECKER) & checker) | ((pattern == STRIPES) & stripes)


def _perpendicular(axis: Tensor) -> Tensor:
    """Unit vectors [3, N] perpendicular to unit vectors; which ones, depends on these alone."""
    x, y, z = axis
    zero = torch.zeros_like(x)
    steep = x.abs() > 0.7
    return unit(torch.where(steep, torch.stack([y, -x, zero]), torch.stack([zero, z, -y])))
