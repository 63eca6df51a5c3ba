"""What is told of the maps' scores beyond localisation: a table a metric, with its direction and the controls."""

from __future__ import annotations

from reports.sections import Section, Table
from reports.statistics import mean_interval
from reports.tables import Experiment, by_seed, select
from reports.wording import figure, interval

LOCALISATION = ("relevance_mass", "pointing_game")  # have a table of their own
KINDS = {"given": "map", "random": "random map", "image": "image itself"}


def map_scores(experiment: Experiment) -> Section:
    """One table a metric: the mean over examples of each run, then the interval over seeds, by method and task."""
    frame = experiment.localisation()
    metrics = [m for m in dict.fromkeys(frame["metric"]) if m not in LOCALISATION]
    tables = []
    for metric in metrics:
        part = select(frame, metric=metric)
        part = part[(part["region"] == part["task"]) | (part["region"] == "")]
        kinds = [kind for kind in KINDS if len(select(part, map=kind))]
        rows = []
        for (method, variant, task), cell in part.groupby(["method", "variant", "task"], sort=False):
            values = {kind: list(by_seed(select(cell, map=kind)).values()) for kind in kinds}
            controls = [figure(mean_interval(values[kind]).mean) for kind in kinds if kind != "given"]
            rows.append(
                [str(method), str(variant), str(task), interval(mean_interval(values["given"])), *controls]
            )
        better = "higher" if part["higher_is_better"].iloc[0] == "True" else "lower"
        caption = (
            f"{metric}: mean over examples of each run, then 95% t-interval over seeds; {better} is better"
        )
        tables.append(
            Table(caption, ["method", "variant", "task", *(KINDS[k] for k in kinds)], rows, labels=3)
        )
    return Section(tables, missing="" if tables else "no finished run scored its maps beyond localisation")
