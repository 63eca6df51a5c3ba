"""Tables: a bar for each feature."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from explain.pictures.images import how_many
from explain.pictures.nested import Scale, Values, tasks_of
from explain.pictures.style import PLAIN, SIGNED, SMALL, caption, figure, fitted, look, number, shade

MOST_FEATURES = 12  # in a panel, the largest of a row


@look
def draw_bars(
    inputs: Tensor,
    values: Values,
    *,
    names: Sequence[str] | None,
    titles: Sequence[str] | None,
    limit: int | None,
    scale: Scale,
) -> Figure:
    """Rows of examples and methods, columns of tasks: bars to the right for, to the left against.

    Args:
        inputs: [B, F], written beside the features.
        values: maps [B, F].
        names: of the features.
        titles: one for each example.
        limit: examples at most.
        scale: of the bars.
    """
    methods, tasks = list(values), tasks_of(values)
    examples, features = how_many(len(inputs), len(methods), limit), inputs.shape[1]
    shown = min(features, MOST_FEATURES)
    rows, columns = examples * len(methods), len(tasks)
    cell = float(np.clip(9.0 / columns, 1.2, 2.6))
    made = figure(cell * columns + 2.2, (0.19 * shown + 0.45) * rows + 0.7)
    grid = made.subplots(rows, columns, squeeze=False, sharey="row")
    cmap = matplotlib.colormaps[SIGNED]
    for row in range(rows):
        example, method = row // len(methods), methods[row % len(methods)]
        largest = np.max([np.abs(value[example]) for value in values[method].values()], axis=0)
        chosen = np.sort(np.argsort(-largest, kind="stable")[:shown])
        for column, task in enumerate(tasks):
            axes = grid[row, column]
            if task not in values[method]:
                axes.set_visible(False)
                continue
            amounts = values[method][task][example][chosen]
            top = scale.limit(values[method], task, example)
            limit_ = top or 1.0
            colours = [shade(cmap, 0.75 * np.sign(a), 1.0) for a in amounts]
            axes.barh(np.arange(shown), np.clip(amounts, -limit_, limit_), color=colours, height=0.75)
            axes.axvline(0, color="#999999", linewidth=0.6)
            axes.set_xlim(-1.05 * limit_, 1.05 * limit_)
            axes.set_ylim(shown - 0.4, -0.6)
            axes.set_xticks(
                [-limit_, 0, limit_], labels=[number(-limit_), "0", number(limit_)] if top else ["", "0", ""]
            )
            for label, side in zip(axes.get_xticklabels(), ("left", "center", "right"), strict=True):
                label.set_ha(side)  # so that neighbours' do not meet
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.tick_params(axis="y", length=0)
            if row == 0:
                axes.set_title(fitted(task, cell), **PLAIN)
        first = grid[row, 0]
        called = [names[f] if names is not None else f"feature {f}" for f in chosen]
        written = [
            f"{fitted(c, 1.3, SMALL, lines=1)} = {number(float(inputs[example, f]))}"
            for c, f in zip(called, chosen, strict=True)
        ]
        first.set_yticks(np.arange(shown), labels=written, **PLAIN)
        title = [titles[example] if titles is not None else "", method]
        label = fitted(" · ".join(part for part in title if part), 0.19 * shown + 0.3)
        if label:
            first.set_ylabel(label, **PLAIN)
    left = f" The {shown} largest of {features} features of each row." if shown < features else ""
    caption(made, f"{scale.words(len(tasks)).replace('colour scale', 'scale')}{left}")
    return made
