"""Learning curves: every metric that was logged at two steps or more, beside the single-task models' curve."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reports.cells import estimate_cell, number_cell
from reports.document import Cell, Chart, Section, Table, cells, plain
from reports.statistics import difference
from reports.tables import Experiment, MetricInfo
from reports.wording import POINTS, Say

MOST_STEPS = 200  # of a drawn curve
MAX_TASKS = 24  # drawn


def learning(experiment: Experiment, say: Say) -> Section:
    """Every (task, metric) that was logged at two steps or more, validation before training."""
    frames = [run.metrics.assign(variant=run.variant, seed=run.seed) for run in experiment.done]
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    charts, thinned = [], False
    tasks = experiment.tasks[:MAX_TASKS]
    for info in [one for one in experiment.metrics if one.task in tasks] if len(frame) else []:
        part = frame[(frame["task"] == info.task) & (frame["metric"] == info.name)]
        for split in ("validation", "train"):
            chosen = part[part["split"] == split]
            if chosen["step"].nunique() >= 2:
                drawn = _thinned(chosen)
                thinned = thinned or len(drawn) < len(chosen)
                charts.append(_chart(experiment, say, info, split, drawn))
    intro = say("learning.intro")
    if experiment.baseline is not None:
        intro += say("learning.baseline", baseline=experiment.baseline)
    notes = [say("learning.thinned", most=MOST_STEPS)] if thinned else []
    if charts and len(tasks) < len(experiment.tasks):
        notes.append(say("learning.drawn", drawn=len(tasks), tasks=len(experiment.tasks)))
    return Section(
        "learning",
        say("learning.heading"),
        intro,
        charts=charts,
        more=_selected(experiment, say),
        notes=notes,
        missing="" if charts else say("learning.missing"),
        legend=True,
    )


def _chart(experiment: Experiment, say: Say, info: MetricInfo, split: str, drawn: pd.DataFrame) -> Chart:
    unit = "" if info.unit == "fraction" else f" [{info.unit}]"
    caption = say(
        "learning.chart", task=info.task, metric=info.name, split=say(f"learning.{split}"), unit=unit
    )
    data = {name: drawn[name] for name in ("variant", "seed", "step", "value")}
    more = {"order": experiment.variants, "unit": info.unit, "baseline": experiment.baseline}
    return Chart(f"learning-{info.task}-{info.name}-{split}", caption, "curves", plain(data | more))


def _thinned(frame: pd.DataFrame) -> pd.DataFrame:
    """At most `MOST_STEPS` of the steps of each run, with the first and the last."""
    if frame.groupby(["variant", "seed"])["step"].nunique().max() <= MOST_STEPS:
        return frame
    kept = []
    for _, part in frame.groupby(["variant", "seed"], sort=False):
        steps = np.sort(part["step"].unique())
        chosen = steps[np.linspace(0, len(steps) - 1, min(MOST_STEPS, len(steps))).round().astype(int)]
        kept.append(part[part["step"].isin(chosen)])
    return pd.concat(kept, ignore_index=True)


def _selected(experiment: Experiment, say: Say) -> list[Table]:
    """The validation score of the selected step beside that of the last one, where runs tell which was selected."""
    rows: list[list[str | Cell]] = []
    for variant in experiment.variants:
        for info in experiment.main:
            best, last, steps = {}, {}, []
            for run in experiment.of(variant):
                told = run.summary.get("best_step")
                step = told.get(info.task) if isinstance(told, dict) else None
                frame = run.metrics
                chosen = (frame["task"] == info.task) & (frame["metric"] == info.name)
                curve = frame[chosen & (frame["split"] == "validation")].groupby("step")["value"].last()
                if isinstance(step, int) and step in curve.index and len(curve) > 1:
                    best[run.seed], last[run.seed] = float(curve.loc[step]), float(curve.iloc[-1])
                    steps.append(step)
            if best:
                unit = POINTS if info.unit == "fraction" else info.unit
                change = estimate_cell(say, difference(last, best), unit, signed=True)
                found = [estimate_cell(say, values, info.unit) for values in (best, last)]
                step_cell = number_cell(say, float(np.mean(steps)))
                rows.append([variant, info.task, info.name, step_cell, *found, change])
    if not rows:
        return []
    names = ("variant", "task", "metric", "step", "best", "last", "change")
    columns = [say(f"learning.{name}") for name in names]
    return [Table("selected", say("learning.selected"), columns, cells(rows), labels=3)]
