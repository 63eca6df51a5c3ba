"""May the maps be trusted: each method's sanity verdict in words, and its scores beside the controls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pandas as pd

from reports.cells import estimate_cell, noted
from reports.document import Cell, Section, Table, cells
from reports.measured import within
from reports.sections.localisation import LOCALISATION
from reports.statistics import SIGNIFICANT, Estimate, difference, holm, mean_interval
from reports.tables import Experiment, by_seed, select
from reports.wording import Say

WIDTH = 4  # metrics a table
CHECKS = ("last layer", "all layers", "another class", "other layers")
VERDICTS = ("passes", "fails", "in doubt", "not defined")
Key = tuple[str, str, str]  # variant, method, metric


def trust(experiment: Experiment, say: Say) -> Section:
    """A verdict for each method, and tables of its scores by metric, with the controls as rows."""
    verdicts = _verdicts(experiment, say)
    scores = experiment.localisation()
    scores = scores[(scores["region"] == scores["task"]) | (scores["region"] == "")]
    # localisation has a section of its own
    metrics = [name for name in dict.fromkeys(scores["metric"]) if name not in LOCALISATION]
    heading = say("trust.heading")
    if not verdicts and not metrics:
        return Section("trust", heading, missing=say("trust.missing"))
    better = {metric: experiment.direction(metric) for metric in metrics}
    beats, family = _beats_random(scores, better)
    tables, more = list(verdicts), list[Table]()
    for variant in experiment.variants:
        part = select(scores, variant=variant)
        tasks = list(dict.fromkeys(part["task"]))
        for start in range(0, len(metrics), WIDTH):
            chosen = {metric: better[metric] for metric in metrics[start : start + WIDTH]}
            caption = say("trust.scores", variant=variant, family=family)
            tables += _scores(part, variant, chosen, beats, caption, "", say)
            for task in tasks if len(tasks) > 1 else []:
                caption = say("trust.scores_of_task", variant=variant, task=task)
                more += _scores(select(part, task=task), variant, chosen, {}, caption, task, say)
    return Section("trust", heading, say("trust.intro"), tables=tables, more=more)


def sanity_of(experiment: Experiment) -> pd.DataFrame:
    """Every finished run's sanity checks: method, task, check, value, absolute, verdict, words, variant, seed."""
    frames = [
        run.sanity.assign(variant=run.variant, seed=run.seed) for run in experiment.done if len(run.sanity)
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["variant", "method"])


def most_said(checks: pd.DataFrame) -> tuple[str, str, int, int]:
    """(verdict, its words, how many maps get it, of how many) that most of a method's maps get.

    A method without a whole verdict, as a torn file may leave it, is "not defined".
    """
    whole = select(checks, check="all")
    if whole.empty:
        return "not defined", "", 0, 0
    verdict, words = Counter(zip(whole["verdict"], whole["words"], strict=True)).most_common(1)[0][0]
    return verdict, words, int((whole["verdict"] == verdict).sum()), len(whole)


def _verdicts(experiment: Experiment, say: Say) -> list[Table]:
    frame = sanity_of(experiment)
    tables = []
    for variant in experiment.variants:
        part = select(frame, variant=variant)
        rows: list[list[str | Cell]] = []
        for method in dict.fromkeys(part["method"]):
            own = select(part, method=method)
            verdict, words, share, of = most_said(own)
            named = say(f"trust.verdict_{verdict.replace(' ', '_')}") if verdict in VERDICTS else verdict
            told = Cell(say("trust.share", verdict=named, share=share, of=of), share / of if of else None)
            rows.append([method, told, words, *(_similarity(own, check, say) for check in CHECKS)])
        if rows:
            caption = say("trust.sanity", variant=variant)
            columns = say("trust.sanity_columns").split("|")
            tables.append(Table(f"sanity-{variant}", caption, columns, cells(rows), labels=3))
    return tables


def _similarity(checks: pd.DataFrame, check: str, say: Say) -> Cell:
    """The mean over tasks of each run, then over seeds."""
    known = select(checks, check=check).dropna(subset=["value"])
    return estimate_cell(say, within(mean_interval(list(_over_seeds(known).values())), -1.0, 1.0), "cosine")


def _beats_random(scores: pd.DataFrame, better: Mapping[str, bool]) -> tuple[dict[Key, float], int]:
    """The adjusted p of each score that is better than a random map's by its mean, and how many were compared.

    All variants, methods and metrics of the section are one family.
    """
    found: dict[Key, Estimate] = {}
    for (variant, method, metric), part in scores.groupby(["variant", "method", "metric"], sort=False):
        given, random = (_over_seeds(select(part, map=kind)) for kind in ("given", "random"))
        if metric in better and given and random:
            found[str(variant), str(method), str(metric)] = difference(given, random)
    adjusted = holm([gain.p for gain in found.values()])
    beats = {
        key: p
        for (key, gain), p in zip(found.items(), adjusted, strict=True)
        if p < SIGNIFICANT and (gain.mean > 0) == better[key[2]]
    }
    return beats, sum(gain.has_interval for gain in found.values())


def _scores(
    frame: pd.DataFrame, variant: str, better: Mapping[str, bool], beats: Mapping[Key, float], caption: str,
    task: str, say: Say,
) -> list[Table]:  # fmt: skip
    """One table of some metrics: a row for each method, then one for each control; none where nothing was scored."""
    metrics = [metric for metric in better if len(select(frame, metric=metric))]
    if not metrics:
        return []
    frame = frame[frame["metric"].isin(metrics)]
    rows: list[list[str | Cell]] = []
    for method in dict.fromkeys(frame["method"]):
        own = select(frame, method=method, map="given")
        told = [_cell(select(own, metric=m), beats.get((variant, method, m)), say) for m in metrics]
        rows.append([method, *told])
    for kind in [kind for kind in dict.fromkeys(frame["map"]) if kind != "given"]:
        control = select(frame, map=kind)
        rows.append([f"({kind})", *(_cell(select(control, metric=m), None, say) for m in metrics)])
    arrows = [say("trust.up" if better[metric] else "trust.down", metric=metric) for metric in metrics]
    key = "-".join(["map-scores", variant, task, metrics[0]])
    return [Table(key, caption, [say("trust.method"), *arrows], cells(rows))]


def _cell(frame: pd.DataFrame, p: float | None, say: Say) -> Cell:
    """The mean over seeds; bold with its adjusted p where it is better than a random map."""
    cell = estimate_cell(say, mean_interval(list(_over_seeds(frame).values())), strong=p is not None)
    return cell if p is None else noted(cell, say("trust.note", p=say.p_value(p)))


def _over_seeds(frame: pd.DataFrame) -> Mapping[int, float]:
    """{seed: mean over tasks}."""
    return by_seed(frame.groupby("seed", sort=True)["value"].mean().reset_index())
