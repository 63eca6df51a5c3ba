"""What a sweep looks for: a validation score, or a cost, read from a run directory. Never the test split."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from recipes.config import UsageError, nearest

SHAPE = (
    "max:METRIC or min:METRIC, with TASK/ before it for one task and @train after it for the training split"
)


@dataclass(frozen=True)
class Objective:
    """``[max|min]:[TASK/]METRIC[@SPLIT]``, or ``min:cost.NAME`` with a name of the run's cost."""

    text: str
    maximise: bool
    metric: str
    task: str | None = None
    split: str = "validation"

    @property
    def cost(self) -> str | None:
        """The cost that it names, if it does."""
        return self.metric.removeprefix("cost.") if self.metric.startswith("cost.") else None


def parse_objective(text: str) -> Objective:
    """An objective from its text.

    >>> parse_objective("max:left/accuracy")
    Objective(text='max:left/accuracy', maximise=True, metric='accuracy', task='left', split='validation')

    Raises:
        UsageError: of another form, or of the test split.
    """
    found = re.fullmatch(r"(max|min):(?:(.+)/)?([^/@]+)(?:@(\w+))?", text)
    if found is None:
        raise UsageError(f"--objective must be {SHAPE}, got '{text}'")
    way, task, metric, split = found.groups()
    split = split or "validation"
    if split == "test":
        raise UsageError(f"--objective {text}: the test split is kept from the search; use validation")
    if split not in ("validation", "train"):
        raise UsageError(f"--objective {text}: no split '{split}'; {nearest(split, ('validation', 'train'))}")
    return Objective(text, way == "max", metric, task, split)


def score(run: Any, objective: Objective) -> float:
    """The objective's value for a finished run: of the selected checkpoint, averaged over tasks.

    Args:
        run: a `reports.Run`.
        objective: what to read.

    Raises:
        UsageError: the run has no such number, or the objective looks the wrong way.
    """
    if objective.cost is not None:
        costs = run.info["cost"]
        if objective.cost not in costs:
            raise UsageError(f"--objective {objective.text}: no such cost; {nearest(objective.cost, costs)}")
        return float(costs[objective.cost])
    rows = _rows(run, objective)
    best_step, values = run.summary.get("best_step", {}), []
    for task, of_task in rows.groupby("task"):
        chosen = of_task[of_task["step"] == best_step.get(task, -1)]
        values.append(float((chosen if len(chosen) else of_task)["value"].iloc[-1]))
    return sum(values) / len(values)


def history(run: Any, objective: Objective) -> list[tuple[int, float]]:
    """(step, value) of each validation so far at which every task was scored; empty for a cost."""
    if objective.cost is not None:
        return []
    metrics = run.metrics
    rows = metrics[(metrics["split"] == objective.split) & (metrics["metric"] == objective.metric)]
    tasks = {objective.task} if objective.task else _tasks(run, objective) or set(rows["task"])
    table = rows[rows["task"].isin(tasks)].pivot_table("value", "step", "task", aggfunc="last", dropna=False)
    whole = table.dropna() if set(table.columns) == tasks else table.iloc[:0]
    return [(int(step), float(value)) for step, value in whole.mean(axis=1).items() if math.isfinite(value)]


def _rows(run: Any, objective: Objective) -> Any:
    """The metric's rows, of the task or of all tasks that have it."""
    metrics, name = run.metrics, f"--objective {objective.text}"
    rows = metrics[metrics["split"] == objective.split]
    if not len(rows):
        others = sorted(set(metrics["split"]) - {"test"})
        raise UsageError(
            f"{name}: the runs log no {objective.split} scores (only {', '.join(others) or 'none'})"
        )
    if objective.metric not in set(rows["metric"]):
        raise UsageError(
            f"{name}: no metric '{objective.metric}'; {nearest(objective.metric, sorted(set(rows['metric'])))}"
        )
    rows = rows[rows["metric"] == objective.metric]
    if objective.task is not None:
        if objective.task not in set(rows["task"]):
            raise UsageError(
                f"{name}: no task '{objective.task}'; {nearest(objective.task, sorted(set(rows['task'])))}"
            )
        rows = rows[rows["task"] == objective.task]
    for task in run.info["tasks"]:
        for metric in task["metrics"]:
            if metric["name"] == objective.metric and metric["higher_is_better"] is not objective.maximise:
                way = "max" if metric["higher_is_better"] else "min"
                raise UsageError(
                    f"{name} looks the wrong way: write {way}:{objective.text.partition(':')[2]}"
                )
    return rows


def _tasks(run: Any, objective: Objective) -> set[str]:
    """The tasks that have the metric, as the run's record says."""
    return {
        str(task["name"])
        for task in run.info["tasks"]
        if any(metric["name"] == objective.metric for metric in task["metrics"])
    }
