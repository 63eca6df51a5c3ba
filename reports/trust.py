"""May the maps be trusted: each method's sanity verdict in words, and its scores beside the controls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from reports.sections import LOCALISATION, Section, Table
from reports.statistics import difference, mean_interval
from reports.tables import Experiment, by_seed, select
from reports.wording import figure

WIDTH = 6  # metrics a table
CHECKS = ("last layer", "all layers", "another class", "other layers")


def trust(experiment: Experiment) -> Section:
    """A verdict for each method, and tables of its scores by metric, with the controls as rows."""
    verdicts = _verdicts(experiment)
    scores = experiment.localisation()
    scores = scores[(scores["region"] == scores["task"]) | (scores["region"] == "")]
    # localisation has a section of its own
    metrics = [name for name in dict.fromkeys(scores["metric"]) if name not in LOCALISATION]
    if not verdicts and not metrics:
        return Section(missing="no finished run checked or scored its methods beyond localisation")
    tables, more = list(verdicts), list[Table]()
    for variant in experiment.variants:
        part = select(scores, variant=variant)
        for start in range(0, len(metrics), WIDTH):
            chosen = metrics[start : start + WIDTH]
            tables += _score_tables(experiment, part, variant, chosen, None)
            tasks = list(dict.fromkeys(part["task"]))
            for task in tasks if len(tasks) > 1 else []:
                more += _score_tables(experiment, select(part, task=task), variant, chosen, task)
    return Section(tables, more)


def sanity_of(experiment: Experiment) -> pd.DataFrame:
    """Every finished run's sanity checks: method, task, check, value, absolute, verdict, words, variant, seed."""
    frames = [
        run.sanity.assign(variant=run.variant, seed=run.seed) for run in experiment.done if len(run.sanity)
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["variant", "method"])


def most_said(checks: pd.DataFrame) -> tuple[str, str, int, int]:
    """(verdict, its words, how many maps get it, of how many) that most of a method's maps get."""
    whole = select(checks, check="all")
    verdict, words = Counter(zip(whole["verdict"], whole["words"], strict=True)).most_common(1)[0][0]
    return verdict, words, int((whole["verdict"] == verdict).sum()), len(whole)


def _verdicts(experiment: Experiment) -> list[Table]:
    frame = sanity_of(experiment)
    tables = []
    for variant in experiment.variants:
        part = select(frame, variant=variant)
        rows = []
        for method in dict.fromkeys(part["method"]):
            own = select(part, method=method)
            verdict, words, share, of = most_said(own)
            rows.append(
                [method, f"{verdict} ({share} of {of})", words]
                + [figure(select(own, check=check)["value"].mean()) for check in CHECKS]
            )
        if rows:
            caption = (
                f"Sanity of each method, {variant}: the verdict that most of its maps get (of tasks times seeds); the "
                "mean similarity of a map with what it is after the task's last layer, or all of its layers, were made "
                "random, and with the map of another class (near 0 the map depends on them, near 1 it does not); and "
                "its change when layers that the task does not use are random, which must be 0."
            )
            tables.append(Table(caption, ["method", "verdict", "in words", *CHECKS], rows, labels=3))
    return tables


def _score_tables(
    experiment: Experiment, frame: pd.DataFrame, variant: str, metrics: Sequence[str], task: str | None
) -> list[Table]:
    present = [metric for metric in metrics if len(select(frame, metric=metric))]
    if not present:
        return []
    kinds = [kind for kind in dict.fromkeys(frame["map"]) if kind != "given"]
    better = {metric: experiment.direction(metric) for metric in present}
    rows = []
    for method in dict.fromkeys(frame["method"]):
        own = select(frame, method=method)
        rows.append([method, *(_cell(select(own, metric=metric), better[metric]) for metric in present)])
    for kind in kinds:
        control = select(frame, map=kind)
        means = [_over_seeds(select(control, metric=metric)) for metric in present]
        rows.append(
            [f"({kind})", *(figure(mean_interval(list(m.values())).mean) if m else "n/a" for m in means)]
        )
    where = "means over tasks" if task is None else f"task {task}"
    caption = (
        f"Scores of the maps, {variant}, {where}: mean over examples and seeds; up or down says which way is better. "
        "* better than a random map, by the 95% interval over seeds. In brackets: the controls, which know nothing of "
        "the model."
    )
    arrows = {True: "up", False: "down"}
    columns = ["method", *(f"{metric} ({arrows[better[metric]]})" for metric in present)]
    return [Table(caption, columns, rows)]


def _cell(frame: pd.DataFrame, higher_is_better: bool) -> str:
    given, random = (_over_seeds(select(frame, map=kind)) for kind in ("given", "random"))
    if not given:
        return "n/a"
    gain = difference(given, random) if random else None
    star = gain is not None and gain.has_interval and gain.sign == (1 if higher_is_better else -1)
    return figure(mean_interval(list(given.values())).mean) + (" *" if star else "")


def _over_seeds(frame: pd.DataFrame) -> Mapping[int, float]:
    """{seed: mean over tasks}."""
    return by_seed(frame.groupby("seed", sort=True)["value"].mean().reset_index())
