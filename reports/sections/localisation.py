"""Localisation: relevance mass and pointing game in the own region and in the others', beside the controls."""

from __future__ import annotations

import pandas as pd

from reports.cells import estimate_cell, noted, number_cell
from reports.document import Cell, Section, Table, cells
from reports.measured import within
from reports.statistics import SIGNIFICANT, Estimate, difference, holm, mean_interval
from reports.tables import Experiment, select
from reports.wording import Say

LOCALISATION = ("relevance_mass", "pointing_game")
Key = tuple[str, str, bool, str, str]  # method, variant, whether in the own region, map, metric
Means = dict[Key, dict[int, float]]


def localisation(experiment: Experiment, say: Say) -> Section:
    """Relevance mass and pointing game in the own region and in the others', beside the controls."""
    frame = experiment.localisation()
    frame = frame[frame["metric"].isin(LOCALISATION)]
    frame = frame.assign(own=frame["region"] == frame["task"])
    heading, means = say("localisation.heading"), _means(frame)
    rows = _rows(means, experiment)
    if not rows:
        return Section("localisation", heading, missing=say("localisation.missing"))
    gains = [_gain(means, *row) for row in rows]
    adjusted = dict(zip(rows, holm([gain.p for gain in gains]), strict=True))
    caption = say("localisation.caption", family=sum(gain.has_interval for gain in gains))
    mean = _table("localisation", caption, means, rows, adjusted, say)
    per_task = []
    for task in experiment.tasks:
        own = _means(select(frame, task=task))
        told = say("localisation.of_task", task=task)
        if _rows(own, experiment):
            per_task.append(_table(f"localisation-{task}", told, own, _rows(own, experiment), {}, say))
    more = per_task if len(per_task) > 1 else []
    return Section("localisation", heading, say("localisation.intro"), tables=[mean], more=more)


def _means(frame: pd.DataFrame) -> Means:
    """For each method, variant, kind of region, map and metric {seed: mean over tasks and regions}."""
    keys = ["method", "variant", "own", "map", "metric", "seed"]
    means = frame.groupby(keys, sort=False)["value"].mean().reset_index().sort_values("seed", kind="stable")
    found: Means = {}
    for *key, seed, value in zip(
        *(means[name].tolist() for name in keys), means["value"].tolist(), strict=True
    ):
        method, variant, own, kind, metric = key
        found.setdefault((method, variant, own, kind, metric), {})[seed] = value
    return found


def _rows(means: Means, experiment: Experiment) -> list[tuple[str, str]]:
    """The methods and variants whose maps were scored in their tasks' own regions."""
    scored = dict.fromkeys((method, variant) for method, variant, own, *_ in means if own)
    methods = dict.fromkeys(method for method, _ in scored)
    return [(m, v) for m in methods for v in experiment.variants if (m, v) in scored]


def _gain(means: Means, method: str, variant: str) -> Estimate:
    """The relevance mass in the own region minus that of a random map."""
    given, random = (
        means.get((method, variant, True, kind, "relevance_mass"), {}) for kind in ("given", "random")
    )
    return difference(given, random)


def _table(
    key: str, caption: str, means: Means, rows: list[tuple[str, str]], adjusted: dict[tuple[str, str], float], say: Say
) -> Table:  # fmt: skip
    """``adjusted``: the p of a row's gain over a random map; without it nothing is claimed."""
    told: list[list[str | Cell]] = []
    for row in rows:

        def share(own: bool, kind: str, metric: str, at: tuple[str, str] = row) -> Cell:
            values = mean_interval(list(means.get((*at, own, kind, metric), {}).values()))
            if kind != "given" or not own:
                return number_cell(say, values.mean, "fraction")
            return estimate_cell(say, within(values, 0.0, 1.0), "fraction")

        gain, p = _gain(means, *row), adjusted.get(row, 1.0)
        better = p < SIGNIFICANT and gain.mean > 0
        gained = estimate_cell(say, gain, "fraction", signed=True, strong=better)
        told.append(
            [
                *row,
                share(True, "given", "relevance_mass"),
                share(False, "given", "relevance_mass"),
                share(True, "random", "relevance_mass"),
                share(True, "image", "relevance_mass"),
                noted(gained, say("localisation.note", p=say.p_value(p))) if better else gained,
                share(True, "given", "pointing_game"),
                share(True, "random", "pointing_game"),
                share(True, "image", "pointing_game"),
            ]
        )
    return Table(key, caption, say("localisation.columns").split("|"), cells(told), labels=2)
