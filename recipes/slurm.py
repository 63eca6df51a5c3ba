"""``--slurm``: a recipe's runs, or the workers of a sweep, as a job array on a Slurm cluster through submitit.

Nothing but words and paths goes into a job: submitit queues an interrupted job again with its old pickle.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from recipes.command_line import flags, parse, refuse_name_clash, say
from recipes.config import UsageError, at_least
from recipes.signals import interruptible

DOC = """Options of --slurm, which goes with a recipe or a sweep and sends it to a Slurm cluster as a job array:

python -m recipes RECIPE --slurm [--slurm.partition NAME ...] [the recipe's options]
python -m recipes sweep RECIPE --slurm [--slurm.tasks 8 ...] [the sweep's options]

The output folder and the storage must lie where every node sees them. The logs are in OUT/slurm.
"""
STOP_S = 60  # what a command gets to end its runs when Slurm's time is up


@dataclass(frozen=True)
class Slurm:
    """What to ask Slurm for."""

    partition: str = ""
    """Partition; empty: the cluster's default."""
    minutes: int = 60
    """Time limit of each task; an interrupted one is queued again, and continues."""
    gpus: int = 0
    """GPUs of each task."""
    cpus: int = 1
    """Cores of each task."""
    memory_gib: int = 4
    """Memory of each task."""
    tasks: int = 0
    """Tasks of the array; 0: one for each run of a recipe, four for a sweep."""
    cluster: Literal["slurm", "local", "debug"] = "slurm"
    """local and debug run the tasks on this machine, to try a command."""

    def __post_init__(self) -> None:
        at_least(self, 1, "minutes", "cpus", "memory_gib")
        at_least(self, 0, "gpus", "tasks")


@dataclass(frozen=True)
class _Flags:
    slurm: Slurm = field(default_factory=Slurm)


class Command:
    """``python -m recipes WORDS`` as submitit's callable; queued again, it is the same words."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        self._process = subprocess.Popen([sys.executable, "-m", "recipes", *self.words])
        status = self._process.wait()
        if status != 0:
            raise RuntimeError(
                f"python -m recipes {' '.join(self.words)} ended with status {status}; see above"
            )
        return status

    def checkpoint(self) -> Any:
        """End the command so that it can be continued; called by submitit shortly before Slurm's limit."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return DelayedSubmission(Command(self.words))


def submit(arguments: Sequence[str]) -> int:
    """Submit ``RECIPE ... --slurm ...`` or ``sweep RECIPE ... --slurm ...`` as a job array; the exit status.

    Raises:
        UsageError: no submitit, no Slurm here, or a command that is wrong itself: it is checked before.
    """
    words = [word for word in arguments if word != "--slurm"]
    found, rest = flags(_Flags, words, "python -m recipes RECIPE --slurm", DOC, others=True)
    refuse_name_clash()
    options = found.slurm
    executor_kind = _submitit(options)
    commands, out = (_sweep if rest[0] == "sweep" else _recipe)(rest, options)
    executor = executor_kind(folder=str(out / "slurm" / "%j"), cluster=options.cluster)
    executor.update_parameters(
        name="candelabra",
        timeout_min=options.minutes,
        tasks_per_node=1,
        cpus_per_task=options.cpus,
        gpus_per_node=options.gpus,
        mem_gb=options.memory_gib,
        **({"slurm_partition": options.partition} if options.partition else {}),
        **({"slurm_signal_delay_s": STOP_S + 60} if options.cluster == "slurm" else {}),
    )
    try:
        jobs = executor.map_array(_call, [Command(command) for command in commands])
    except Exception as error:  # sbatch's words, whatever submitit makes of them
        raise UsageError(f"Slurm refused the job: {' '.join(str(error).split())[:300]}") from error
    say(
        f"{len(jobs)} tasks submitted: {', '.join(str(job.job_id) for job in jobs[:3])}{' ...' * (len(jobs) > 3)}"
    )
    say(f"logs: {out / 'slurm'}; results: {out}")
    if options.cluster == "slurm":
        return 0
    failed = [job for job in jobs if job.exception() is not None]  # waits for each
    for job in failed:
        say(f"task {job.job_id} failed; see {job.paths.stderr}")
    return int(bool(failed))


def main(arguments: list[str]) -> int:
    """``slurm OUT TASK TASKS``: one task's share of a recipe's runs; what a job of `submit` calls.

    A run that is done is left alone; one that was interrupted is resumed.

    Raises:
        UsageError: OUT is not the folder of an experiment.
    """
    if len(arguments) != 3 or not all(word.isdigit() for word in arguments[1:]):
        flags(_Flags, ["--help"], "python -m recipes RECIPE --slurm", DOC)
    from recipes.experiment import load_experiment
    from recipes.resume import continued, status_of
    from recipes.runner import jobs_of, run_jobs

    out, task, tasks = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    recipe, options = load_experiment(out)
    with interruptible():
        mine = jobs_of(recipe, options, ["python", "-m", "recipes", "slurm", *arguments])[task::tasks]
        left = [continued(job) for job in mine if status_of(job.folder) != "done"]
        return run_jobs(left, 1, out, say) if left else 0


def _sweep(words: list[str], options: Slurm) -> tuple[list[list[str]], Path]:
    """The same sweep command for every task, and its folder; checked as on this machine."""
    from recipes.sweep.plan import plan_of

    plan = plan_of(words[1:])
    own = [] if any(word.partition("=")[0] == "--workers" for word in words) else ["--workers", "1"]
    return [[*words, *own]] * (options.tasks or 4), plan.out


def _recipe(words: list[str], options: Slurm) -> tuple[list[list[str]], Path]:
    """A command for each task, and the folder that tells them what to run."""
    from recipes.experiment import save_experiment
    from recipes.runner import check, jobs_of, refuse_non_empty

    name = words[0]
    found, _ = parse(name, words[1:])
    command = ["python", "-m", "recipes", *words]
    runs = len(jobs_of(name, found, command))
    check(found)
    refuse_non_empty(found.out)
    save_experiment(found.out, name, found, command)
    tasks = min(options.tasks or runs, runs)
    return [["slurm", str(found.out), str(task), str(tasks)] for task in range(tasks)], found.out


def _submitit(options: Slurm) -> Any:
    try:
        import submitit
    except ImportError as error:
        raise UsageError("--slurm needs submitit: pip install 'candelabra[slurm]'") from error
    if options.cluster == "slurm" and shutil.which("sbatch") is None:
        raise UsageError(
            "--slurm: there is no sbatch here; run this on a login node, or try --slurm.cluster local"
        )
    return submitit.AutoExecutor


def _call(command: Command) -> int:
    return command()
