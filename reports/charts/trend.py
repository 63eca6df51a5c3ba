"""Scores over a scale that the tasks are points of: a share of labels, a size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from reports.charts.style import STYLE, looks, panel, short
from reports.charts.svg import hover
from reports.wording import Say, figure

APART = 0.012  # of the scale, between the intervals of two variants, so that none hides another


def trend(data: Mapping[str, Any], say: Say) -> tuple[Figure, str]:
    """A line a variant through its means, each with its interval; the scale is drawn by ratios where it spans ten.

    Data: ``x`` (ascending), ``scale`` (its name), ``x_unit``, ``metric``, ``unit`` (fractions are drawn as percent),
    ``order`` (all variants of the page), and ``points`` {variant: one (x, mean, low, high) a score, low and high None
    where there is no interval}.
    """
    x, unit = data["x"], data["unit"]
    factor = 100 if unit == "fraction" else 1
    by_ratio = x[0] > 0 and x[-1] >= 10 * x[0]
    drawn = [name for name in data["order"] if data["points"].get(name)]
    labels = [f"{100 * value:g}%" if data["x_unit"] == "fraction" else figure(value) for value in x]
    told = []
    with rc_context(STYLE):
        chart, axes = panel(height=3.0)
        for place, name in enumerate(drawn):
            away = APART * (place - (len(drawn) - 1) / 2)
            colour, dashes = looks(data["order"])[name]
            places, means, words = [], [], []
            for value, mean, low, high in data["points"][name]:
                at = value * (x[-1] / x[0]) ** away if by_ratio else value + away * (x[-1] - x[0])
                between = "" if low is None else f" [{factor * low:.3g}, {factor * high:.3g}]"
                words.append(f"{labels[x.index(value)]}: {factor * mean:.3g}{between}")
                marks = axes.plot(at, factor * mean, "o", color=colour, markersize=4)
                if low is not None:
                    marks += axes.plot([at, at], [factor * low, factor * high], color=colour, linewidth=1)
                for mark in marks:
                    hover(mark, f"{name}, {words[-1]}", name)
                places.append(at)
                means.append(factor * mean)
            (line,) = axes.plot(places, means, color=colour, dashes=dashes or (None, None))
            hover(line, name, name)
            told.append(f"{name} {say('words.comma').join(words)}")
        if by_ratio:
            axes.set_xscale("log")
        axes.set_xticks(x, labels)
        axes.xaxis.set_minor_locator(NullLocator())
        judged = short(data["metric"]) + {"fraction": " [%]", "": ""}.get(unit, f" [{short(unit)}]")
        axes.set(xlabel=short(data["scale"]), ylabel=judged)
        return chart, say("charts.trend", told=say("words.semicolon").join(told))
