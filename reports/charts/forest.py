"""Differences with their intervals, beside zero."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, nan
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from reports.charts.style import INK, STYLE, looks, panel, short
from reports.charts.svg import hover
from reports.wording import Say


def forest(data: Mapping[str, Any], say: Say) -> tuple[Figure, str]:
    """A row a difference: the mean, its interval, the seeds as small points, and a line at no difference.

    Data: ``names``, ``mean``, ``low``, ``high`` (None where there is no interval), ``points`` (lists, may be empty),
    ``unit`` (fractions are drawn as percent), ``axis`` (the label), ``order`` (all variants of the page).
    """
    unit, names = data["unit"], data["names"]
    factor = 100 if unit == "fraction" else 1
    style = looks(data["order"])
    told = []
    with rc_context(STYLE):
        figure, axes = panel(height=0.8 + 0.34 * len(names))
        axes.axvline(0, color=INK, linewidth=0.8)
        parts = (data["mean"], data["low"], data["high"], data["points"])
        for place, (name, mean, low, high, points) in enumerate(zip(names, *parts, strict=True)):
            colour = style[name][0]
            seeds = [factor * value for value in points if value is not None]
            for value in seeds:
                (point,) = axes.plot(value, place - 0.2, "o", color="#8C8C8C", markersize=4, alpha=0.6)
                hover(point, f"{name}: {value:+.4g}", name)
            mean, low, high = (nan if value is None else factor * value for value in (mean, low, high))
            interval = f" [{low:.3g}, {high:.3g}]" if isfinite(low) else ""
            if isfinite(low):
                (line,) = axes.plot([low, high], [place, place], color=colour, linewidth=2)
                hover(line, f"{name}: {mean:+.3g}{interval}", name)
            if isfinite(mean):
                (mark,) = axes.plot(mean, place, "D", color=colour, markersize=5)
                told.append(f"{name} {mean:+.3g}{interval}")
                hover(mark, f"{name}: {mean:+.3g}{interval}", name)
        axes.set_yticks(range(len(names)), [short(name) for name in names])
        axes.set(xlabel=data["axis"], ylim=(len(names) - 0.4, -0.6))
        return figure, say("charts.forest", told=say("words.semicolon").join(told))
