"""The tables and charts of each section, as plain data for the template."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import yaml

from reports import figures
from reports.reading import Run
from reports.statistics import difference, holm, mean_interval
from reports.tables import Comparison, Experiment, MetricInfo, by_seed, number, select
from reports.wording import count, figure, interval, p_value

LOCALISATION = ("relevance_mass", "pointing_game")
MAX_PAIRS = 6  # pairs of tasks drawn one by one; beyond, their mean


@dataclass(frozen=True)
class Table:
    """Text cells; the first ``labels`` columns are row headers, the others numbers."""

    caption: str
    columns: list[str]
    rows: list[list[str]]
    labels: int = 1


@dataclass(frozen=True)
class Chart:
    """An SVG with its caption."""

    caption: str
    svg: str


@dataclass(frozen=True)
class Section:
    """What one section shows; empty lists where there is nothing, and then ``missing`` says why."""

    tables: list[Table] = field(default_factory=list)
    more: list[Table] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    missing: str = ""


def scores(experiment: Experiment) -> Section:
    """Test scores: the main metric of each task, Δm, all metrics, and every seed as a point."""
    if experiment.scores.empty:
        return Section(missing="no finished run has scores")
    main = [info for info in experiment.metrics if info.main]
    shown = experiment.scores["metric"].isin([info.name for info in main])
    splits = sorted(map(str, experiment.scores.loc[shown, "split"].unique()))
    caption = f"Score on the {' and '.join(splits)} split: mean and 95% t-interval over seeds."
    rows = []
    for variant in experiment.variants:
        cells = [_cell(experiment, variant, info) for info in main]
        rows.append([variant, str(len(experiment.of(variant))), *cells])
    tables = [Table(caption, ["variant", "runs", *(_heading(info) for info in main)], rows)]
    tables += [_delta_table(experiment, against) for against in _bases(experiment)]
    tables += _rank_table(experiment)
    every = [
        [
            info.task,
            variant,
            info.name,
            interval(mean_interval(list(values.values())), info.unit),
            str(len(values)),
        ]
        for info in experiment.metrics
        for variant in experiment.variants
        if (values := experiment.values(variant, info.task, info.name))
    ]
    more = [
        Table("All metrics", ["task", "variant", "metric", "mean [95% interval]", "seeds"], every, labels=3)
    ]
    charts = []
    for info in main:
        points = {v: list(experiment.values(v, info.task, info.name).values()) for v in experiment.variants}
        chart = f"{info.task}: {info.name}"
        if any(points.values()):  # a task without a label in the test split has no score
            charts.append(Chart(chart, figures.dots(points, info.unit, chart)))
    return Section(tables, more, charts)


def _rank_table(experiment: Experiment) -> list[Table]:
    """Mean ranks, best first, where three variants or more can be ranked."""
    ranks = experiment.ranks()
    if len(ranks) < 3:
        return []
    rows = [[v, interval(rank, "rank")] for v, rank in sorted(ranks.items(), key=lambda item: item[1].mean)]
    caption = (
        f"Mean rank among {len(ranks)} variants over tasks (1 is best), with a 95% t-interval over seeds."
    )
    return [Table(caption, ["variant", "mean rank"], rows)]


def _bases(experiment: Experiment) -> list[str]:
    """What Δm is shown against: the baseline, and the plain sum where it is another."""
    if experiment.baseline is None:
        return []
    named = [experiment.baseline, experiment.reference]
    return [name for name in dict.fromkeys(named) if name is not None]


def _delta_table(experiment: Experiment, against: str) -> Table:
    others = [v for v in experiment.variants if v != against and experiment.of(v)]
    if against != experiment.baseline:
        others = [v for v in others if v != experiment.baseline]
    compared: list[Comparison] = [experiment.compare(v, against) for v in others]
    adjusted = holm([c.over_tasks.p for c in compared])
    rows = [
        [
            c.variant,
            interval(c.over_tasks, "fraction", signed=True),
            interval(c.over_metrics, "fraction", signed=True),
            p_value(p),
            *(
                interval(c.by_task[task], "fraction", signed=True) if task in c.by_task else "n/a"
                for task in experiment.tasks
            ),
        ]
        for c, p in zip(compared, adjusted, strict=True)
    ]
    pairing = "paired by seed" if all(c.over_tasks.paired for c in compared) else "not paired (Welch)"
    caption = (
        f"Δm: relative improvement over {against}, {pairing}; positive is better. By tasks: each task's metrics are "
        "averaged first; by metrics: all metrics count alike."
    )
    columns = [
        "variant",
        "Δm by tasks",
        "Δm by metrics",
        "p (Holm)",
        *(f"{task}" for task in experiment.tasks),
    ]
    return Table(caption, columns, rows)


def _heading(info: MetricInfo) -> str:
    unit = "" if info.unit == "fraction" else f" [{info.unit}]"
    return f"{info.task}: {info.name}{unit} {'↑' if info.higher_is_better else '↓'}"


def _cell(experiment: Experiment, variant: str, info: MetricInfo) -> str:
    values = list(experiment.values(variant, info.task, info.name).values())
    return interval(mean_interval(values), info.unit) if values else "no run"


def learning(experiment: Experiment) -> Section:
    """Every (task, metric) that was logged at two steps or more, validation before training."""
    frames = [run.metrics.assign(variant=run.variant, seed=run.seed) for run in experiment.done]
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    charts = []
    for info in experiment.metrics if len(frame) else []:
        part = frame[(frame["task"] == info.task) & (frame["metric"] == info.name)]
        for split in ("validation", "train"):
            chosen = part[part["split"] == split]
            if chosen["step"].nunique() >= 2:
                chart = f"{info.task}: {info.name}, {split}"
                if info.unit != "fraction":
                    chart += f" [{info.unit}]"
                charts.append(Chart(chart, figures.curves(chosen, experiment.variants, info.unit, chart)))
    return Section(charts=charts, missing="" if charts else "no metric was logged at two steps or more")


def conflict(experiment: Experiment) -> Section:
    """Cosines between the tasks' gradients of the shared parameters, over training and by layer group."""
    rows, groups, told = [], [], []
    for run in experiment.done:
        d = run.dynamics
        if not {"step", "tasks", "cosines"} <= set(d) or len(d["tasks"]) < 2:
            continue
        pairs = list(combinations(range(len(d["tasks"])), 2))
        for a, b in pairs:
            name = f"{d['tasks'][a]} and {d['tasks'][b]}"
            values = d["cosines"][:, a, b]
            rows += [
                (run.variant, run.seed, name, int(s), float(v))
                for s, v in zip(d["step"], values, strict=True)
            ]
            told.append(
                (run.variant, run.seed, name, float(np.nanmean(values)), float(np.nanmean(values < 0)))
            )
        if "group_cosines" in d:
            for g, group in enumerate(d["groups"]):
                cosines = [np.nanmean(d["group_cosines"][:, g, a, b]) for a, b in pairs]
                groups.append((run.variant, run.seed, str(group), float(np.mean(cosines))))
    if not rows:
        return Section(missing="no finished run measured the gradients of two tasks or more")
    frame = pd.DataFrame(rows, columns=["variant", "seed", "pair", "step", "value"]).dropna()
    names = list(dict.fromkeys(frame["pair"]))
    if len(names) > MAX_PAIRS:
        title = f"mean over {len(names)} pairs of tasks"
        frame = (
            frame.groupby(["variant", "seed", "step"], sort=False)["value"]
            .mean()
            .reset_index()
            .assign(pair=title)
        )
        names = [title]
    charts = [
        Chart(
            f"Cosine: {name}",
            figures.curves(frame[frame["pair"] == name], experiment.variants, "cosine", f"cosine {name}"),
        )
        for name in names
    ]
    summary = pd.DataFrame(told, columns=["variant", "seed", "pair", "mean", "negative"])
    cells = [
        [str(variant), str(pair), interval(mean_interval(list(part["mean"])), "cosine"),
         interval(mean_interval(list(part["negative"])), "fraction")]
        for (variant, pair), part in summary.groupby(["variant", "pair"], sort=False)
    ]  # fmt: skip
    columns = ["variant", "tasks", "mean cosine", "steps in conflict (cosine < 0)"]
    tables = [Table("Agreement of the tasks' gradients over all logged steps", columns, cells, labels=2)]
    if groups:
        layered = pd.DataFrame(groups, columns=["variant", "seed", "group", "value"])
        matrix = layered.pivot_table(index="variant", columns="group", values="value", sort=False)
        order = [v for v in experiment.variants if v in matrix.index]
        chart = "Mean cosine by layer group"
        drawn = figures.heat(matrix.loc[order].to_numpy(), order, [str(g) for g in matrix.columns], chart)
        charts.append(Chart(chart, drawn))
    return Section(tables, charts=charts)


def ways(experiment: Experiment) -> Section:
    """The ways of each variant (its lowest seed) over the contours, where runs recorded any."""
    charts = []
    for variant in experiment.variants:
        runs = [run for run in experiment.of(variant) if run.status == "done"]
        if runs and runs[0].paths:
            charts.append(Chart(variant, figures.ways(runs[0].paths, f"Ways of {variant}")))
    return Section(charts=charts)


def cost(experiment: Experiment) -> Section:
    """Seconds a step, training time, parameters, peak memory, and energy where it is known: means over seeds."""
    known = [v for v in experiment.variants if any(run.info["cost"] for run in experiment.of(v))]
    if not known:
        return Section(missing="no finished run recorded its cost")
    base = experiment.reference or known[0]
    unit = experiment.cost(base, "step_s").mean
    rows = []
    for variant in known:
        step, train = experiment.cost(variant, "step_s"), experiment.cost(variant, "train_s")
        rows.append(
            [
                variant,
                interval(
                    mean_interval(
                        [1000 * number(r.info["cost"].get("step_s")) for r in experiment.of(variant)]
                    )
                ),
                figure(step.mean / unit) if unit > 0 else "n/a",
                figure(train.mean),
                figure(experiment.cost(variant, "parameters").mean),
                figure(experiment.cost(variant, "peak_memory_mib").mean),
                figure(experiment.cost(variant, "energy_j").mean),
            ]
        )
    columns = [
        "variant",
        "ms a step",
        f"relative to {base}",
        "training [s]",
        "parameters",
        "peak memory [MiB]",
        "energy [J]",
    ]
    if not any(experiment.cost(variant, "energy_j").n for variant in known):  # few machines tell it
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    caption = (
        "Cost: means over seeds. A variant of one model a task adds the seconds and parameters of its models. "
        "Runs that share a machine slow each other; compare within one experiment only."
    )
    return Section([Table(caption, columns, rows)])


def localisation(experiment: Experiment) -> Section:
    """Relevance mass and pointing game in the own region and in the others', beside the controls."""
    frame = experiment.localisation()
    frame = frame[frame["metric"].isin(LOCALISATION)]
    if frame.empty:
        return Section(missing="no finished run scored its maps against masks")
    mean = _localisation_table(frame, experiment.variants, None)
    per_task = [_localisation_table(select(frame, task=task), experiment.variants, task) for task in experiment.tasks
                if len(select(frame, task=task))]  # fmt: skip
    return Section([mean], per_task if len(per_task) > 1 else [])


def _localisation_table(frame: pd.DataFrame, variants: Sequence[str], task: str | None) -> Table:
    rows = []
    methods = dict.fromkeys(frame["method"])
    for method in methods:
        for variant in variants:
            part = select(frame, method=method, variant=variant)
            own = part[part["region"] == part["task"]]
            if own.empty:
                continue
            other = part[part["region"] != part["task"]]

            def mass(region: pd.DataFrame, kind: str, metric: str = "relevance_mass") -> dict[int, float]:
                chosen = select(region, map=kind, metric=metric)
                return by_seed(chosen.groupby("seed", sort=True)["value"].mean().reset_index())

            given = mass(own, "given")
            rows.append(
                [
                    method,
                    variant,
                    interval(mean_interval(list(given.values())), "fraction"),
                    _mean_text(mass(other, "given")),
                    _mean_text(mass(own, "random")),
                    _mean_text(mass(own, "image")),
                    interval(difference(given, mass(own, "random")), "fraction", signed=True),
                    _mean_text(mass(own, "given", "pointing_game")),
                    _mean_text(mass(own, "random", "pointing_game")),
                    _mean_text(mass(own, "image", "pointing_game")),
                ]
            )
    columns = ["method", "variant", "mass, own region", "mass, other regions", "random map", "image itself",
               "own - random", "pointing, own", "pointing, random", "pointing, image"]  # fmt: skip
    where = "means over tasks" if task is None else f"task {task}"
    caption = (
        f"Where the relevance lies, {where}: mean over examples of each run, then 95% t-interval over seeds. Controls "
        "know nothing of the model; a method that does not beat them shows nothing."
    )
    return Table(caption, columns, rows, labels=2)


def _mean_text(values: dict[int, float]) -> str:
    return figure(mean_interval(list(values.values())).mean, "fraction") if values else "n/a"


def provenance(runs: Sequence[Run]) -> tuple[Table, list[tuple[str, list[tuple[str, str]]]]]:
    """Every run with its status, and what they came from: each different value once, with the runs it holds for."""
    rows = [
        [run.path.name, run.variant, str(run.seed), run.status, str(run.info.get("start", "")),
         figure(number(run.info.get("wall_s"))), "; ".join(filter(None, [run.info["error"], *run.problems]))]
        for run in runs
    ]  # fmt: skip
    columns = ["run", "variant", "seed", "status", "start (UTC)", "wall [s]", "remarks"]
    table = Table(f"{count(len(runs), 'run')}", columns, rows, labels=4)
    facts = [
        ("Command", [" ".join(map(str, run.info["command"])) for run in runs]),
        ("Commit", [_commit(run.info) for run in runs]),
        ("Data", [_lines(run.info["data"]) for run in runs]),
        ("Selection of the checkpoint", [run.info["selection"] for run in runs]),
        ("Tuning budget", [run.info["tuning_budget"] for run in runs]),
        (
            "Configuration",
            [yaml.safe_dump(_shared(run.config), sort_keys=False, allow_unicode=True) for run in runs],
        ),
        ("Versions", [_lines(run.info["versions"]) for run in runs]),
        ("Hardware", [_lines(run.info["hardware"]) for run in runs]),
    ]
    grouped = []
    for name, values in facts:
        different: dict[str, list[str]] = {}
        for run, value in zip(runs, values, strict=True):
            different.setdefault(value, []).append(run.path.name)
        told = [
            (("all runs" if len(different) == 1 else ", ".join(names)), value or "not recorded")
            for value, names in different.items()
        ]
        grouped.append((name, told))
    return table, grouped


def _shared(config: dict[str, Any]) -> dict[str, Any]:
    """The options without what differs by design from run to run."""
    return {name: value for name, value in config.items() if name not in ("seeds", "variants")}


def _commit(info: dict[str, Any]) -> str:
    if not info.get("commit"):
        return "not in a git repository"
    return f"{info['commit']}{' with uncommitted changes' if info.get('dirty') else ''}"


def _lines(values: dict[str, Any]) -> str:
    return "\n".join(
        f"{k}: {v if isinstance(v, str | int | float) else json.dumps(v)}" for k, v in values.items()
    )
