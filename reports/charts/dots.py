"""Scores of seeds as points."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, nan
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from reports.charts.style import STYLE, looks, panel, short
from reports.charts.svg import hover
from reports.statistics import mean_interval
from reports.wording import Say


def dots(data: Mapping[str, Any], say: Say) -> tuple[Figure, str]:
    """Every seed as a point, the mean and its t-interval beside it; one row a variant, in the order given.

    Data: ``values`` {variant: one number a seed}, ``unit`` (fractions are drawn as percent).
    """
    values = {name: [nan if v is None else v for v in row] for name, row in data["values"].items()}
    unit = data["unit"]
    factor = 100 if unit == "fraction" else 1
    with rc_context(STYLE):
        figure, axes = panel(height=0.7 + 0.34 * len(values))
        order = list(values)
        style = looks(order)
        for place, name in enumerate(order):
            shown = [factor * value for value in values[name] if isfinite(value)]
            for value in shown:
                (point,) = axes.plot(value, place, "o", color="#8C8C8C", markersize=5, alpha=0.6)
                hover(point, f"{name}: {value:.4g}", name)
            estimate = mean_interval([factor * value for value in values[name]])
            told = f"{name}: {say.interval(estimate)}"
            if estimate.has_interval:
                ends = [estimate.low, estimate.high]
                (line,) = axes.plot(ends, [place + 0.2] * 2, color=style[name][0], linewidth=2)
                hover(line, told, name)
            if isfinite(estimate.mean):
                (mean,) = axes.plot(estimate.mean, place + 0.2, "D", markersize=5, color=style[name][0])
                hover(mean, told, name)
        axes.set_yticks(range(len(order)), [short(name) for name in order])
        axes.set(ylabel="", xlabel="%" if unit == "fraction" else short(unit), ylim=(len(order) - 0.4, -0.6))
        return figure, say("charts.dots", names=say.joined(order))
