"""Charts as inline SVG: byte-stable, without ids that clash, in the colours of the page's theme."""

from __future__ import annotations

import html
import io
import re
import zlib
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.statistics import mean_interval

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
    "grid.alpha": 0.25, "font.size": 10, "font.family": "sans-serif", "lines.linewidth": 1.6,
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


def dots(values: Mapping[str, Sequence[float]], unit: str, chart: str) -> str:
    """Every seed as a point, the mean and its t-interval beside it; one row a variant, in the order given."""
    factor = 100 if unit == "fraction" else 1
    with rc_context(STYLE):
        figure, axes = _panel(height=0.7 + 0.34 * len(values))
        frame = pd.DataFrame(
            [(name, factor * value) for name, row in values.items() for value in row],
            columns=["variant", "value"],
        )
        frame = frame[np.isfinite(frame["value"])]
        order = list(values)
        seaborn.stripplot(
            frame,
            x="value",
            y="variant",
            order=order,
            jitter=False,
            ax=axes,
            size=5,
            alpha=0.6,
            color="#8C8C8C",
        )
        style = looks(order)
        for place, name in enumerate(order):
            estimate = mean_interval([factor * value for value in values[name]])
            if estimate.has_interval:
                axes.plot([estimate.low, estimate.high], [place + 0.2] * 2, color=style[name][0], linewidth=2)
            if isfinite(estimate.mean):
                axes.plot(estimate.mean, place + 0.2, marker="D", markersize=5, color=style[name][0])
        axes.set_yticks(range(len(order)), [_short(name) for name in order])
        axes.set(ylabel="", xlabel="%" if unit == "fraction" else _short(unit), ylim=(len(order) - 0.4, -0.6))
        return _svg(figure, chart, f"{chart}: each seed, mean and 95% interval for {', '.join(order)}")


def curves(frame: pd.DataFrame, order: Sequence[str], unit: str, chart: str) -> str:
    """Lines over training steps, one a variant: the mean over seeds bold, the seeds themselves faint.

    Args:
        frame: variant, seed, step, value.
        order: all variants of the page, so that each keeps its colour.
        unit: fractions are drawn as percent.
        chart: what is drawn, for the accessible name.
    """
    factor = 100 if unit == "fraction" else 1
    style = looks(order)
    with rc_context(STYLE):
        figure, axes = _panel(height=2.6)
        ends = []
        for name in order:
            part = frame[frame["variant"] == name]
            if part.empty:
                continue
            colour, dashes = style[name]
            part = part.assign(value=factor * part["value"])
            line = {"x": "step", "y": "value", "color": colour, "errorbar": None, "ax": axes, "legend": False}
            if part["seed"].nunique() > 1:
                seaborn.lineplot(part, **line, units="seed", estimator=None, linewidth=0.6, alpha=0.35)
            seaborn.lineplot(part, **line, estimator="mean", dashes=dashes or (None, None))
            if dashes:
                axes.lines[-1].set_dashes(dashes)
            last = part[part["step"] == part["step"].max()]["value"].mean()
            ends.append(f"{name} ends at {last:.4g}")
        axes.set(xlabel="step", ylabel="%" if unit == "fraction" else _short(unit))
        if unit == "cosine":
            axes.axhline(0, color=INK, linewidth=0.8)
        return _svg(figure, chart, f"{chart} over training steps: {'; '.join(ends)}")


def heat(values: np.ndarray, rows: Sequence[str], columns: Sequence[str], chart: str) -> str:
    """A matrix of cosines in -1..1, with the numbers in the cells."""
    with rc_context(STYLE | {"axes.grid": False}):
        figure, axes = _panel(height=0.8 + 0.34 * len(rows))
        seaborn.heatmap(
            pd.DataFrame(values), vmin=-1, vmax=1, cmap="RdBu", annot=True, fmt=".2f", cbar=False, ax=axes
        )
        # every one of them: left to itself, a long axis gets every second label
        axes.set_xticks(
            np.arange(len(columns)) + 0.5, [_short(name) for name in columns], rotation=20, ha="right"
        )
        axes.set_yticks(np.arange(len(rows)) + 0.5, [_short(name) for name in rows], rotation=0)
        return _svg(figure, chart, f"{chart}: mean cosines of {', '.join(rows)} for {', '.join(columns)}")


def ways(panels: Mapping[str, Mapping[str, np.ndarray]], chart: str) -> str:
    """Ways over the contours of a surface, a panel a task: dots where they start, the thick line where they should end.

    Args:
        panels: {task: points [S, K, 2], front [M, 2], x [W], y [H], surface [H, W]}.
        chart: what is drawn, for the accessible name.
    """
    with rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(2.6 * len(panels) + 0.4, 2.6), layout="constrained")
        told = []
        for axes, (task, p) in zip(
            np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True
        ):
            levels = np.quantile(p["surface"], np.linspace(0.02, 0.95, 9))
            axes.contour(
                p["x"], p["y"], p["surface"], levels=np.unique(levels), colors="#808080", linewidths=0.5
            )
            axes.plot(*p["front"].T, color="#009E73", linewidth=4, alpha=0.7, solid_capstyle="round")
            for points in p["points"]:
                axes.plot(*points.T, color="#0072B2", linewidth=1.1)
                axes.plot(*points[0], "o", color=INK, markersize=3)
                axes.plot(*points[-1], "s", color="#D55E00", markersize=4)
            axes.set(xlim=(p["x"][0], p["x"][-1]), ylim=(p["y"][0], p["y"][-1]))
            axes.set_title(_short(task), fontsize=10)
            gaps = np.linalg.norm(p["points"][:, -1, None] - p["front"], axis=2).min(axis=1)
            told.append(f"{task}: ends at distances {', '.join(f'{gap:.2g}' for gap in gaps)}")
        return _svg(figure, chart, f"{chart}: {'; '.join(told)}")


def _short(name: str) -> str:
    """A label that leaves room for the chart; the whole name is in the legend and the accessible name."""
    return name if len(name) <= 22 else f"{name[:21]}…"


def _panel(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.4, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure, chart: str, label: str) -> str:
    """The figure as an <svg> element for the page: no size of its own, ids of its own, the page's ink."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    prefix = re.sub(r"[^A-Za-z0-9]+", "-", chart) + f"{zlib.crc32(label.encode()):x}"

    def inside_tag(match: re.Match[str]) -> str:
        tag = match.group(0).replace(INK, "currentColor")
        tag = re.sub(r'\bid="', f'id="{prefix}-', tag)
        return re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", tag)

    text = re.sub(r"<[^>]*>", inside_tag, text)
    opening = text[: text.index(">") + 1]
    box = re.search(r'viewBox="[^"]*"', opening)
    drawn = text[len(opening) :].replace("</svg>", "", 1).strip()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{box.group(0) if box else ""} role="img" aria-label="{html.escape(label, quote=True)}">{drawn}</svg>'
    )
