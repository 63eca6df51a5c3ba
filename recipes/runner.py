"""Variants times seeds of a recipe, each run in its own process, then the report."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from recipes.config import RunOptions, UsageError, chosen
from recipes.experiment import plain_options, save_experiment
from recipes.ranks import Silent, is_first, local_processes, run_together, under_torchrun
from recipes.signals import exit_status
from recipes.sinks import Sinks
from recipes.workers import Job as Job
from recipes.workers import Say, cores, run_all


def run_recipe(
    name: str, options: RunOptions, *, command: Sequence[str] = (), say: Say = lambda _: None
) -> int:
    """Run all variants and seeds of a recipe and write ``report.html`` beside the run directories.

    Args:
        name: a name in `recipes.RECIPES`.
        options: the recipe's ``Options``.
        command: what was typed, for the record.
        say: gets one line for each finished run and for the report.

    Returns:
        The exit status: 0; 1 where a run failed (the others are kept and reported); 130 after Ctrl-C.

    Raises:
        UsageError: a non-empty output folder, or options that do not fit together.
    """
    jobs = jobs_of(name, options, command)
    check(options)

    def prepare() -> None:
        refuse_non_empty(options.out)
        save_experiment(options.out, name, options, command)

    return run_jobs(jobs, options.workers, options.out, say, prepare)


def jobs_of(name: str, options: RunOptions, command: Sequence[str]) -> list[Job]:
    """A job for each variant and seed.

    Raises:
        UsageError: variants that the recipe does not have.
    """
    variants = import_module(f"recipes.{name}").variants(options)
    return [
        Job(name, options, variant, seed, options.out / f"{variant}--s{seed}", 0, tuple(command))
        for seed in options.seeds
        for variant in variants
    ]


def run_jobs(
    jobs: Sequence[Job],
    workers: int,
    out: Path,
    say: Say,
    prepare: Callable[[], None] = lambda: None,
) -> int:
    """Run jobs, ``workers`` at a time (0: one a core), and write the report of all runs in ``out``.

    Under torchrun its processes do each run together.

    Args:
        jobs: the runs.
        workers: see above.
        out: where the runs are.
        say: gets one line for each finished run and for the report.
        prepare: is called before the first run, by the process that writes.

    Returns:
        The exit status: 0; 1 where a run failed; 130 after Ctrl-C, 143 after SIGTERM.
    """
    together = under_torchrun()
    if together:
        at_once, at_a_time = local_processes(), "each by all processes"
        say = say if is_first() else lambda _: None
    else:
        prepare()
        at_once = min(workers or cores(), len(jobs))
        at_a_time = f"{at_once} at a time"
    share = max(1, cores() // at_once)
    jobs = [dataclasses.replace(job, threads=job.threads or share) for job in jobs]
    variants, seeds = ({getattr(job, name) for job in jobs} for name in ("variant", "seed"))
    whole = f" ({len(variants)} variants x {len(seeds)} seeds)" * (len(jobs) == len(variants) * len(seeds))
    say(f"{len(jobs)} runs{whole}, {at_a_time}")
    try:
        status = run_together(jobs, prepare, say) if together else run_all(jobs, at_once, say)
    except KeyboardInterrupt as interrupt:
        say("interrupted: the finished runs are kept")
        status = exit_status(interrupt)
    if is_first():
        write_report(out, say)
    return status


def write_report(out: Path, say: Say) -> None:
    """Write ``report.html`` over the runs in ``out``; where several do so, the last has seen all of them."""
    import reports

    def seen() -> list[str]:
        return [run.status for run in reports.read_runs(out)]

    page, temporary = out / "report.html", out / f".report-{os.getpid()}.html"
    try:
        while True:
            before = seen()
            reports.build(out, temporary)
            temporary.replace(page)
            if seen() == before:
                break
        say(f"report: {page}")
    except ValueError as error:  # nothing was written before Ctrl-C
        say(f"no report: {error}")


def refuse_non_empty(folder: Path) -> None:
    """Raise unless ``folder`` is absent or an empty folder that can be written to."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; choose another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(
                f"{folder} is not empty; choose another --out, or remove it (nothing was changed)"
            )
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from error


def check(options: RunOptions) -> None:
    """What only the libraries can judge: the device, and the names of attribution methods."""
    import torch

    empty_is_all = not getattr(type(options), "methods", True)  # by the recipe's own default
    if hasattr(options, "methods") and (options.methods or not empty_is_all):
        import explain

        chosen("methods", options.methods, explain.METHODS)
    try:
        torch.empty(0, device=options.device)
    except (RuntimeError, AssertionError) as error:  # torch raises either, by the kind of device
        reason = str(error).splitlines()[0]
        raise UsageError(f"device '{options.device}' cannot be used here: {reason}") from error


@contextmanager
def run_directory(
    job: Job,
    data: Any,
    selection: str,
    extra_metrics: Sequence[tuple[str, str, bool]] = (),
    places: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[Any]:
    """The run directory of one job, opened with everything that is known before training.

    Args:
        job: the run.
        data: `mtl.data.Splits`.
        selection: the rule by which the checkpoint is chosen, in words.
        extra_metrics: (name, unit, higher is better) of what the recipe logs beyond the tasks' own metrics.
        places: {task: ``scale``, ``unit`` and ``value``} where the tasks are points of one scale.
    """
    if not is_first():
        yield Silent()
        return
    import reports

    recipe = import_module(f"recipes.{job.recipe}")
    config = plain_options(job.options)
    sinks = Sinks(job.options.sinks, job.folder, job.recipe, config)
    writer = reports.RunWriter(
        job.folder,
        experiment={
            "name": job.recipe,
            "question": recipe.QUESTION,
            "baseline": recipe.BASELINE,
            "reference": recipe.REFERENCE,
        },
        variant=job.label or job.variant,
        seed=job.seed,
        tasks=[describe(task, extra_metrics, (places or {}).get(task.name)) for task in data.tasks],
        config={**config, "seeds": [job.seed], "variants": [job.variant]},
        command=list(job.command),
        data={data.name: f"sha256:{data.fingerprint()}"},
        selection=selection,
        tuning_budget=job.tuning or recipe.TUNING,
        device=_device(job),
        resume=job.resume,
        listener=sinks.log,
    )
    with sinks, writer as run:  # the writer ends first: then the sinks take its last files
        yield run


def _device(job: Job) -> dict[str, Any]:
    """What the run computes on, for its record."""
    import torch

    device = torch.device(job.options.device)
    name = {"accelerator": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
    processes = {"processes": int(os.environ["WORLD_SIZE"])} if under_torchrun() else {}
    return {"device": str(device), "threads": job.threads, **processes, **name}


class Number(NamedTuple):
    """A metric that a recipe computes itself."""

    name: str
    unit: str
    higher_is_better: bool
    ratio: bool = True


@dataclasses.dataclass(frozen=True)
class Stated:
    """What takes the place of a task where nothing is trained for it."""

    name: str
    metrics: tuple[Number, ...]
    class_names: tuple[str, ...] = ()
    kind: str = "stated"
    loss_unit: str = ""


@dataclasses.dataclass(frozen=True)
class StatedData:
    """The data of such a recipe, as a run directory names it: ``fingerprint`` gives a sha256."""

    name: str
    tasks: tuple[Stated, ...]
    fingerprint: Callable[[], str]


def describe(
    task: Any, extra_metrics: Sequence[tuple[str, str, bool]] = (), at: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A task as the report needs it: name, kind, classes, metrics with unit and direction, its place on a scale."""
    extra = bool(getattr(task, "auxiliary", False))  # trained, and no part of Δm
    metrics = [
        (m.name, m.unit, m.higher_is_better, extra or not (m.ratio or place == 0))
        for place, m in enumerate(task.metrics)
    ]
    shown_only = [("loss", task.loss_unit, False), *extra_metrics]  # no part of the relative improvement
    return {
        "name": task.name,
        "kind": task.kind,
        "classes": list(task.class_names),
        "metrics": [
            {"name": name, "unit": unit, "higher_is_better": better, "diagnostic": diagnostic}
            for name, unit, better, diagnostic in [*metrics, *((*m, True) for m in shown_only)]
        ],
        **({"at": dict(at)} if at else {}),
    }
