"""Charts: from plain data to a figure with a description, and to inline SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from reports.charts.curves import curves
from reports.charts.dots import dots
from reports.charts.forest import forest
from reports.charts.heat import heat
from reports.charts.pareto import pareto
from reports.charts.scatter import scatter
from reports.charts.svg import svg
from reports.charts.trend import trend
from reports.charts.ways import ways
from reports.document import Chart
from reports.wording import Say

# each makes the figure, and says in words what it shows for those who do not see it
KINDS: dict[str, Callable[[Mapping[str, Any], Say], tuple[Figure, str]]] = {
    "curves": curves,
    "dots": dots,
    "forest": forest,
    "heat": heat,
    "pareto": pareto,
    "scatter": scatter,
    "trend": trend,
    "ways": ways,
}


def drawn(chart: Chart, say: Say, prefix: str, variants: Sequence[str] = ()) -> str:
    """The chart as an <svg> element whose ids begin with ``prefix``; ``variants`` are those of the page, in order."""
    figure, told = KINDS[chart.kind](chart.data, say)
    return svg(figure, prefix, chart.caption, told, variants)
