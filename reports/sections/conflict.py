"""Gradient conflict: cosines between the tasks' gradients, over training, by pair and by layer group."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reports.cells import estimate_cell
from reports.document import Cell, Chart, Finding, Section, Table, cells, plain
from reports.measured import cosine_curves, group_cosines, mean_known, thinned, within
from reports.statistics import Estimate, mean_interval
from reports.tables import Experiment, select
from reports.wording import Say

MAX_PAIRS = 6  # pairs of tasks drawn one by one; beyond, their mean
MAX_ROWS = 30  # pairs told of each variant: those most in conflict
BINS = 24  # columns of the heat over time


def conflict(experiment: Experiment, say: Say) -> Section:
    """Cosines between the tasks' gradients of the shared parameters, over training, by pair and by layer group."""
    frame = cosine_curves(experiment.done)
    heading = say("conflict.heading")
    if frame.empty:
        return Section("conflict", heading, missing=say("conflict.missing"))
    frame["pair"] = [say("conflict.pair", a=a, b=b) for a, b in zip(frame["a"], frame["b"], strict=True)]
    summary = _by_run(frame)
    charts = [*_curves(frame, experiment, say), *_group_heats(experiment, say)]
    first = select(frame, pair=frame["pair"].iloc[0])
    notes = [say("conflict.thinned")] if len(thinned(first)) < len(first) else []
    pairs = int(summary.groupby("variant")["pair"].nunique().max())
    if pairs > MAX_ROWS:
        notes.append(say("conflict.told", told=MAX_ROWS, pairs=pairs))
    steps = int(frame.groupby(["variant", "seed", "pair"])["step"].size().max())
    return Section(
        "conflict",
        heading,
        say("conflict.intro", steps=steps),
        findings=[_finding(summary, experiment, say)],
        tables=[_table(summary, say)],
        charts=charts,
        notes=notes,
        legend=True,
    )


def _by_run(frame: pd.DataFrame) -> pd.DataFrame:
    """variant, pair, seed, mean cosine, share of its logged steps below zero."""
    by_run = frame.groupby(["variant", "pair", "seed"], sort=False)["value"]
    return by_run.agg(mean="mean", negative=lambda values: float((values < 0).mean())).reset_index()


def _share(part: pd.DataFrame) -> Estimate:
    return within(mean_interval(list(part["negative"])), 0.0, 1.0)


def _table(summary: pd.DataFrame, say: Say) -> Table:
    means = summary.groupby(["variant", "pair"], sort=False)["mean"].mean()
    told = {pair for _, own in means.groupby("variant") for pair in own.nsmallest(MAX_ROWS).index}
    rows: list[list[str | Cell]] = [
        [str(variant), str(pair), estimate_cell(say, within(mean_interval(list(part["mean"])), -1.0, 1.0), "cosine"),
         estimate_cell(say, _share(part), "fraction")]
        for (variant, pair), part in summary.groupby(["variant", "pair"], sort=False)
        if (variant, pair) in told
    ]  # fmt: skip
    return Table(
        "cosines", say("conflict.caption"), say("conflict.columns").split("|"), cells(rows), labels=2
    )


def _finding(summary: pd.DataFrame, experiment: Experiment, say: Say) -> Finding:
    """The pair with the largest share of steps in conflict, for the reference (else the first that measured any)."""
    variants = list(dict.fromkeys(summary["variant"]))
    variant = str(experiment.reference if experiment.reference in variants else variants[0])
    own = select(summary, variant=variant).groupby("pair", sort=False)
    shares = {str(pair): _share(part) for pair, part in own}
    worst = max(shares, key=lambda pair: shares[pair].mean)
    values = {"variant": variant, "pair": worst, "share": say.interval(shares[worst], "fraction")}
    if shares[worst].mean == 0:
        text = say("conflict.none", **values)
    elif len(shares) == 1:
        text = say("conflict.one", **values)
    else:
        least = min(shares, key=lambda pair: shares[pair].mean)
        text = say("conflict.most", **values, pairs=len(shares), least=least,
                   least_share=say.interval(shares[least], "fraction"))  # fmt: skip
    return Finding(say("conflict.finding"), text, "open", "conflict")


def _curves(frame: pd.DataFrame, experiment: Experiment, say: Say) -> list[Chart]:
    """A chart for each pair, or one of their mean where there are many."""
    names = list(dict.fromkeys(frame["pair"]))
    if len(names) > MAX_PAIRS:
        mean = frame.groupby(["variant", "seed", "step"], sort=False)["value"].mean().reset_index()
        title = say("conflict.mean_pair", pairs=len(names))
        frame, names = mean.assign(pair=title, a="mean", b="pairs"), [title]
    charts = []
    for name in names:
        part = select(frame, pair=name)
        shown = thinned(part)
        data = {column: shown[column] for column in ("variant", "seed", "step", "value")}
        charts.append(
            Chart(
                f"cosine-{part['a'].iloc[0]}-{part['b'].iloc[0]}",
                say("conflict.curve", pair=name),
                "curves",
                plain(data | {"order": experiment.variants, "unit": "cosine"}),
            )
        )
    return charts


def _group_heats(experiment: Experiment, say: Say) -> list[Chart]:
    """Mean cosines of layer groups: variants against groups, and groups over time for the reference."""
    rows: dict[str, dict[str, float]] = {}
    for variant in experiment.variants:
        found = [(run, group_cosines(run)) for run in experiment.of(variant)]
        own: dict[str, list[float]] = {}
        for run, values in found:
            for group, value in zip(run.dynamics.get("groups", []), mean_known(values, 0), strict=False):
                own.setdefault(str(group), []).append(float(value))
        if own:
            rows[variant] = {group: float(mean_known(np.array(v), 0)) for group, v in own.items()}
    if not rows:
        return []
    groups = list(dict.fromkeys(group for own in rows.values() for group in own))
    matrix = [[own.get(group, np.nan) for group in groups] for own in rows.values()]
    data = {"values": matrix, "rows": list(rows), "columns": groups}
    charts = [Chart("cosine-by-group", say("conflict.by_group"), "heat", plain(data))]
    shown = experiment.reference if experiment.reference in rows else next(iter(rows))
    return charts + _over_time(experiment, shown, say)


def _over_time(experiment: Experiment, variant: str, say: Say) -> list[Chart]:
    """Groups against bins of steps, the mean over the seeds that measured the same groups at the same steps."""
    runs = [run for run in experiment.of(variant) if group_cosines(run).size]
    first = runs[0].dynamics
    alike = [
        run
        for run in runs
        if all(np.array_equal(run.dynamics[name], first[name]) for name in ("step", "groups"))
    ]
    if len(first["step"]) < 3 or len(first["groups"]) < 2:
        return []
    values = mean_known(np.stack([group_cosines(run) for run in alike]), axis=0)  # [n, G]
    bins = np.array_split(np.arange(len(values)), min(BINS, len(values)))
    data = {
        "values": np.stack([mean_known(values[rows], axis=0) for rows in bins], axis=1),
        "rows": [str(group) for group in first["groups"]],
        "columns": [str(first["step"][rows[0]]) for rows in bins],
        "x": say("conflict.step"),
    }
    seeds = say.count("seed", len(alike))
    caption = say("conflict.over_time", variant=variant, seeds=seeds)
    return [Chart("cosine-over-time", caption, "heat", plain(data))]
