"""Images with their maps beside or over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke
from torch import Tensor

from explain.outputs import SINGLE
from explain.pictures.nested import Scale, Values, tasks_of
from explain.pictures.style import PLAIN, SIGNED, SMALL, bare, caption, figure, fitted, look, number

MOST_ROWS, MOST_EXAMPLES = 12, 8  # of a figure, where the caller gives no limit


def how_many(examples: int, methods: int, limit: int | None) -> int:
    """Examples that are shown."""
    return min(examples, limit if limit is not None else max(1, min(MOST_EXAMPLES, MOST_ROWS // methods)))


@dataclass(frozen=True)
class Grid:
    """Which map is where: a block of rows an example, methods down and tasks across, or, ``turned``, the reverse."""

    methods: Sequence[str]
    tasks: Sequence[str]

    @property
    def turned(self) -> bool:
        return len(self.methods) > len(self.tasks)

    @property
    def down(self) -> Sequence[str]:
        return self.tasks if self.turned else self.methods

    @property
    def across(self) -> Sequence[str]:
        return self.methods if self.turned else self.tasks

    def at(self, row: int, column: int) -> tuple[int, str, str]:
        """Example, method and task."""
        example, inner = divmod(row, len(self.down))
        one, other = self.down[inner], self.across[column]
        return (example, other, one) if self.turned else (example, one, other)


@look
def draw_images(
    images: Tensor,
    values: Values,
    *,
    masks: Mapping[str, Tensor],
    titles: Sequence[str] | None,
    limit: int | None,
    scale: Scale,
    overlay: float,
) -> Figure:
    """For each example a block of rows: methods down and tasks across, or the reverse where there are more methods.

    Args:
        images: [B, C, H, W] or [B, H, W].
        values: maps [B, H, W].
        masks: {task: bool [B, H, W]} to outline.
        titles: one for each image.
        limit: images at most.
        scale: of the colours.
        overlay: opacity of the largest values over the grey image; 0: maps alone.
    """
    plan = Grid(list(values), tasks_of(values))
    rows = how_many(len(images), len(plan.down), limit) * len(plan.down)
    columns = len(plan.across)
    shape = float(np.clip(images.shape[-2] / images.shape[-1], 0.4, 2.5))
    cell = float(np.clip(min(11.0 / (columns + 1), 11.0 / rows / shape), 1.15, 2.2))  # inches
    made = figure(cell * (columns + 1) + 0.9, cell * shape * rows + 0.8)
    grid = made.subplots(rows, columns + 1, squeeze=False)
    for axes in grid.flat:
        bare(axes)
        axes.set_visible(False)
    for row in range(rows):
        drawn: list[tuple[Axes, AxesImage, float]] = []
        for column in range(columns):
            example, method, task = plan.at(row, column)
            axes = grid[row, column + 1]
            if row == 0:
                axes.set_title(fitted(plan.across[column], cell), **PLAIN)
            if task not in values[method]:
                continue
            top = scale.limit(values[method], task, example)
            under = images[example] if overlay else None
            drawn.append((axes, _map(axes, values[method][task][example], top, under, overlay), top))
            if task in masks:
                _outline(axes, masks[task][example].cpu().numpy())
            if scale.scale == "own" or (plan.turned and task == plan.tasks[-1]):
                axes.set_xlabel(f"±{number(top)}", fontsize=SMALL)
        label = plan.down[row % len(plan.down)]
        if drawn and label not in ("", SINGLE):
            drawn[0][0].set_ylabel(fitted(label, cell * shape), **PLAIN)
        if drawn and scale.scale != "own" and not plan.turned:
            _bar(made, [axes for axes, *_ in drawn], *drawn[0][1:], scale.percentile < 100)
        if row % len(plan.down) == 0:
            title = titles[row // len(plan.down)] if titles is not None else None
            _picture(grid[row, 0], images[row // len(plan.down)], title, cell * shape)
    grid[0, 0].set_title("input")
    over = " Maps over the grey image, the more opaque the larger." if overlay else ""
    lined = (
        " Outlined: where the evidence is known to be." if any(task in masks for task in plan.tasks) else ""
    )
    caption(made, f"{scale.words(len(plan.tasks))}{over}{lined}")
    return made


def _picture(axes: Axes, image: Tensor, title: str | None, tall: float) -> None:
    axes.set_visible(True)
    axes.imshow(coloured(image), cmap="gray", vmin=0, vmax=1)
    if title is not None:
        axes.set_ylabel(fitted(title, tall), **PLAIN)


def _map(axes: Axes, value: np.ndarray, top: float, image: Tensor | None, overlay: float) -> AxesImage:
    axes.set_visible(True)
    opacity: Any = None
    limit = top or 1.0
    if image is not None:
        grey = coloured(image)
        grey = grey.mean(2) if grey.ndim == 3 else grey
        axes.imshow(
            0.35 + 0.5 * grey, cmap="gray", vmin=0, vmax=1
        )  # neither so dark nor so light that colours are lost
        opacity = overlay * np.sqrt(np.clip(np.abs(value) / limit, 0, 1))
    return axes.imshow(value, cmap=SIGNED, vmin=-limit, vmax=limit, alpha=opacity, interpolation="nearest")


def _bar(made: Figure, beside: list[Axes], drawn: AxesImage, top: float, clipped: bool) -> None:
    colours = ScalarMappable(drawn.norm, drawn.cmap)  # of the map without its opacity
    ends = "both" if clipped else "neither"
    bar = made.colorbar(colours, ax=beside, fraction=0.05, pad=0.01, aspect=25, extend=ends)
    bar.set_ticks([-top, 0, top] if top else [0], labels=[number(-top), "0", number(top)] if top else ["0"])
    bar.outline.set_linewidth(0.4)


def _outline(axes: Axes, mask: np.ndarray) -> None:
    """The edge of a mask, also where it is the image's."""
    if not mask.any():
        return
    padded = np.pad(mask.astype(float), 1)
    x, y = axes.get_xlim(), axes.get_ylim()
    rows, columns = (np.arange(size) - 1 for size in padded.shape)
    drawn = axes.contour(columns, rows, padded, levels=[0.5], colors="black", linewidths=0.9)
    drawn.set_path_effects([withStroke(linewidth=2.2, foreground="white")])
    axes.set_xlim(x)
    axes.set_ylim(y)


def coloured(image: Tensor) -> np.ndarray:
    """[H, W] grey or [H, W, 3] colour in 0..1; any other number of channels as their mean."""
    image = image.detach().float().cpu()
    if image.dim() == 3:
        image = image.permute(1, 2, 0) if len(image) == 3 else image.mean(0)
    low, high = image.min(), image.max()
    return ((image - low) / torch.clamp(high - low, min=1e-12)).numpy()
