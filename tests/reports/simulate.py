"""Experiments whose scores are replaced by drawn ones: the code under test runs as for a page, without files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from reports import read_runs
from reports.tables import Experiment
from tests.reports.make import write_run

Scores = Mapping[tuple[str, str, str], Mapping[int, float]]


def experiment_of(
    root: Path, seeds: Mapping[str, Sequence[int]], tasks: Sequence[str] = ("left", "right")
) -> Experiment:
    """Variants {name: seeds}; the first is the baseline, the second the reference."""
    names = list(seeds)
    roles = {"baseline": names[0], "reference": names[1] if len(names) > 1 else None}
    for variant, numbers in seeds.items():
        for seed in numbers:
            test = {task: {"accuracy": 0.8} for task in tasks}
            write_run(root, variant, seed, test, maps=False, experiment=roles)
    return Experiment(read_runs(root))


def give(experiment: Experiment, scores: Scores) -> Experiment:
    """The experiment with these scores, {(variant, task, metric): {seed: score}}, and nothing computed from others."""
    for name in ("contrasts", "_contrast"):
        experiment.__dict__.pop(name, None)
    experiment.__dict__["_values"] = dict(scores)
    return experiment


def drawn(
    experiment: Experiment,
    rng: np.random.Generator,
    means: Mapping[str, float],
    spread: float = 0.02,
    common: float = 0.0,
) -> Scores:
    """Scores around {variant: mean}; ``common`` is the share of the variance that the variants of a seed share."""
    shared = {(run.seed, t): rng.normal() for run in experiment.done for t in experiment.tasks}
    found: dict[tuple[str, str, str], dict[int, float]] = {}
    for run in experiment.done:
        for task in experiment.tasks:
            own = np.sqrt(1 - common) * rng.normal() + np.sqrt(common) * shared[run.seed, task]
            found.setdefault((run.variant, task, "accuracy"), {})[run.seed] = (
                means[run.variant] + spread * own
            )
    return found
