"""What holds between tasks, as matrices: overlap, conflict, cross deletion, channel sharing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from explain.pictures.style import FAINT, PLAIN, SIZE, SMALL, caption, figure, fitted, look, number, readable

SEQUENTIAL, SIGNED = "Purples", "PuOr"


def share(value: float) -> str:
    """A number in -1..1, to two digits.

    >>> share(-0.256), share(-0.0012)
    ('−0.26', '0.00')
    """
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")


@dataclass(frozen=True, eq=False)
class Panel:
    """A matrix to draw.

    Args:
        title: above it.
        values: [rows, columns]; NaN is left blank.
        notes: what is written small below the values.
        rows, columns: the labels.
        low, high: the ends of the colours; symmetric ones are drawn in two colours.
        row_name, column_name: what rows and columns are.
        write: how a value is written.
    """

    title: str
    values: np.ndarray
    notes: np.ndarray
    rows: Sequence[str]
    columns: Sequence[str]
    low: float
    high: float
    row_name: str = ""
    column_name: str = ""
    write: Callable[[float], str] = share


@look
def draw_matrices(panels: Sequence[Panel], words: str) -> Figure:
    """Panels side by side, the values written in the cells."""
    rows, columns = len(panels[0].rows), [len(panel.columns) for panel in panels]
    cell = float(np.clip(5.5 / max(rows, max(columns)), 0.55, 0.95))
    wide = cell * max(columns) + 1.6  # inches; with room for the labels
    across = min(len(panels), max(1, int(15 / wide)))
    down = -(-len(panels) // across)
    made = figure(wide * across, (0.72 * cell * rows + 1.3) * down + 0.4)
    grid = made.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw(axes, panel, cell)
    caption(made, words)
    return made


def _draw(axes: Axes, panel: Panel, cell: float) -> None:
    signed = panel.low < 0
    shown = axes.imshow(
        np.ma.masked_invalid(panel.values), cmap=SIGNED if signed else SEQUENTIAL, vmin=panel.low, vmax=panel.high,
        aspect=0.72,
    )  # fmt: skip
    axes.set_title(fitted(panel.title, cell * len(panel.columns) + 0.8), **PLAIN)
    axes.set_xticks(
        range(len(panel.columns)), labels=[fitted(c, 1.2, SMALL, lines=2) for c in panel.columns], rotation=30,
        ha="right", rotation_mode="anchor", **PLAIN,
    )  # fmt: skip
    axes.set_yticks(
        range(len(panel.rows)), labels=[fitted(r, 1.2, SMALL, lines=2) for r in panel.rows], **PLAIN
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(panel.column_name, color=FAINT)
    axes.set_ylabel(panel.row_name, color=FAINT)
    for (i, j), value in np.ndenumerate(panel.values):
        if np.isnan(value):
            axes.text(j, i, "–", ha="center", va="center", color=FAINT)
            continue
        colour = readable(tuple(np.ravel(shown.cmap(shown.norm(value)))))
        note = str(panel.notes[i, j])
        axes.text(
            j, i - 0.13 * bool(note), panel.write(value), ha="center", va="center", color=colour, size=SIZE
        )
        if note:
            axes.text(j, i + 0.24, note, ha="center", va="center", color=colour, size=SMALL - 1, **PLAIN)


def of_overlap(frame: pd.DataFrame) -> tuple[list[Panel], str]:
    """A panel a measure, the null's mean below each value."""
    tasks = list(dict.fromkeys([*frame["task_a"], *frame["task_b"]]))
    panels = []
    for measure, part in frame.groupby("measure", sort=False):
        values, notes = _blank(tasks, tasks)
        columns = part[["task_a", "task_b", "value", "null_mean", "p_holm"]].itertuples(
            index=False, name=None
        )
        for a, b, value, chance, p in columns:
            note = f"{'' if np.isnan(chance) else f'({share(chance)})'}{' *' if p <= 0.05 else ''}"
            for place in ((tasks.index(a), tasks.index(b)), (tasks.index(b), tasks.index(a))):
                values[place], notes[place] = value, note
        low = -1.0 if measure in ("cosine", "rank_correlation") else 0.0
        panels.append(Panel(str(measure), values, notes, tasks, tasks, low, 1.0))
    stars = "* where p, corrected over the pairs of tasks, is at most 0.05"
    return panels, f"In brackets: the mean of the null distribution; {stars}."


def of_conflict(frame: pd.DataFrame) -> tuple[list[Panel], str]:
    """Means over the examples of the cosine, and of the conflicting part."""
    tasks = list(dict.fromkeys([*frame["task_a"], *frame["task_b"]]))
    panels = []
    for column, title, low in (
        ("cosine", "cosine of loss gradients", -1.0),
        ("conflict", "conflicting part", 0.0),
    ):
        values, notes = _blank(tasks, tasks)
        for (a, b), part in frame.groupby(["task_a", "task_b"], sort=False)[column]:
            for place in ((tasks.index(a), tasks.index(b)), (tasks.index(b), tasks.index(a))):
                values[place], notes[place] = part.mean(), _spread(part, share)
        panels.append(Panel(title, values, notes, tasks, tasks, low, 1.0))
    return panels, "Means over the examples; small: the standard deviation."


def of_cross_deletion(frame: pd.DataFrame) -> tuple[list[Panel], str]:
    """The drop beyond that of random orders."""
    by, measured = (list(dict.fromkeys(frame[column])) for column in ("deleted_by", "measured"))
    values, notes = _blank(by, measured)
    for (a, b), part in frame.groupby(["deleted_by", "measured"], sort=False)["excess"]:
        place = by.index(a), measured.index(b)
        values[place], notes[place] = part.mean(), _spread(part)
    limit = float(np.nanmax(np.abs(values))) if not np.isnan(values).all() else 1.0
    panel = Panel(
        "drop of the score beyond a random order", values, notes, by, measured, -(limit or 1.0), limit or 1.0,
        "deleted by the map of", "measured", number,
    )  # fmt: skip
    return [panel], "Means over the examples, in units of the measured score; small: the standard deviation."


def of_channel_sharing(frame: pd.DataFrame) -> tuple[list[Panel], str]:
    """The shared fraction of each task's evidence by layer, and how well the evidence predicts the effect."""
    layers, tasks = (list(dict.fromkeys(frame[column])) for column in ("layer", "task"))
    shared, none = _blank(layers, tasks)
    agreement, _ = _blank(layers, tasks)
    for (layer, task), part in frame.groupby(["layer", "task"], sort=False):
        place = layers.index(layer), tasks.index(task)
        shared[place] = part["shared"].sum(min_count=1)
        if part["effect"].std() > 0 and part["evidence"].std() > 0:
            agreement[place] = part["evidence"].corr(part["effect"])
    panels = [Panel("shared part of the evidence", shared, none, layers, tasks, 0.0, 1.0, "layer", "task")]
    words = "Shared: flows through channels that another task uses as much."
    if not np.isnan(agreement).all():
        panels.append(
            Panel("evidence and effect", agreement, none, layers, tasks, -1.0, 1.0, "layer", "task")
        )
        words += " Evidence and effect: their correlation over the channels; low where gradients mislead."
    return panels, words


def _blank(rows: Sequence[str], columns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    return np.full((len(rows), len(columns)), np.nan), np.full((len(rows), len(columns)), "", dtype=object)


def _spread(values: pd.Series, write: Callable[[float], str] = number) -> str:
    return f"± {write(float(values.std()))}" if values.count() > 1 else ""
