"""Two numbers against each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import seaborn
from matplotlib import rc_context
from matplotlib.figure import Figure

from reports.charts.style import STYLE, looks, panel
from reports.wording import Say


def scatter(data: Mapping[str, Any], say: Say) -> tuple[Figure, str]:
    """Points in the colour of their variant, and the line of least squares where there are three or more.

    Data: ``x``, ``y``, ``variant``, ``label`` (one entry a point), ``order`` (all variants of the page), ``x_name`` and
    ``y_name``.
    """
    frame = pd.DataFrame({name: data[name] for name in ("x", "y", "variant", "label")})
    frame[["x", "y"]] = frame[["x", "y"]].astype(float)
    colours = {name: look[0] for name, look in looks(data["order"]).items()}
    with rc_context(STYLE):
        figure, axes = panel(height=2.8)
        if len(frame) > 2 and frame["x"].nunique() > 1:
            seaborn.regplot(
                frame, x="x", y="y", ci=None, scatter=False, ax=axes, line_kws={"color": "#8C8C8C", "linewidth": 1}
            )  # fmt: skip
        seaborn.scatterplot(frame, x="x", y="y", hue="variant", palette=colours, legend=False, s=45, ax=axes)
        axes.set(xlabel=data["x_name"], ylabel=data["y_name"])
        points = [
            say("scatter.point", label=label, x=say.figure(x, "cosine"), y=say.figure(y, "cosine"))
            for label, x, y in zip(frame["label"], frame["x"], frame["y"], strict=True)
        ]
        told = say("words.semicolon").join(points[:12])
        return figure, say("scatter.told", n=len(points), x=data["x_name"], y=data["y_name"], points=told)
