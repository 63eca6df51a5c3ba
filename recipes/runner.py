"""Variants times seeds of a recipe, each run in its own process, then the report.

The run directory is the only channel between a run and this file: what a run wrote is what happened.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from recipes.config import RunOptions, UsageError, chosen, plain
from recipes.ranks import Silent, is_first, local_processes, run_together, under_torchrun

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Job:
    """One run: a recipe's variant with one seed, written to ``folder``."""

    recipe: str
    options: Any  # the recipe's own Options
    variant: str
    seed: int
    folder: Path
    threads: int
    command: tuple[str, ...]


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
    recipe = import_module(f"recipes.{name}")
    variants = recipe.variants(options)
    _check(options)
    together = under_torchrun()
    if together:
        workers, say = local_processes(), say if is_first() else lambda _: None
    else:
        refuse_non_empty(options.out)
        workers = min(options.workers or cores(), len(variants) * len(options.seeds))
    jobs = [
        Job(
            name,
            options,
            variant,
            seed,
            options.out / f"{variant}--s{seed}",
            max(1, cores() // workers),
            tuple(command),
        )
        for seed in options.seeds
        for variant in variants
    ]
    at_a_time = "each by all processes" if together else f"{workers} at a time"
    say(f"{len(jobs)} runs ({len(variants)} variants x {len(options.seeds)} seeds), {at_a_time}")
    try:
        if together:
            status = run_together(jobs, lambda: refuse_non_empty(options.out), say)
        else:
            status = _run_all(jobs, workers, say)
    except KeyboardInterrupt:
        say("interrupted: the finished runs are kept")
        status = 130
    if not is_first():
        return status
    import reports

    try:
        say(f"report: {reports.build(options.out, out=options.out / 'report.html')}")
    except ValueError as error:  # nothing was written before Ctrl-C
        say(f"no report: {error}")
    return status


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


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check(options: RunOptions) -> None:
    """What only the libraries can judge: the device, and the names of attribution methods."""
    import torch

    import explain

    empty_is_all = not getattr(type(options), "methods", True)  # by the recipe's own default
    if hasattr(options, "methods") and (options.methods or not empty_is_all):
        chosen("methods", options.methods, explain.METHODS)
    try:
        torch.empty(0, device=options.device)
    except (RuntimeError, AssertionError) as error:  # torch raises either, by the kind of device
        reason = str(error).splitlines()[0]
        raise UsageError(f"device '{options.device}' cannot be used here: {reason}") from error


@contextmanager
def run_directory(
    job: Job, data: Any, selection: str, extra_metrics: Sequence[tuple[str, str, bool]] = ()
) -> Iterator[Any]:
    """The run directory of one job, opened with everything that is known before training.

    Args:
        job: the run.
        data: `mtl.data.Splits`.
        selection: the rule by which the checkpoint is chosen, in words.
        extra_metrics: (name, unit, higher is better) of what the recipe logs beyond the tasks' own metrics.
    """
    if not is_first():
        yield Silent()
        return
    import reports

    recipe = import_module(f"recipes.{job.recipe}")
    config = {f.name: plain(getattr(job.options, f.name)) for f in dataclasses.fields(job.options)}
    with reports.RunWriter(
        job.folder,
        experiment={
            "name": job.recipe,
            "question": recipe.QUESTION,
            "baseline": recipe.BASELINE,
            "reference": recipe.REFERENCE,
        },
        variant=job.variant,
        seed=job.seed,
        tasks=[describe(task, extra_metrics) for task in data.tasks],
        config={**config, "seeds": [job.seed], "variants": [job.variant]},
        command=list(job.command),
        data={data.name: f"sha256:{data.fingerprint()}"},
        selection=selection,
        tuning_budget=recipe.TUNING,
        device=_device(job),
    ) as run:
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


def describe(task: Any, extra_metrics: Sequence[tuple[str, str, bool]] = ()) -> dict[str, Any]:
    """A task as the report needs it: name, kind, classes, and metrics with unit and direction."""
    metrics = [(m.name, m.unit, m.higher_is_better, False) for m in task.metrics]
    shown_only = [("loss", task.loss_unit, False), *extra_metrics]  # no part of the relative improvement
    return {
        "name": task.name,
        "kind": task.kind,
        "classes": list(task.class_names),
        "metrics": [
            {"name": name, "unit": unit, "higher_is_better": better, "diagnostic": diagnostic}
            for name, unit, better, diagnostic in [*metrics, *((*m, True) for m in shown_only)]
        ],
    }


def _run_all(jobs: list[Job], workers: int, say: Say) -> int:
    """Keep ``workers`` processes busy until the jobs are done; 1 where one failed."""
    context: Any = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")
    if sys.platform != "win32":
        # the server imports torch once; each run is then a fork of it, with a memory peak of its own
        context.set_forkserver_preload(["torch", "mtl", "explain", "reports"])
    waiting, running, failed, done = list(jobs), dict[BaseProcess, tuple[Job, float]](), 0, 0
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                process = context.Process(target=_work, args=(waiting[0],))
                process.start()
                running[process] = (waiting.pop(0), time.monotonic())
            wait([process.sentinel for process in running])
            for process in [p for p in running if not p.is_alive()]:
                job, start = running.pop(process)
                done += 1
                failed += process.exitcode != 0
                outcome = "done" if process.exitcode == 0 else _failure(job, process.exitcode)
                seconds = time.monotonic() - start
                say(f"[{done}/{len(jobs)}] {job.variant}, seed {job.seed}: {outcome}, {seconds:.0f} s")
    except KeyboardInterrupt:
        for process in running:
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGINT)
        for process in running:
            process.join(timeout=30)
            process.kill()
        raise
    return int(failed > 0)


def _failure(job: Job, exitcode: int | None) -> str:
    """Why a run ended early, as its own directory tells it."""
    import reports

    try:
        error = reports.read_run(job.folder).info.get("error")
    except ValueError:
        error = None
    return f"FAILED: {error or f'the process ended with status {exitcode}'}"


def interrupt_once(*_: object) -> None:
    """A handler of Ctrl-C: the first interrupts, later ones cannot break the clean-up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _work(job: Job) -> None:
    """The inside of a run's process."""
    signal.signal(signal.SIGINT, interrupt_once)
    import torch

    torch.set_num_threads(job.threads)
    try:
        import_module(f"recipes.{job.recipe}").train(job)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # the run directory holds the whole traceback; the runner shows its last line
        if not (job.folder / "run.json").exists():
            sys.stderr.write(f"{job.variant}, seed {job.seed}: {error}\n")
        sys.exit(1)
