"""The training that recipes of several tasks share: one model a task, or one for all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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
    **how: Any,
) -> list[mtl.FitResult]:
    """The trained models of a run: of the variant ``single`` one for each scored task, on the rows that have its label,
    else one for all tasks with the balancer that the variant names.

    Args:
        job: the run; its options hold ``steps``, ``batch_size``, ``lr`` and ``device``.
        run: the open run directory, where records go as they come.
        data: tasks and splits.
        build: the model for these tasks; it is called where the seed is set.
        how: what else `mtl.fit` is to be told.
    """
    single = job.variant == "single"
    groups = [(task,) for task in scored(data.tasks)] if single else [data.tasks]
    results = []
    for tasks in groups:
        names = [task.name for task in tasks]
        result = fit_model(
            job,
            run,
            partial(build, tasks),
            data.train.only(names).labelled(),
            data.validation.only(names).labelled(),
            folder=safe_name(names[0]) if single else "",
            balancer="equal" if single else job.variant,
            **({"dynamics_every": None} if single else {}),
            **how,
        )
        results.append(result)
    return results


def fit_model(
    job: Job,
    run: reports.RunWriter,
    build: Callable[[], mtl.MultiTaskModel],
    train: mtl.TaskData,
    validation: mtl.TaskData,
    *,
    folder: str = "",
    **how: Any,
) -> mtl.FitResult:
    """One trained model of a run, by the options that its recipe shares with others: validated 8 times, with the
    gradients compared at 20 steps.

    Args:
        job, run: as of `fit_models`.
        build: the model; it is called where the seed is set.
        train, validation: its data.
        folder: of its checkpoints, where the run has several models.
        how: what `mtl.fit` is to be told beside, or otherwise.
    """
    options = job.options
    with mtl.seeded(job.seed):
        model = build().to(options.device)
    usual = {
        "steps": options.steps,
        "batch_size": options.batch_size,
        "lr": options.lr,
        "validate_every": max(1, options.steps // 8),
        "dynamics_every": max(1, options.steps // 20),
        "log": run.log,
        "checkpoints": job.folder / "checkpoints" / folder,
        "resume": job.resume,
        "allow_change": job.allow_change,
        "progress": False,
        "seed": job.seed,
    }
    return mtl.fit(model, train, validation, **(usual | how))
