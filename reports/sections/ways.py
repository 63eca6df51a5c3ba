"""Ways over the contours of losses, where runs recorded any."""

from __future__ import annotations

from reports.document import Chart, Section, plain
from reports.tables import Experiment
from reports.wording import Say


def ways(experiment: Experiment, say: Say) -> Section:
    """The ways of each variant (its lowest seed) over the contours, where runs recorded any."""
    charts = []
    for variant in experiment.variants:
        runs = experiment.of(variant)
        if runs and runs[0].paths:
            charts.append(Chart(f"ways-{variant}", variant, "ways", plain({"panels": runs[0].paths})))
    missing = "" if charts else say("ways.missing")
    return Section("ways", say("ways.heading"), say("ways.intro"), charts=charts, missing=missing)
