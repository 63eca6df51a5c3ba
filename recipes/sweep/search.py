"""The work of a sweep: trials of every variant, then the best again with fresh seeds; any number of workers."""

from __future__ import annotations

import dataclasses
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipes.config import UsageError
from recipes.runner import refuse_non_empty
from recipes.sweep.left import left_behind, resumed
from recipes.sweep.objective import Objective, history, score
from recipes.sweep.plan import JOURNAL, Plan, describe
from recipes.sweep.storage import Pulse, connect, reachable
from recipes.sweep.trials import Queue, Slot, agree
from recipes.workers import Job, Pool, Running, Say, cores
from reports.files import write_json

POLL_S = 0.5  # between looks at the storage
PRUNE_S = 0.2  # between looks at the running trials' scores, where there is a pruner
OWN = ("sweep.", "slurm")  # what may lie in a new output folder: the journal, this mark, the logs of Slurm
RECOVER_S = 2.0  # between looks for trials whose worker is gone


@dataclass
class Claim:
    """A trial of this worker, and how far its scores were reported."""

    queue: Queue
    trial: Any
    params: dict[str, Any]
    reported: int = -1
    read: int = 0
    pruned: str = ""


@dataclass
class Stage:
    """Queues of trials, and how one is run."""

    queues: Mapping[str, Queue]
    job: Callable[[str, Any], tuple[Job, dict[str, Any]]]
    """(queue's name, Optuna trial) -> the job, and the parameters to show."""
    objectives: tuple[Objective, ...]
    out: Path
    seed: int
    sampler: str = "random"
    prune: bool = False
    claims: dict[Running, Claim] = field(default_factory=dict)

    def open(self) -> bool:
        return any(queue.open() for queue in self.queues.values())


def search(plan: Plan, say: Say) -> int:
    """Do this worker's share of a sweep, to the end of the whole sweep; the exit status.

    Args:
        plan: what to do.
        say: gets one line for each trial that ended, and for the results.

    Raises:
        UsageError: a storage that cannot be reached or holds a sweep with other settings; an output folder with
            something else in it; an objective that the runs do not log.
    """
    from recipes.sweep.results import finish, rerun_slots

    url = plan.sweep.storage or str(plan.out / JOURNAL)
    _check_folder(plan)
    storage = connect(url)
    with reachable(url):
        queues = {variant: _queue(plan, storage, url, variant) for variant in plan.variants}
        pulse = Pulse(queues[plan.variants[0]].study, plan.sweep.lost_after)
        workers = plan.sweep.workers or cores()
        for variant in plan.variants:
            say(f"tuning budget of {variant}: {plan.budget(variant)}")
        stage = Stage(
            queues,
            lambda variant, trial: trial_job(plan, variant, trial),
            plan.objectives,
            plan.out,
            plan.sweep.sampler_seed,
            plan.sweep.sampler,
            plan.sweep.pruner != "none",
        )
        run_stage(stage, pulse, workers, say)
        slots = rerun_slots(plan, queues)
        again = Queue(_study(plan, storage, "reruns"), storage, slots, plan.settings())
        again.fill()
        stage = Stage({"rerun": again}, lambda _, trial: rerun_job(plan, trial), plan.objectives, plan.out, 0)
        run_stage(stage, pulse, workers, say)
        return finish(plan, queues, again, say)


def run_stage(stage: Stage, pulse: Pulse, workers: int, say: Say) -> None:
    """Work until every slot of the stage is done, by this worker or another."""
    recovered = looked = float("-inf")
    with Pool() as pool:
        try:
            while True:
                pulse.beat()
                if time.monotonic() - recovered > RECOVER_S:
                    recovered = time.monotonic()
                    _recover(stage, pulse, say)
                if len(pool.running) < workers and time.monotonic() - looked > POLL_S:
                    while len(pool.running) < workers and _start_next(stage, pool, pulse, say):
                        pass
                    looked = time.monotonic()
                    if not pool.running and not stage.open():
                        return
                for run in pool.ended(PRUNE_S if stage.prune else POLL_S):
                    _settle(stage, run, say)
                    looked = float("-inf")
                if stage.prune:
                    _prune(stage, pool)
        except KeyboardInterrupt:
            pool.end()
            for claim in stage.claims.values():
                values = _rescued(stage, claim.trial)
                if values is None:
                    claim.queue.lose(claim.trial.number, "interrupted", killed=False)
                else:
                    claim.queue.tell(claim.trial.number, "COMPLETE", values)
            say("interrupted: the finished trials are kept; the same command continues")
            raise


def trial_job(plan: Plan, variant: str, trial: Any) -> tuple[Job, dict[str, Any]]:
    """A trial's run: the recipe's options with the sampler's values."""
    params = {name: dimension.suggest(trial, name) for name, dimension in plan.space.of(variant).items()}
    options = dataclasses.replace(plan.options, **params)
    folder = plan.out / "trials" / f"{variant}--t{trial.number:04d}"
    return _job(plan, options, variant, plan.options.seeds[0], folder), params


def rerun_job(plan: Plan, trial: Any) -> tuple[Job, dict[str, Any]]:
    """The run of one of the best with a fresh seed."""
    notes, attempt = trial.user_attrs["job"], trial.user_attrs["attempt"]
    params = {name: tuple(v) if isinstance(v, list) else v for name, v in notes["params"].items()}
    variant, seed, rank = notes["variant"], notes["seed"], notes["rank"]
    label = variant if rank == 1 else f"{variant} #{rank}"
    name = f"{variant}{'' if rank == 1 else f'-{rank}'}--s{seed}{'' if attempt == 1 else f'--again{attempt - 1}'}"
    job = _job(plan, dataclasses.replace(plan.options, **params), variant, seed, plan.out / "reruns" / name)
    return dataclasses.replace(job, label=label), {"variant": label, "seed": seed}


def _job(plan: Plan, options: Any, variant: str, seed: int, folder: Path) -> Job:
    threads = max(1, cores() // (plan.sweep.workers or cores()))
    return Job(
        plan.recipe, options, variant, seed, folder, threads, plan.command, tuning=plan.budget(variant)
    )


def _recover(stage: Stage, pulse: Pulse, say: Say) -> None:
    """Take over the trials of workers that are gone."""
    beats = pulse.beats()
    for name, queue in stage.queues.items():
        taken = queue.recover(
            lambda worker: pulse.gone(worker, beats),
            lambda trial: _rescued(stage, trial),
            lambda trial: _read(stage.out / trial.user_attrs.get("folder", "none")) is not None,
        )
        for line in taken:
            say(f"{name}, {line}")


def _start_next(stage: Stage, pool: Pool, pulse: Pulse, say: Say) -> bool:
    """Claim and start the next waiting trial, the variants in turn; False where none waits."""
    waiting = [
        (trial.user_attrs["slot"], i, name, trial)
        for i, (name, queue) in enumerate(stage.queues.items())
        for trial in queue.waiting()
    ]
    for slot, _, name, found in sorted(waiting, key=lambda entry: entry[:2]):
        queue, left = stage.queues[name], left_behind(found, stage.out)
        if left == "alive":  # it ends within a moment, with a checkpoint
            continue
        queue.study.sampler = _sampler(stage.sampler, random.Random(f"{stage.seed} {slot}").getrandbits(32))
        trial = queue.claim(found, pulse.me)
        if trial is None:
            continue
        try:
            job, params = stage.job(name, trial)
        except UsageError as error:  # these values do not go together
            queue.tell(trial.number, "FAIL", why=str(error))
            say(f"{name}, trial {trial.number}: FAILED: {error}")
            return True
        if left == "resumable":
            job = resumed(job, found, stage.out)
        trial.set_user_attr("folder", str(job.folder.relative_to(stage.out)))
        stage.claims[pool.start(job)] = Claim(queue, trial, params)
        return True
    return False


def _settle(stage: Stage, run: Running, say: Say) -> None:
    """Tell the storage how a run ended; the run directory says it."""
    claim, folder = stage.claims.pop(run), run.job.folder
    number, code = claim.trial.number, run.process.exitcode
    found = _read(folder)
    if found is not None and found.status == "done":
        values = [score(found, objective) for objective in stage.objectives]
        if all(value == value and abs(value) != float("inf") for value in values):
            ended = claim.queue.tell(number, "COMPLETE", values)
            scores = zip(stage.objectives, values, strict=True)
            outcome = ", ".join(f"{objective.text} {value:.5g}" for objective, value in scores)
        else:
            ended, outcome = claim.queue.tell(number, "FAIL", why=f"a score of {values}"), f"FAILED: {values}"
    elif claim.pruned:
        _mark(folder, claim.pruned)
        ended, outcome = claim.queue.tell(number, "PRUNED", why=claim.pruned), claim.pruned
    elif code is not None and (code < 0 or found is None or found.status in ("interrupted", "unfinished")):
        ended = claim.queue.lose(number, run.outcome(), killed=True)
        outcome = f"{run.outcome()}; its turn comes again"
    elif run.job.resume:  # what was left behind may be damaged
        ended = claim.queue.lose(number, run.outcome(), killed=True)
        outcome = f"{run.outcome()}; it begins anew"
    else:
        ended, outcome = claim.queue.tell(number, "FAIL", why=run.outcome()), run.outcome()
    if not ended:
        outcome += "; another worker had taken it over, this result does not count"
    slots = [trial for queue in stage.queues.values() for trial in queue.now()]
    done = sum(trial.state.is_finished() for trial in slots)
    name = f"{run.job.variant}, trial {number} ({describe(claim.params)})"
    say(f"[{done}/{len(slots)}] {name}: {outcome}, {run.seconds:.0f} s")


def _prune(stage: Stage, pool: Pool) -> None:
    """Report what the running trials have logged, and end those that fall behind."""
    for run in pool.running:
        claim, file = stage.claims[run], run.job.folder / "metrics.jsonl"
        size = file.stat().st_size if file.exists() else 0
        if claim.pruned or size == claim.read:
            continue
        claim.read, found = size, _read(run.job.folder)
        for step, value in history(found, stage.objectives[0]) if found is not None else []:
            if step <= claim.reported:
                continue
            claim.reported = step
            claim.trial.report(value, step)
            if claim.trial.should_prune():
                claim.pruned = f"pruned at step {step}: {stage.objectives[0].text} {value:.5g} falls behind"
                pool.interrupt(run)
                break


def _mark(folder: Path, why: str) -> None:
    """Write the reason into the record of a run that was ended by the pruner; its process has ended."""
    file = folder / "run.json"
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
        write_json(file, info | {"status": "interrupted", "error": why, "pruned": True})
    except (OSError, ValueError):
        return  # the storage holds the reason too


def _read(folder: Path) -> Any:
    """The run in a folder, or None where nothing was written yet."""
    import reports

    try:
        return reports.read_run(folder)
    except ValueError:
        return None


def _rescued(stage: Stage, trial: Any) -> list[float] | None:
    """The values of a trial whose run was done before it was told."""
    folder = trial.user_attrs.get("folder")
    found = _read(stage.out / folder) if folder else None
    if found is None or found.status != "done":
        return None
    values = [score(found, objective) for objective in stage.objectives]
    return values if all(value == value for value in values) else None


def _queue(plan: Plan, storage: Any, url: str, variant: str) -> Queue:
    """A variant's queue, filled; refused where the storage's sweep has other settings."""
    study = _study(plan, storage, variant)
    slots = [Slot(point) for point in plan.grids[variant]] if plan.grids else [Slot()] * plan.sweep.trials
    queue = Queue(study, storage, slots, plan.settings())
    theirs = queue.settings()
    if theirs is None and any((plan.out / "trials").glob(f"{variant}--t*")):
        raise UsageError(f"{plan.out} holds trials that {url} does not know; choose another --out")
    if theirs is None:
        queue.fill()
        theirs = queue.settings() or {}
    agree(theirs, plan.settings(), url)
    queue.fill()
    return queue


def _study(plan: Plan, storage: Any, name: str) -> Any:
    import optuna

    pruners = {
        "none": optuna.pruners.NopPruner,
        "median": optuna.pruners.MedianPruner,
        "hyperband": optuna.pruners.HyperbandPruner,
    }
    return optuna.create_study(
        storage=storage,
        study_name=f"{plan.recipe}/{name}",
        directions=["maximize" if objective.maximise else "minimize" for objective in plan.objectives],
        pruner=pruners[plan.sweep.pruner](),
        load_if_exists=True,
    )


def _sampler(name: str, seed: int) -> Any:
    """A fresh one for each trial, seeded by its slot: so no two workers draw the same, in whatever order they come."""
    import optuna

    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
    return optuna.samplers.RandomSampler(seed=seed)


def _check_folder(plan: Plan) -> None:
    """The output folder is new, or this sweep's."""
    mark = plan.out / "sweep.json"
    if mark.exists():
        try:
            theirs = json.loads(mark.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{mark} cannot be read: {error}; choose another --out") from error
        agree(theirs, plan.settings(), str(plan.out))
        return
    if not plan.out.is_dir() or any(not file.name.startswith(OWN) for file in plan.out.iterdir()):
        refuse_non_empty(plan.out)
    write_json(mark, plan.settings())
