"""A run under other names for its variant and tasks, as it takes part in a report of several experiments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from reports.checking import Arrays
from reports.reading import Examples, Run


@dataclass
class RenamedRun(Run):
    """A run whose tasks are called otherwise, {its own name: name}, wherever it tells of them."""

    tasks: Mapping[str, str] = field(default_factory=dict)

    def _new(self, task: Any) -> str:
        return self.tasks.get(str(task), str(task))

    def _renamed(self, frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
        return frame.assign(**{column: frame[column].map(self._new) for column in columns})

    @cached_property
    def metrics(self) -> pd.DataFrame:
        return self._renamed(super().metrics, "task")

    @cached_property
    def scores(self) -> pd.DataFrame:
        return self._renamed(super().scores, "task", "region")

    @cached_property
    def sanity(self) -> pd.DataFrame:
        return self._renamed(super().sanity, "task")

    @cached_property
    def dynamics(self) -> Arrays:
        found = super().dynamics
        named = {"tasks": np.array([self._new(task) for task in found.get("tasks", [])], dtype=str)}
        return found | named if found else found

    @cached_property
    def paths(self) -> dict[str, Arrays]:
        return {self._new(task): parts for task, parts in super().paths.items()}

    @cached_property
    def examples(self) -> Examples | None:
        found = super().examples
        return found and replace(found, masks={self._new(task): mask for task, mask in found.masks.items()})

    @cached_property
    def maps(self) -> dict[tuple[str, str], str]:
        return {(method, self._new(task)): file for (method, task), file in super().maps.items()}


def renamed(run: Run, variant: str, experiment: Mapping[str, Any], tasks: Mapping[str, str]) -> Run:
    """The run as one of another experiment.

    Args:
        run: as it was read.
        variant: what it is called there.
        experiment: name, question, baseline and reference.
        tasks: {its own name: name there}, for those that are called otherwise.
    """
    info = {
        **run.info,
        "variant": variant,
        "experiment": dict(experiment),
        "tasks": [{**task, "name": tasks.get(task["name"], task["name"])} for task in run.info["tasks"]],
    }
    return RenamedRun(run.path, info, run.problems, tasks=dict(tasks)) if tasks else replace(run, info=info)
