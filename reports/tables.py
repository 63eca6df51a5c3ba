"""From runs to tidy tables: what was measured, before any layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import exp, isfinite, log, nan
from typing import Any

import numpy as np
import pandas as pd

from reports.reading import Run
from reports.statistics import SIGNIFICANT, Estimate, common_seeds, difference, holm, mean_interval
from reports.statistics.gains import Gain, comparable, estimated, gain_of, mean_gain


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
        undefined: (task, metric) whose base is not clear of 0: no relative gain exists, left out.
        by_seed: {seed: Δm by tasks} of the variant, over the same seed or the mean of the base.
    """

    variant: str
    against: str
    over_tasks: Estimate
    over_metrics: Estimate
    by_task: dict[str, Estimate]
    undefined: list[str]
    by_seed: dict[int, float]

    @property
    def worst(self) -> str:
        """The task with the lowest mean gain; no text where there is none."""
        known = {task: gain.mean for task, gain in self.by_task.items() if isfinite(gain.mean)}
        return min(known, key=lambda task: known[task]) if known else ""


@dataclass(frozen=True)
class Contrast:
    """One comparison that the page makes, with its p-value adjusted for all of them.

    Attributes:
        variant, against: which two.
        task, metric: of a difference of scores, in ``unit``; no text for Δm, a fraction.
        estimate: variant minus against.
        higher_is_better: whether a positive difference is a better one.
        adjusted: Holm's p over `Experiment.contrasts`.
    """

    variant: str
    against: str
    task: str
    metric: str
    unit: str
    estimate: Estimate
    higher_is_better: bool
    adjusted: float = nan

    @property
    def verdict(self) -> int:
        """1: better, -1: worse, 0: no significant difference, which is not the same as equal."""
        if not self.adjusted < SIGNIFICANT:
            return 0
        return 1 if (self.estimate.mean > 0) == self.higher_is_better else -1


class Experiment:
    """The runs of one experiment, and what they say together.

    Args:
        runs: of one experiment; runs that did not finish are listed and take no part in any number.
        max_maps: how many maps the gallery may show.
        command: what makes this report again.
    """

    def __init__(self, runs: Sequence[Run], *, max_maps: int = 1000, command: str = "") -> None:
        self.runs = list(runs)
        self.max_maps = max_maps
        self.command = command or "python -m reports RUNS --out report.html"
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
        return self._values.get((variant, task, metric), {})

    @cached_property
    def _values(self) -> dict[tuple[str, str, str], dict[int, float]]:
        frame = self.scores
        found: dict[tuple[str, str, str], dict[int, float]] = {}
        columns = (frame[name].tolist() for name in ("variant", "task", "metric", "seed", "value"))
        for variant, task, metric, seed, value in zip(*columns, strict=True):
            found.setdefault((variant, task, metric), {})[seed] = value
        return found

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

    def ranks(self) -> dict[str, float]:
        """The mean rank of each variant (1 is best) over tasks, by the main metric of each, over seeds that all have.

        Equal scores share the mean of their ranks. A rank describes and proves nothing: it depends on who else is
        ranked (Benavoli et al. 2016), so it has no interval.
        """
        columns = {}
        for info in (info for info in self.main if not info.diagnostic):
            for variant in self.variants:
                for seed, value in self.values(variant, info.task, info.name).items():
                    columns[info.task, seed, variant] = -value if info.higher_is_better else value
        frame = pd.Series(columns, dtype=float).unstack() if columns else pd.DataFrame()
        complete = frame.reindex(columns=self.variants).dropna()
        if len(complete.columns) < 2 or complete.empty:
            return {}
        return {str(variant): float(mean) for variant, mean in complete.rank(axis=1).mean().items()}

    @property
    def main(self) -> list[MetricInfo]:
        """The main metric of each task; auxiliary tasks, all of whose metrics are diagnostic, have none."""
        return [info for info in self.metrics if info.main and not info.diagnostic]

    @cached_property
    def scale(self) -> tuple[str, str, dict[str, float]]:
        """Name, unit and {task: place} of the scale that all tasks with a score lie on, each elsewhere, judged alike.

        No places where there is no such scale, or fewer than two tasks.
        """
        told: dict[str, Any] = {}
        for run in self.done:
            for task in run.info["tasks"]:
                told.setdefault(task["name"], task["at"])
        found = {info.task: told[info.task] for info in self.main if told[info.task]}
        values = {task: float(at["value"]) for task, at in found.items()}
        kinds = {(at["scale"], at["unit"]) for at in found.values()}
        judged = {(info.name, info.unit) for info in self.main}
        everywhere = 1 < len(set(values.values())) == len(self.main)
        if not everywhere or len(kinds) != 1 or len(judged) != 1:
            return "", "", {}
        return (*kinds.pop(), dict(sorted(values.items(), key=lambda item: item[1])))

    @property
    def bases(self) -> list[str]:
        """What variants are compared with: the baseline, and the reference where it is another."""
        return [name for name in dict.fromkeys((self.baseline, self.reference)) if name is not None]

    def compared_with(self, against: str) -> list[str]:
        """The variants that are compared with a base; the baseline is never compared with the reference again."""
        return [v for v in self.variants if v not in (against, self.baseline) and self.of(v)]

    @cached_property
    def contrasts(self) -> list[Contrast]:
        """Every comparison of scores that the page makes or draws a word from: one family.

        Δm of each variant against each base, and the difference in each task's main metric. Both kinds get half of
        the 5% of false claims that the whole page allows (weighted Holm), so that many tasks do not bury Δm.
        """
        found = []
        for against in self.bases:
            for variant in self.compared_with(against):
                gain = self.compare(variant, against).over_tasks
                found.append(Contrast(variant, against, "", "", "fraction", gain, True))
                for info in self.main:
                    sides = [self.values(v, info.task, info.name) for v in (variant, against)]
                    if all(sides):
                        names = (variant, against, info.task, info.name, info.unit)
                        found.append(Contrast(*names, difference(*sides), info.higher_is_better))
        known = [contrast.task == "" for contrast in found if isfinite(contrast.estimate.p)]
        shares = {overall: 1 / max(1, known.count(overall)) for overall in (True, False)}
        p_values = [contrast.estimate.p for contrast in found]
        adjusted = holm(p_values, [shares[contrast.task == ""] for contrast in found])
        return [replace(contrast, adjusted=p) for contrast, p in zip(found, adjusted, strict=True)]

    def contrast(self, variant: str, against: str, task: str = "") -> Contrast | None:
        """The comparison of two variants in Δm, or in the main metric of a task; None where there is none."""
        return self._contrast.get((variant, against, task))

    @cached_property
    def _contrast(self) -> dict[tuple[str, str, str], Contrast]:
        return {(one.variant, one.against, one.task): one for one in self.contrasts}

    def compare(self, variant: str, against: str) -> Comparison:
        """Δm of a variant against another: pairs of `common_seeds`, else two groups with the variance of both.

        Diagnostic metrics (the loss among them, whose zero has no meaning that tasks share) are no part of it.
        """
        pairs = common_seeds([r.seed for r in self.of(variant)], [r.seed for r in self.of(against)])
        gains: dict[tuple[str, str], Gain] = {}
        undefined = []
        for info in self.metrics:
            ours = self.values(variant, info.task, info.name)
            base = self.values(against, info.task, info.name)
            if info.diagnostic or not ours or not base:
                continue
            if not comparable(base.values()):
                undefined.append(f"{info.task} {info.name}")
                continue
            both = [seed for seed in pairs if seed in ours and seed in base]
            if pairs and not both:  # the metric was measured for other seeds on either side
                continue
            gains[info.task, info.name] = gain_of(ours, base, info.higher_is_better, both)
        tasks = list(dict.fromkeys(task for task, _ in gains))
        by_task = {task: mean_gain([gain for (t, _), gain in gains.items() if t == task]) for task in tasks}
        whole = mean_gain(list(by_task.values()))
        return Comparison(
            variant,
            against,
            estimated(whole),
            estimated(mean_gain(list(gains.values()))),
            {task: estimated(gain) for task, gain in by_task.items()},
            undefined,
            whole.ours,
        )

    def costs(self, variant: str, name: str) -> dict[int, float]:
        """{seed: a number of ``run.cost``}, where it is known and above 0."""
        found = {run.seed: number(run.info["cost"].get(name)) for run in self.of(variant)}
        return {seed: value for seed, value in found.items() if isfinite(value) and value > 0}

    def cost(self, variant: str, name: str) -> Estimate:
        """A number of ``run.cost`` over seeds."""
        return mean_interval(list(self.costs(variant, name).values()))

    def cost_ratio(self, variant: str, against: str, name: str) -> Estimate:
        """A cost as a multiple of another variant's, with p of "the true ratio is 1".

        The mean and the interval are of logarithms: a busy machine multiplies times, and no ratio is below 0.
        """
        logs = [{s: log(value) for s, value in self.costs(v, name).items()} for v in (variant, against)]
        found = difference(*logs) if all(logs) else Estimate(nan)
        mean, low, high = (exp(value) for value in (found.mean, found.low, found.high))
        points = tuple(exp(value) for value in found.points)
        return Estimate(mean, low, high, found.n, found.p, paired=found.paired, points=points)

    def localisation(self) -> pd.DataFrame:
        """Mean over examples of each run: variant, seed, method, task, metric, region, map, value.

        Seeds are the independent units: a thousand images of one model are not a thousand models.
        """
        return self._localisation

    @cached_property
    def _localisation(self) -> pd.DataFrame:
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


def _ordered_variants(runs: Sequence[Run], experiment: dict[str, Any]) -> list[str]:
    """Baseline, reference, then the others by name, so that every table has one order."""
    roles = [experiment["baseline"], experiment["reference"]]
    names = {run.variant for run in runs}
    first = [role for role in dict.fromkeys(roles) if role in names]  # one variant may have both roles
    return first + sorted(names - set(first))


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
