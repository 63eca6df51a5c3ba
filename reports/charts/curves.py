"""Lines over training steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from reports.charts.style import INK, STYLE, looks, panel, short
from reports.charts.svg import hover
from reports.wording import Say


def curves(data: Mapping[str, Any], say: Say) -> tuple[Figure, str]:
    """Lines over training steps, one a variant: the mean over seeds bold, the seeds themselves faint.

    Data: ``variant``, ``seed``, ``step``, ``value`` (one entry a point), ``order`` (all variants of the page, so that
    each keeps its colour), ``unit`` (fractions are drawn as percent), and where one of them is what the others are
    held against, ``baseline``: a thicker line, and a dotted one where it ends.
    """
    frame = pd.DataFrame({name: data[name] for name in ("variant", "seed", "step", "value")})
    frame["value"] = frame["value"].astype(float)
    order, unit = data["order"], data["unit"]
    factor = 100 if unit == "fraction" else 1
    style = looks(order)
    with rc_context(STYLE):
        figure, axes = panel(height=2.6)
        ends = []
        for name in order:
            part = frame[(frame["variant"] == name) & frame["value"].notna()]
            if part.empty:
                continue
            colour, dashes = style[name]
            by_seed = factor * part.pivot_table(
                index="step", columns="seed", values="value"
            )  # [steps, seeds]
            if by_seed.shape[1] > 1:
                for seed, values in by_seed.items():
                    (line,) = axes.plot(values.dropna(), color=colour, linewidth=0.6, alpha=0.35)
                    hover(line, say("charts.of_seed", name=name, seed=seed), name)
            mean = by_seed.mean(axis=1)
            (line,) = axes.plot(mean, color=colour, dashes=dashes or (None, None))
            last = mean.iloc[-1]
            ends.append(say("charts.ends_at", name=name, value=f"{last:.4g}"))
            hover(line, ends[-1], name)
            if name == data.get("baseline"):
                line.set_linewidth(2.6)
                level = axes.axhline(last, color=colour, linewidth=1.2, linestyle=":")
                hover(level, ends[-1], name)
        named = {"fraction": "%", "cosine": say("charts.cosine")}
        axes.set(xlabel=say("charts.step"), ylabel=named.get(unit, short(unit)))
        if unit == "cosine":
            axes.axhline(0, color=INK, linewidth=0.8)
        return figure, say("charts.curves", ends=say("words.semicolon").join(ends))
