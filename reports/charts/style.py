"""The look of every chart: colours, dashes, ink, sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.usertext import visible

# Okabe and Ito's palette without black and yellow, which one of the two themes swallows; dashes are a second channel
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
DASHES = ((), (5, 2), (1.5, 1.5), (6, 2, 1.5, 2), (9, 3))
INK = "#0a0b0c"  # stands for the text colour of the page
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "candelabra",
    "text.parse_math": False,  # names may hold $
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#808080",
    "grid.alpha": 0.25, "font.size": 9, "font.family": "sans-serif", "lines.linewidth": 1.6,
}  # fmt: skip


def looks(names: Sequence[str]) -> dict[str, tuple[str, tuple[float, ...]]]:
    """A colour and a dash pattern for each name; no two alike up to 35 names.

    >>> looks(["equal", "upgrad"])["equal"]
    ('#0072B2', ())
    """
    return {
        name: (COLOURS[i % len(COLOURS)], DASHES[(i // len(COLOURS) + i) % len(DASHES)])
        for i, name in enumerate(names)
    }


def short(name: str) -> str:
    """A label that leaves room for the chart; the whole name is in the legend and the accessible name."""
    name = " ".join(visible(name[:100]).split())
    return name if len(name) <= 22 else f"{name[:21]}…"


def panel(height: float) -> tuple[Figure, Axes]:
    """A figure of the usual width with one pair of axes."""
    figure = Figure(figsize=(4.4, height), layout="constrained")
    return figure, figure.subplots()
