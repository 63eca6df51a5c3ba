"""A matrix of cosines or correlations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib import rc_context
from matplotlib.figure import Figure

from reports.charts.style import STYLE, panel, short
from reports.wording import Say

MAX_WRITTEN = 10  # columns whose cells still have room for their numbers
MAX_LABELS = 8  # of a long axis, evenly spaced


def heat(data: Mapping[str, Any], say: Say) -> tuple[Figure, str]:
    """A matrix of numbers in -1..1, written into the cells where there is room, else beside a colour bar.

    Data: ``values`` (rows of numbers), the names of ``rows`` and ``columns``; ``x`` (what the columns are, may be
    missing).
    """
    values = np.array(data["values"], dtype=float)
    rows, columns = data["rows"], data["columns"]
    written = len(columns) <= MAX_WRITTEN
    with rc_context(STYLE | {"axes.grid": False}):
        figure, axes = panel(height=0.8 + 0.34 * len(rows))
        seaborn.heatmap(
            pd.DataFrame(values),
            vmin=-1,
            vmax=1,
            cmap="RdBu",
            annot=written,
            fmt=".2f",
            cbar=not written,
            ax=axes,
        )
        # every one of them where they fit: left to itself, a long axis gets every second label
        shown = (
            range(len(columns))
            if written
            else np.linspace(0, len(columns) - 1, MAX_LABELS).round().astype(int)
        )
        axes.set_xticks(
            np.array(shown) + 0.5, [short(columns[i]) for i in shown], rotation=20 if written else 0,
            ha="right" if written else "center",
        )  # fmt: skip
        axes.set_yticks(np.arange(len(rows)) + 0.5, [short(name) for name in rows], rotation=0)
        axes.set_xlabel(data.get("x", ""))
        return figure, _told(values, rows, columns, say)


def _told(values: np.ndarray, rows: list[str], columns: list[str], say: Say) -> str:
    """The lowest and the highest cell, and over what."""
    if not np.isfinite(values).any():
        return say("heat.empty")
    cells = {}
    for name, at in (("low", np.nanargmin(values)), ("high", np.nanargmax(values))):
        row, column = np.unravel_index(at, values.shape)
        cells[name] = say(
            "heat.cell",
            value=say.figure(float(values[row, column]), "cosine"),
            row=rows[row],
            column=columns[column],
        )
    return say("heat.told", rows=say("words.comma").join(rows), columns=_ends(columns, say), **cells)


def _ends(columns: list[str], say: Say) -> str:
    if len(columns) <= MAX_WRITTEN:
        return say("words.comma").join(columns)
    return say("heat.ends", first=columns[0], last=columns[-1])
