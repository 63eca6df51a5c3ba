"""The training that recipes of several tasks share: one model a task, or one for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mtl
import reports
from mtl.tasks import scored
from recipes.runner import Job
from reports.rundir import safe_name


def fit_models(
    job: Job,
    run: reports.RunWriter,
    data: mtl.Splits,
    build: Callable[[tuple[mtl.Task, ...]], mtl.MultiTaskModel],
    *,
    checks: int = 8,
    **how: Any,
) -> list[mtl.FitResult]:
    """The trained models of a run: of the variant ``single`` one for each scored task, on the rows that have its label,
    else one for all tasks with the balancer that the variant names.

    Args:
        job: the run; its options hold ``steps``, ``batch_size``, ``lr`` and ``device``.
        run: the open run directory, where records go as they come.
        data: tasks and splits.
        build: the model for these tasks; it is called where the seed is set.
        checks: validations in the whole training.
        how: what else `mtl.fit` is to be told.
    """
    options, single = job.options, job.variant == "single"
    groups = [(task,) for task in scored(data.tasks)] if single else [data.tasks]
    results = []
    for tasks in groups:
        with mtl.seeded(job.seed):
            model = build(tasks).to(options.device)
        names = [task.name for task in tasks]
        result = mtl.fit(
            model,
            data.train.only(names).labelled(),
            data.validation.only(names).labelled(),
            balancer="equal" if single else job.variant,
            steps=options.steps,
            batch_size=options.batch_size,
            lr=options.lr,
            validate_every=max(1, options.steps // checks),
            dynamics_every=None if single else max(1, options.steps // 20),
            log=run.log,
            checkpoints=job.folder / "checkpoints" / (safe_name(names[0]) if single else ""),
            resume=job.resume,
            allow_change=job.allow_change,
            progress=False,
            seed=job.seed,
            **how,
        )
        results.append(result)
    return results
