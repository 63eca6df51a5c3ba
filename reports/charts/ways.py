"""Ways over the contours of losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from reports.charts.style import INK, STYLE, short
from reports.wording import Say


def ways(data: Mapping[str, Any], say: Say) -> tuple[Figure, str]:
    """Ways over the contours of a surface, a panel a task: dots where they start, the thick line where they should end.

    Data: ``panels`` {task: points [S, K, 2], front [M, 2], x [W], y [H], surface [H, W]}.
    """
    panels = {
        task: {part: np.array(values, dtype=float) for part, values in parts.items()}
        for task, parts in data["panels"].items()
    }
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
            axes.set_title(short(task), fontsize=10)
            gaps = np.linalg.norm(p["points"][:, -1, None] - p["front"], axis=2).min(axis=1)
            named = say("words.comma").join(f"{gap:.2g}" for gap in gaps)
            told.append(say("ways.told", task=task, gaps=named))
        return figure, say("words.semicolon").join(told)
