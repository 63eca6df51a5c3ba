"""Which elements of an input are one feature: columns, tokens, cells of a grid, superpixels, or ids of the user's own.

Ids lie in a tensor [b, *S'] that broadcasts to the inputs [B, *S]: b is 1 where all examples share their features, a
side of *S' is 1 where a feature spans the whole of it (channels of an image, the embedding of a token). In each example
they are 0..M-1, each at least once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from explain.names import unknown
from explain.options import check_count
from explain.scorer import Scorer

Features = Tensor | str | Mapping[str, Tensor | str] | None
KINDS = ("each", "grid", "superpixels")
CELLS, SEGMENTS = 7, 50  # along each side of a grid; superpixels an image


@dataclass(frozen=True, eq=False)
class Named:
    """The features of a micro-batch.

    Args:
        ids: [b, *S'] as above.
        counts: M of each of the b rows.
    """

    ids: Tensor
    counts: list[int]


def named_features(name: str, features: Features, size: int | None, inputs: Tensor, scorer: Scorer) -> Named:
    """The features of these rows.

    Args:
        name: of the method, for messages.
        features: ``"each"`` (columns of [B, F], tokens of [B, L, D], pixels of [B, C, *P]); ``"grid"`` (cells of an
            image [B, C, *P] or [B, H, W]); ``"superpixels"`` (of each image [B, C, H, W] or [B, H, W]: SLIC, Achanta et
            al. 2012); integer ids, shared ([*S], [H, W], [L]) or for the whole batch ([B, *S], [B, 1, H, W], ...);
            None: a grid for images, else each. Of several inputs: {name: any of these}, or ids [N] or [B, N] of the
            joined input; a word that needs an image is for the images among them.
        size: cells along each side of a grid (7), or about how many superpixels (50).
        inputs: [B, *S].
        scorer: of the same rows.

    Raises:
        ValueError: names that are not there, shapes that do not fit, a size of nothing.
        TypeError: ids that are no integers.
    """
    if size is not None:
        check_count(name, "size", size)
    parts = scorer.split(inputs)
    if len(parts) == 1:
        if isinstance(features, Mapping):
            raise ValueError(
                f"{name}: there is one input; give features as a word or a tensor, not {{name: ...}}"
            )
        return _of_part(name, features, size, parts[0], scorer)
    if isinstance(features, Tensor):
        return _given(name, features, inputs, scorer)
    each: Mapping[str, Any] = features if isinstance(features, Mapping) else {}
    for given in each:
        if given not in scorer.names:
            raise unknown(f"input of {name}", given, scorer.names)
    found = []
    for label, part in zip(scorer.names, parts, strict=True):
        own = each.get(label) if isinstance(features, Mapping) else features
        if isinstance(features, str) and features in ("grid", "superpixels") and part.dim() < 4:
            own = None  # the words beside the image
        sized = size if part.dim() >= 4 or isinstance(own, str) else None
        found.append(_of_part(name, own, sized, part, scorer))
    if isinstance(features, str) and features != "each" and all(part.dim() < 4 for part in parts):
        raise ValueError(f"{name}: features '{features}' needs an image [B, C, H, W] among the inputs")
    return _joined(found, parts)


def _of_part(
    name: str, features: Tensor | str | None, size: int | None, part: Tensor, scorer: Scorer
) -> Named:
    if isinstance(features, Tensor | np.ndarray):
        if size is not None:
            raise ValueError(
                f"{name}: size goes with features 'grid' or 'superpixels', not with a tensor of ids"
            )
        return _given(name, torch.as_tensor(features), part, scorer)
    if features is None:
        features = "grid" if part.dim() >= 4 else "each"
    if not isinstance(features, str):
        raise TypeError(
            f"{name}: features must be a word or an integer tensor, got {type(features).__name__}"
        )
    if features not in KINDS:
        raise unknown(f"features of {name}", features, KINDS)
    if features == "each":
        if size is not None:
            raise ValueError(f"{name}: size goes with features 'grid' or 'superpixels', not 'each'")
        return _each(part)
    sides = part.shape[1:] if part.dim() == 3 else part.shape[2:]
    if part.dim() < 3 or (features == "superpixels" and len(sides) != 2):
        raise ValueError(
            f"{name}: features '{features}' needs an image [B, C, H, W] or [B, H, W], got {list(part.shape)}"
        )
    if features == "grid":
        return _grid(part, sides, size or CELLS)
    return _superpixels(part, size or SEGMENTS)


def _each(part: Tensor) -> Named:
    shape = thin(part)
    count = prod(shape)
    return Named(torch.arange(count, device=part.device).reshape(1, *shape), [count])


def thin(part: Tensor) -> tuple[int, ...]:
    """An example's shape without what "each" feature spans: an image's channels, the embedding of a token.

    >>> thin(torch.zeros(2, 3, 8, 9)), thin(torch.zeros(2, 5, 64)), thin(torch.zeros(2, 4))
    ((1, 8, 9), (5, 1), (4,))
    """
    if part.dim() >= 4:
        return (1, *part.shape[2:])
    return (part.shape[1], *[1] * (part.dim() - 2))


def _grid(part: Tensor, sides: torch.Size, cells: int) -> Named:
    ids = torch.zeros((), dtype=torch.long, device=part.device)
    count = 1
    for side in sides:
        along = min(cells, side)
        place = torch.arange(side, device=part.device) * along // side
        ids = ids[..., None] * along + place
        count *= along
    return Named(ids.reshape(1, *[1] * (part.dim() - 1 - len(sides)), *sides), [count])


def _superpixels(part: Tensor, segments: int) -> Named:
    """SLIC on each image by itself, stretched to 0..1; in Lab where there are three channels."""
    from skimage.segmentation import slic

    found = []
    for image in part.detach().float().cpu():
        picture = image.numpy() if image.dim() == 2 else image.permute(1, 2, 0).numpy()
        low, high = float(picture.min()), float(picture.max())
        picture = (picture - low) / max(high - low, 1e-12)
        colour = picture.ndim == 3 and picture.shape[2] == 3
        labels = slic(
            picture,
            n_segments=segments,
            compactness=10.0 if colour else 0.1,  # in the units of Lab, and of a grey value in 0..1
            convert2lab=colour,
            start_label=0,
            channel_axis=None if picture.ndim == 2 else -1,
        )
        found.append(torch.as_tensor(labels, dtype=torch.long))
    ids = torch.stack(found)  # [B, H, W]
    return _counted(ids.reshape(len(ids), *[1] * (part.dim() - 3), *ids.shape[1:]).to(part.device))


def _given(name: str, ids: Tensor, part: Tensor, scorer: Scorer) -> Named:
    """The user's own ids, read in the one way that their shape allows."""
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise TypeError(f"{name}: feature ids must be integers, got {ids.dtype}")
    if ids.numel() and int(ids.min()) < 0:
        raise ValueError(f"{name}: feature ids must be >= 0, got {int(ids.min())}")
    shape = tuple(part.shape[1:])
    short = shape[1:] if part.dim() >= 4 else shape[:1]  # pixels, tokens, columns
    one = thin(part)
    fitting = set()
    for given, read in ((shape, shape), (one, one), (short, one)):
        if ids.shape == given:
            fitting.add((1, *read))
        fitting |= {(rows, *read) for rows in (1, scorer.total) if ids.shape == (rows, *given)}
    if len(fitting) > 1:
        forms = " or ".join(str(list(form)) for form in sorted(fitting))
        raise ValueError(f"{name}: feature ids {list(ids.shape)} can be read in two ways; give {forms}")
    if not fitting:
        forms = ", ".join(str(list(form)) for form in dict.fromkeys((short, shape, (scorer.total, *one))))
        raise ValueError(f"{name}: feature ids for these inputs must be {forms}, got {list(ids.shape)}")
    ids = ids.long().reshape(fitting.pop()).to(part.device)
    return _counted(ids if len(ids) == 1 else ids[scorer.rows])


def _counted(ids: Tensor) -> Named:
    """Ids [b, *S'] as 0..M-1 in each row."""
    rows = [torch.unique(row, return_inverse=True)[1] for row in ids]
    return Named(torch.stack(rows), [int(row.max()) + 1 for row in rows])


def _joined(found: list[Named], parts: list[Tensor]) -> Named:
    """The features of all parts [b, N], each part's after those before it."""
    rows = max(len(named.ids) for named in found)
    before = torch.zeros(rows, 1, dtype=torch.long, device=parts[0].device)
    flat = []
    for named, part in zip(found, parts, strict=True):
        ids = named.ids.expand(rows, *part.shape[1:]).flatten(1)
        flat.append(ids + before)
        before = before + torch.tensor(named.counts, device=before.device)[:, None]
    return Named(torch.cat(flat, dim=1), before[:, 0].tolist())
