"""``python -m recipes resume RUN``: go on with the unfinished runs of an experiment, or with one run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.config import UsageError, load_yaml, nearest
from recipes.experiment import FILE, load_experiment, options_of, plain_options, save_experiment
from recipes.ranks import is_first
from recipes.workers import cores

if TYPE_CHECKING:
    from recipes.runner import Job

USAGE = """usage: python -m recipes resume RUN [--allow-change NAME ...] [options]

RUN is the folder of an experiment (all its runs that are not done, also those never started) or of one run. They
continue from their last checkpoint, in the same folder, with the options they were started with; then the report is
written anew. Options of the recipe may be given where they are the same as before; one that differs must be allowed by
name: --lr 1e-3 --allow-change lr. --workers may always differ.
"""
NOT_ASKED = ("workers",)  # how the runs are run, not what they compute
FIXED = ("out",)


def main(arguments: list[str]) -> int:
    """The command; returns the exit status (0: also where nothing is left to do; 1 a run failed).

    Raises:
        UsageError: no such folder, a damaged ``run.json``, a run that runs still, options that may not differ.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    folder, allowed, flags = _split(arguments)
    jobs, out = _unfinished(folder, allowed, flags, ("python", "-m", "recipes", "resume", *arguments))
    from recipes.command_line import refuse_name_clash, say
    from recipes.runner import check, run_jobs, write_report
    from recipes.signals import interruptible

    refuse_name_clash()
    if not jobs:
        say(f"nothing to resume in {folder}: every run is done")
        if not (out / "report.html").exists():
            write_report(out, say)
        return 0
    check(jobs[0].options)
    with interruptible():
        return run_jobs(jobs, jobs[0].options.workers, out, say)


def _split(arguments: list[str]) -> tuple[Path, tuple[str, ...], list[str]]:
    """The folder, the names after ``--allow-change``, and the recipe's flags."""
    if arguments[0].startswith("-"):
        raise UsageError(f"resume needs the folder of an experiment or a run first, got {arguments[0]}")
    allowed: list[str] = []
    flags: list[str] = []
    into = flags
    for word in arguments[1:]:
        name, equals, value = word.partition("=")
        if name == "--allow-change":
            into = flags if equals else allowed
            allowed += [value] if equals else []
        elif word.startswith("--"):
            into = flags
            flags.append(word)
        else:
            into.append(word)
    return Path(arguments[0]), tuple(name.replace("-", "_") for name in allowed), flags


def _unfinished(
    folder: Path, allowed: tuple[str, ...], flags: list[str], command: tuple[str, ...]
) -> tuple[list[Job], Path]:
    """The jobs that are left, and the folder of their report."""
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}; give the folder of an experiment or of a run")
    if (folder / FILE).is_file():
        return _of_experiment(folder, allowed, flags, command), folder
    if (folder / "run.json").is_file():
        return list(_of_runs([folder], allowed, flags, command)), folder.parent
    runs = [file.parent for file in sorted(folder.rglob("run.json"))]
    if not runs:
        raise UsageError(f"no run in {folder}: expected {FILE} (an experiment) or run.json (a run)")
    return list(_of_runs(runs, allowed, flags, command)), folder


def _of_experiment(
    folder: Path, allowed: tuple[str, ...], flags: list[str], command: tuple[str, ...]
) -> list[Job]:
    from importlib import import_module

    recipe, asked = load_experiment(folder)
    options = _options(recipe, asked, allowed, flags)
    variants = import_module(f"recipes.{recipe}").variants(options)
    runs = {(v, s): folder / f"{v}--s{s}" for s in options.seeds for v in variants}
    left = [(key, run) for key, run in runs.items() if status_of(run) != "done"]
    if left and options != asked and is_first():
        save_experiment(folder, recipe, options, command)
    return [_job(recipe, options, *key, run, allowed, command) for key, run in left]


def _of_runs(
    folders: list[Path], allowed: tuple[str, ...], flags: list[str], command: tuple[str, ...]
) -> Iterator[Job]:
    """Each from its own ``config.yaml`` and ``run.json``."""
    for folder in folders:
        if status_of(folder) == "done":
            continue
        info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        try:
            recipe, seed = str(info["experiment"]["name"]), int(info["seed"])
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{folder / 'run.json'} is damaged: no {error}") from error
        kind = type(options_of(recipe, {}, str(folder / "run.json")))
        asked = dataclasses.replace(load_yaml(folder / "config.yaml", kind), out=folder.parent)
        options = _options(recipe, asked, allowed, flags, fixed=("seeds", "variants"))
        yield _job(recipe, options, options.variants[0], seed, folder, allowed, command)


def _job(
    recipe: str,
    options: Any,
    variant: str,
    seed: int,
    folder: Path,
    allowed: tuple[str, ...],
    command: tuple[str, ...],
) -> Job:
    from mtl.training.asked import CHANGES
    from recipes.runner import Job

    # an option of the recipe may decide about several of fit's; what differs was allowed by its name
    changes = tuple(CHANGES) if allowed else ()
    return continued(Job(recipe, options, variant, seed, folder, 0, command, allow_change=changes))


def continued(job: Job) -> Job:
    """The job, to go on in its folder: with the name, the tuning budget and, for equal bits, the threads of before."""
    job = dataclasses.replace(job, resume=True)
    if not (job.folder / "run.json").is_file():
        return job
    info = json.loads((job.folder / "run.json").read_text(encoding="utf-8"))
    name, budget = str(info.get("variant", job.variant)), str(info.get("tuning_budget", ""))
    threads = info.get("hardware", {}).get("threads", job.threads)
    return dataclasses.replace(
        job, label="" if name == job.variant else name, tuning=budget, threads=min(threads, cores())
    )


def _options(
    recipe: str, asked: Any, allowed: tuple[str, ...], flags: list[str], fixed: tuple[str, ...] = ()
) -> Any:
    """The options of before with the flags; what differs must be allowed."""
    from recipes.command_line import parse

    options = parse(recipe, flags, start=asked, program="resume RUN")[0] if flags else asked
    before, now = plain_options(asked), plain_options(options)
    for name in allowed:
        if name not in now:
            raise UsageError(f"--allow-change: {recipe} has no option '{name}'; {nearest(name, now)}")
    differ = [name for name in now if before[name] != now[name] and name not in NOT_ASKED]
    never = [name for name in differ if name in (*FIXED, *fixed)]
    refused = never or [name for name in differ if name not in allowed]
    if refused:
        told = ", ".join(f"{name} was {before[name]}, is {now[name]}" for name in refused)
        advice = "leave it out" if never else f"leave it out, or add --allow-change {' '.join(refused)}"
        raise UsageError(f"resume continues what was asked for, but {told}; {advice}")
    return options


def status_of(folder: Path) -> str:
    """``done``, or another word for a run that is to be resumed.

    Raises:
        UsageError: a damaged ``run.json``, or a run that runs still.
    """
    from reports import sessions

    if not folder.exists():
        return "never started"
    try:
        sessions.unfinished(folder)
    except sessions.DoneError:
        return "done"
    except ValueError as error:
        raise UsageError(str(error)) from error
    return "unfinished"
