"""The weights that a method gave the tasks, over training."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reports.cells import estimate_cell
from reports.document import Cell, Chart, Section, Table, cells, plain
from reports.measured import thinned, within
from reports.reading import Run
from reports.statistics import mean_interval
from reports.tables import Experiment, select
from reports.wording import Say

MAX_TASKS = 8  # drawn one by one; the table has all
PART = 10  # the first and the last tenth of the logged steps are told apart


def weights(experiment: Experiment, say: Say) -> Section:
    """Raw weights and their share of all tasks' weights, over training, for the variants whose method has any."""
    frames, notes = [], []
    for variant in experiment.variants:
        runs = experiment.of(variant)
        found = [frame for run in runs if (frame := _curve(run)) is not None]
        frames += found
        if runs and not found:
            notes.append(_reason(variant, runs, say))
    heading = say("weights.heading")
    if not frames:
        return Section("weights", heading, missing=say("weights.missing"), notes=notes)
    frame = pd.concat(frames, ignore_index=True)
    tasks = list(dict.fromkeys(frame["task"]))
    first = select(frame, task=tasks[0])
    if len(thinned(first)) < len(first):
        notes.append(say("conflict.thinned"))
    charts = [
        _chart(frame, task, what, experiment, say) for what in ("share", "raw") for task in tasks[:MAX_TASKS]
    ]
    if len(tasks) > MAX_TASKS:
        notes.append(say("weights.drawn", drawn=MAX_TASKS, tasks=len(tasks)))
    return Section(
        "weights", heading, say("weights.intro"), tables=[_table(frame, say)], charts=charts, notes=notes, legend=True
    )  # fmt: skip


def _curve(run: Run) -> pd.DataFrame | None:
    """variant, seed, task, step, raw, share, part (of the steps: first, last or between); None where there is none.

    A task without a label in a batch has no weight at that step; the others share the step.
    """
    d = run.dynamics
    if "weights" not in d or len(d["tasks"]) < 2 or not np.isfinite(d["weights"]).any():
        return None
    raw = np.where(np.isfinite(d["weights"]), d["weights"], np.nan)
    whole = np.nansum(np.abs(raw), axis=1, keepdims=True)
    share = np.abs(raw) / np.where(whole > 0, whole, np.nan)
    n, T = raw.shape
    ends = max(1, n // PART)
    part = np.where(np.arange(n) < ends, "first", np.where(np.arange(n) >= n - ends, "last", "between"))
    frame = pd.DataFrame(
        {
            "task": np.tile([str(task) for task in d["tasks"]], n),
            "step": np.repeat(d["step"], T),
            "part": np.repeat(part, T),
            "raw": raw.reshape(-1),
            "share": share.reshape(-1),
        }
    )
    return frame.assign(variant=run.variant, seed=run.seed).dropna(subset=["raw"])


def _reason(variant: str, runs: list[Run], say: Say) -> str:
    """Why a variant has no weights."""
    measured = [run.dynamics for run in runs if "weights" in run.dynamics and len(run.dynamics["step"])]
    if not measured:
        return say("weights.not_logged", variant=variant)
    if all(len(d["tasks"]) < 2 for d in measured):
        return say("weights.one_task", variant=variant)
    return say("weights.no_weights", variant=variant)


def _table(frame: pd.DataFrame, say: Say) -> Table:
    rows: list[list[str | Cell]] = []
    for (variant, task), part in frame.groupby(["variant", "task"], sort=False):
        row: list[str | Cell] = [str(variant), str(task)]
        for column, where in (("raw", ""), ("share", ""), ("share", "first"), ("share", "last")):
            own = select(part, part=where) if where else part
            means = own.groupby("seed")[column].mean().dropna()
            estimate = mean_interval(list(means))
            unit = "fraction" if column == "share" else ""
            row.append(estimate_cell(say, within(estimate, 0.0, 1.0) if unit else estimate, unit))
        rows.append(row)
    return Table("weights", say("weights.caption"), say("weights.columns").split("|"), cells(rows), labels=2)


def _chart(frame: pd.DataFrame, task: str, what: str, experiment: Experiment, say: Say) -> Chart:
    shown = thinned(select(frame, task=task))
    data = {name: shown[name] for name in ("variant", "seed", "step")} | {
        "value": shown[what],
        "order": experiment.variants,
        "unit": "fraction" if what == "share" else say("weights.unit"),
    }
    return Chart(f"weights-{what}-{task}", say(f"weights.{what}", task=task), "curves", plain(data))
