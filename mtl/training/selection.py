"""Which checkpoint is kept: a rule on validation scores, stated in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mtl.names import lookup
from mtl.tasks import Task, scored

RULES = {
    "metric": "best mean over tasks of the validation {metric}",
    "loss": "lowest sum of validation losses",
    "last": "the last step",
}


class Selection:
    """Says at each validation whether the model is the best so far; the first of equals is kept.

    Args:
        rule: ``"metric"``, ``"loss"``, ``"last"`` or ``"auto"`` (see `mtl.fit`).
        tasks: the run's tasks; ``"metric"`` needs them to share their primary metric.
        has_validation: without validation data only ``"last"`` is possible.

    >>> from mtl.tasks import Regression
    >>> selection = Selection("loss", [Regression("y")], has_validation=True)
    >>> [selection.improves({"y": {"loss": loss}}) for loss in (3.0, 2.0, 2.5)]
    [True, True, False]
    """

    def __init__(self, rule: str, tasks: Sequence[Task], *, has_validation: bool) -> None:
        tasks = scored(tasks)
        if not tasks:
            raise ValueError("every task is auxiliary; at least one must be scored")
        primary = {task.metrics[0].name for task in tasks}
        units = {(task.metrics[0].name, task.metrics[0].unit) for task in tasks}
        if rule == "auto":
            shared = units in ({("accuracy", "fraction")}, {("roc_auc", "fraction")})
            rule = "last" if not has_validation else "metric" if shared else "loss"
        lookup("selection rule", rule, {**RULES, "auto": ""})
        if rule != "last" and not has_validation:
            raise ValueError(f"select='{rule}' needs validation data; give it, or select='last'")
        if rule == "metric" and len(units) > 1:
            raise ValueError(
                f"select='metric' needs tasks that share their primary metric and its unit, got "
                f"{sorted(primary)}; use select='loss'"
            )
        self.kind = rule
        self._metric = tasks[0].metrics[0]
        self._tasks = tuple(task.name for task in tasks)
        self.best = -math.inf  # the selected value so far, higher is better
        self.rule = RULES[rule].format(metric=self._metric.name)

    def improves(self, scores: dict[str, dict[str, float]]) -> bool:
        """True where these validation scores {task: {metric: value}} are the best so far."""
        if self.kind == "last":
            return True
        there = [scores[task] for task in self._tasks if task in scores]
        if not there:
            raise ValueError("the validation data has no label for any task")
        if self.kind == "loss":
            value = -math.fsum(score["loss"] for score in there)
        else:
            sign = 1 if self._metric.higher_is_better else -1
            found = [score[self._metric.name] for score in there]
            found = [one for one in found if not math.isnan(one)]  # not defined on a task's few labels
            if not found:
                raise ValueError(
                    f"the validation data is too small: {self._metric.name} is not defined on it"
                )
            value = sign * math.fsum(found) / len(found)
        if value > self.best:
            self.best = value
            return True
        return False
