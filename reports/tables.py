"""From runs to tidy tables: what was measured, before any layout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan
from typing import Any

import numpy as np
import pandas as pd

from reports.reading import Run
from reports.statistics import Estimate, mean_interval, relative_gain, welch


@dataclass(frozen=True)
class MetricInfo:
    """A metric of a task as the runs declare it."""

    task: str
    name: str
    unit: str
    higher_is_better: bool
    main: bool
    diagnostic: bool


@dataclass(frozen=True)
class Comparison:
    """A variant against another: Δm by both conventions and by task, as fractions, positive is better.

    Attributes:
        over_tasks: gains averaged over the metrics of each task, then over tasks (Maninis et al. 2019).
        over_metrics: gains averaged over all metrics of all tasks at once.
        by_task: the gain of each task, averaged over its metrics.
        undefined: (task, metric) whose base is zero or changes sign over seeds: no relative gain exists, left out.
    """

    variant: str
    against: str
    over_tasks: Estimate
    over_metrics: Estimate
    by_task: dict[str, Estimate]
    undefined: list[str]


class Experiment:
    """The runs of one experiment, and what they say together.

    Args:
        runs: of one experiment; runs that did not finish are listed and take no part in any number.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        self.done = [run for run in runs if run.status == "done"]
        first = (self.done or self.runs)[0].info
        self.name = str(first["experiment"]["name"])
        self.question = str(first["experiment"]["question"] or "")
        self.variants = _ordered_variants(self.runs, first["experiment"])
        self.baseline = self._role(first, "baseline")
        self.reference = self._role(first, "reference")
        self.metrics = _metric_infos(self.done or self.runs)
        self.tasks = list(dict.fromkeys(info.task for info in self.metrics))
        self.scores = self._test_scores()

    def _role(self, info: dict[str, Any], role: str) -> str | None:
        """The variant with this role, where one of its runs finished."""
        name = info["experiment"][role]
        return str(name) if name is not None and any(run.variant == name for run in self.done) else None

    def of(self, variant: str) -> list[Run]:
        """The finished runs of a variant, by seed."""
        return sorted((run for run in self.done if run.variant == variant), key=lambda run: run.seed)

    def values(self, variant: str, task: str, metric: str) -> dict[int, float]:
        """{seed: score} of the table of test scores."""
        frame = self.scores
        part = frame[(frame["variant"] == variant) & (frame["task"] == task) & (frame["metric"] == metric)]
        return dict(zip(part["seed"], part["value"], strict=True))

    def _test_scores(self) -> pd.DataFrame:
        """variant, seed, task, metric, value, split: test rows, else the last validation rows, else the last of any."""
        rows = []
        for run in self.done:
            frame = run.metrics
            for (task, metric), part in frame.groupby(["task", "metric"], sort=False):
                for split in ("test", "validation", *part["split"].unique()):
                    chosen = part[part["split"] == split]
                    if len(chosen):
                        last = chosen.iloc[-1]
                        rows.append([run.variant, run.seed, task, metric, float(last["value"]), split])
                        break
        return pd.DataFrame(rows, columns=["variant", "seed", "task", "metric", "value", "split"])

    def ranks(self) -> dict[str, Estimate]:
        """The mean rank of each variant (1 is best) over tasks, by the main metric of each, over seeds that all have.

        Equal scores share the mean of their ranks. Intervals end where ranks do.
        """
        main = [info for info in self.metrics if info.main]
        columns = {}
        for info in main:
            for variant in self.variants:
                for seed, value in self.values(variant, info.task, info.name).items():
                    columns[info.task, seed, variant] = -value if info.higher_is_better else value
        frame = pd.Series(columns, dtype=float).unstack() if columns else pd.DataFrame()
        complete = frame.reindex(columns=self.variants).dropna()
        if len(complete.columns) < 2 or complete.empty:
            return {}
        by_seed = complete.rank(axis=1).groupby(level=1).mean()
        found = {variant: mean_interval(list(by_seed[variant])) for variant in self.variants}
        K = float(len(found))
        return {
            variant: replace(rank, low=max(rank.low, 1.0), high=min(rank.high, K))
            if rank.has_interval
            else rank
            for variant, rank in found.items()
        }

    def compare(self, variant: str, against: str) -> Comparison:
        """Δm of a variant against another; paired by seed where the seeds agree, else Welch with both variances.

        Diagnostic metrics (the loss among them, whose zero has no meaning that tasks share) are no part of it.
        """
        infos = [info for info in self.metrics if not info.diagnostic]
        paired = [run.seed for run in self.of(variant)] == [run.seed for run in self.of(against)]
        gains: dict[tuple[str, str], tuple[dict[int, float], dict[int, float]]] = {}
        undefined = []
        for info in infos:
            ours = self.values(variant, info.task, info.name)
            base = self.values(against, info.task, info.name)
            if not ours or not base:
                continue
            if not _comparable(list(base.values())):
                undefined.append(f"{info.task} {info.name}")
                continue
            gains[info.task, info.name] = _gains(ours, base, info.higher_is_better, paired)
        tasks = list(dict.fromkeys(task for task, _ in gains))
        by_task = {task: _mean_gain([pair for (t, _), pair in gains.items() if t == task]) for task in tasks}
        return Comparison(
            variant,
            against,
            _estimate(_mean_gain(list(by_task.values())) if by_task else ({}, {})),
            _estimate(_mean_gain(list(gains.values())) if gains else ({}, {})),
            {task: _estimate(pair) for task, pair in by_task.items()},
            undefined,
        )

    def cost(self, variant: str, name: str) -> Estimate:
        """A number of ``run.cost`` over seeds."""
        found = [number(run.info["cost"].get(name)) for run in self.of(variant)]
        return mean_interval([value for value in found if isfinite(value)])

    def localisation(self) -> pd.DataFrame:
        """Mean over examples of each run: variant, seed, method, task, metric, region, map, value.

        Seeds are the independent units: a thousand images of one model are not a thousand models.
        """
        frames = []
        for run in self.done:
            scores = run.scores
            if len(scores):
                keys = ["method", "task", "metric", "region", "map"]
                mean = scores.groupby(keys, sort=False)["value"].mean().reset_index()
                frames.append(mean.assign(variant=run.variant, seed=run.seed))
        columns = ["method", "task", "metric", "region", "map", "value", "variant", "seed"]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)

    def direction(self, metric: str) -> bool:
        """Whether more of an attribution metric is better, as the runs recorded it."""
        for run in self.done:
            own = select(run.scores, metric=metric)
            own = own[(own["region"] == own["task"]) | (own["region"] == "")]
            if len(own):
                return str(own["higher_is_better"].iloc[0]) == "True"
        return True


def number(value: Any) -> float:
    """A number from JSON, where NaN and infinities are words; NaN for anything else.

    >>> number("inf"), number(None)
    (inf, nan)
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        return nan


def select(frame: pd.DataFrame, **where: str) -> pd.DataFrame:
    """The rows whose columns have these values.

    >>> len(select(pd.DataFrame({"a": ["x", "y"]}), a="x"))
    1
    """
    keep = np.ones(len(frame), dtype=bool)
    for column, value in where.items():
        keep &= (frame[column] == value).to_numpy(dtype=bool)
    return frame[keep]


def by_seed(frame: pd.DataFrame) -> dict[int, float]:
    """{seed: value}."""
    return dict(zip(frame["seed"], frame["value"], strict=True))


# A gain keeps two sides, {seed: mean gain of ours} and {seed: the base's own deviation}: equal seeds pair up.
Gain = tuple[dict[int, float], dict[int, float]]


def _gains(ours: dict[int, float], base: dict[int, float], higher: bool, paired: bool) -> Gain:
    if paired:
        return {seed: relative_gain(ours[seed], base[seed], higher) for seed in ours if seed in base}, {}
    mean = float(np.mean(list(base.values())))
    return (
        {seed: relative_gain(value, mean, higher) for seed, value in ours.items()},
        {seed: relative_gain(value, mean, higher) for seed, value in base.items()},
    )


def _mean_gain(pairs: Iterable[Gain]) -> Gain:
    """The mean over several gains, seed by seed; seeds that one of them lacks fall out of the mean."""
    sides = list(pairs)
    means = []
    for side in (0, 1):
        seeds = set.intersection(*(set(pair[side]) for pair in sides))
        means.append({seed: float(np.mean([pair[side][seed] for pair in sides])) for seed in sorted(seeds)})
    return means[0], means[1]


def _estimate(gain: Gain) -> Estimate:
    ours, base = gain
    return (
        welch(list(ours.values()), list(base.values()))
        if base
        else mean_interval(list(ours.values()), paired=True)
    )


def _comparable(base: list[float]) -> bool:
    """A relative gain needs a base whose sign is certain."""
    return all(isfinite(value) for value in base) and (min(base) > 0 or max(base) < 0)


def _ordered_variants(runs: Sequence[Run], experiment: dict[str, Any]) -> list[str]:
    """Baseline, reference, then the others by name, so that every table has one order."""
    roles = [experiment["baseline"], experiment["reference"]]
    names = {run.variant for run in runs}
    return [role for role in roles if role in names] + sorted(names - {r for r in roles if r is not None})


def _metric_infos(runs: Sequence[Run]) -> list[MetricInfo]:
    found: dict[tuple[str, str], MetricInfo] = {}
    for run in runs:
        for task in run.info["tasks"]:
            for position, metric in enumerate(task["metrics"]):
                key = (task["name"], str(metric["name"]))
                unit, higher = str(metric["unit"]), bool(metric["higher_is_better"])
                diagnostic = bool(metric.get("diagnostic")) or key[1] == "loss"
                found.setdefault(key, MetricInfo(*key, unit, higher, position == 0, diagnostic))
    return list(found.values())
