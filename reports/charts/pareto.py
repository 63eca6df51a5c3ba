"""Two quantities beside each other, and who is beaten in neither."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from reports.charts.style import INK, STYLE, looks, panel
from reports.charts.svg import hover
from reports.wording import Say


def pareto(data: Mapping[str, Any], say: Say) -> tuple[Figure, str]:
    """A point a variant with its intervals, those on the front joined by a line; an arrow in a label: better that way.

    Data: ``points`` (``variant``, ``x``, ``y``, and ``x_low`` ... ``y_high``, None where there is no interval),
    ``front`` (names), ``names``, ``units`` and ``more_is_better`` of x and y, ``order`` (all variants of the page).
    """
    factors = [100 if unit == "fraction" else 1 for unit in data["units"]]
    style = looks(data["order"])
    with rc_context(STYLE):
        figure, axes = panel(height=2.8)
        by_name = {point["variant"]: point for point in data["points"]}
        front = sorted(data["front"], key=lambda name: by_name[name]["x"])
        line = [
            [factor * by_name[name][axis] for name in front]
            for axis, factor in zip("xy", factors, strict=True)
        ]
        axes.plot(*line, color=INK, linewidth=0.8, linestyle=":")
        for name, point in by_name.items():
            colour = style[name][0]
            x, y = (factor * point[axis] for axis, factor in zip("xy", factors, strict=True))
            for axis, factor in zip("xy", factors, strict=True):
                ends = [point[f"{axis}_low"], point[f"{axis}_high"]]
                if ends[0] is not None:
                    ends = [factor * end for end in ends]
                    (bar,) = axes.plot(
                        ends if axis == "x" else [x, x],
                        ends if axis == "y" else [y, y],
                        color=colour,
                        alpha=0.6,
                    )
                    bar.set_linewidth(1)
                    hover(bar, f"{name} ({x:.4g}, {y:.4g})", name)
            marker, fill = ("D", colour) if name in front else ("o", "none")
            (mark,) = axes.plot(x, y, marker, color=colour, markersize=6, markerfacecolor=fill)
            hover(mark, f"{name} ({x:.4g}, {y:.4g})", name)
        labels = [
            f"{name}{' [%]' if unit == 'fraction' else f' [{unit}]' if unit and unit != 'ms' else ''} "
            f"{arrows[0] if more else arrows[1]}"
            for name, unit, more, arrows in zip(
                data["names"], data["units"], data["more_is_better"], ("→←", "↑↓"), strict=True
            )
        ]
        axes.set(xlabel=labels[0], ylabel=labels[1])
        where = [
            f"{name} ({factors[0] * p['x']:.4g}, {factors[1] * p['y']:.4g})" for name, p in by_name.items()
        ]
        told = say("charts.pareto", points=say("words.semicolon").join(where), front=say.joined(front))
        return figure, told
