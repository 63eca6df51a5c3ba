"""Images and their maps as one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from explain.outputs import SINGLE


def show(
    images: Tensor,
    maps: Tensor | Mapping[str, Tensor],
    *,
    masks: Mapping[str, Tensor] | None = None,
    titles: Sequence[str] | None = None,
    limit: int = 8,
) -> Figure:
    """A row for each image: the image, then the map of each task, red for and blue against.

    The maps of a row share one symmetric colour scale, so that tasks can be compared; it is written beside the row.

    Args:
        images: [B, C, H, W] or [B, H, W]; shown from each image's own minimum to its maximum.
        maps: {task: like images}, or one such tensor; channels are summed.
        masks: {task: bool [B, H, W]} to outline.
        titles: one for each image.
        limit: rows at most.

    Raises:
        ValueError: shapes that do not fit.

    >>> figure = show(torch.rand(2, 3, 8, 8), {"a": torch.randn(2, 3, 8, 8), "b": torch.randn(2, 3, 8, 8)})
    >>> len([axes for axes in figure.axes if axes.images])
    6
    """
    if not isinstance(images, Tensor) or images.dim() not in (3, 4) or images.numel() == 0:
        got = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"images must be [B, C, H, W] or [B, H, W], got {got}")
    maps = {SINGLE: maps} if isinstance(maps, Tensor) else dict(maps)
    for task, attribution in maps.items():
        if attribution.shape != images.shape:
            raise ValueError(
                f"the map of task '{task}' must be like the images, {list(images.shape)}, got {list(attribution.shape)}"
            )
    for task, mask in (masks or {}).items():
        if mask.shape != (len(images), *images.shape[-2:]):
            raise ValueError(
                f"the mask of task '{task}' must be {[len(images), *images.shape[-2:]]}, got {list(mask.shape)}"
            )
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"titles must be {len(images)}, one for each image, got {len(titles)}")
    if limit < 1:
        raise ValueError(f"limit must be >= 1, got {limit}")
    rows, columns = min(limit, len(images)), 1 + len(maps)
    figure = Figure(figsize=(2.2 * columns + 0.8, 2.2 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for i in range(rows):
        flat = {task: _summed(attribution[i]) for task, attribution in maps.items()}
        limit_i = max((float(np.abs(m).max()) for m in flat.values()), default=0.0) or 1.0
        grid[i, 0].imshow(_picture(images[i]), cmap="gray")
        if titles is not None:
            grid[i, 0].set_ylabel(titles[i], parse_math=False)
        drawn = None
        for axes, (task, values) in zip(grid[i, 1:], flat.items(), strict=True):
            drawn = axes.imshow(values, cmap="RdBu_r", vmin=-limit_i, vmax=limit_i)
            if i == 0:
                axes.set_title(task, parse_math=False)
            if masks and task in masks and bool(masks[task][i].any()) and not bool(masks[task][i].all()):
                axes.contour(masks[task][i].cpu().numpy(), levels=[0.5], colors="black", linewidths=0.8)
        if drawn is not None:
            figure.colorbar(drawn, ax=list(grid[i, 1:]), fraction=0.05)
    grid[0, 0].set_title("input")
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def _summed(attribution: Tensor) -> np.ndarray:
    attribution = attribution.detach().float().cpu()
    return (attribution.sum(0) if attribution.dim() == 3 else attribution).numpy()  # [H, W]


def _picture(image: Tensor) -> np.ndarray:
    """[H, W] grey or [H, W, 3] colour in 0..1; any other number of channels as their mean."""
    image = image.detach().float().cpu()
    if image.dim() == 3:
        image = image.permute(1, 2, 0) if len(image) == 3 else image.mean(0)
    low, high = image.min(), image.max()
    return ((image - low) / torch.clamp(high - low, min=1e-12)).numpy()
