"""What a sweep ends with: which trials are run again, the table of all, the best as a config, and the report."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from recipes.config import dump_yaml, plain
from recipes.sweep.objective import Objective
from recipes.sweep.plan import Plan, describe
from recipes.sweep.trials import Queue, Slot
from recipes.workers import Say


def front(values: Sequence[Sequence[float]], objectives: Sequence[Objective]) -> list[int]:
    """Indices of the points that no other beats in one objective without losing in another.

    Args:
        values: [N][K].
        objectives: K.
    """
    signs = [-1.0 if objective.maximise else 1.0 for objective in objectives]
    points = [tuple(sign * v for sign, v in zip(signs, value, strict=True)) for value in values]
    return [
        i
        for i, point in enumerate(points)
        if not any(
            other != point and all(o <= p for o, p in zip(other, point, strict=True)) for other in points
        )
    ]


def ideal_first(values: Sequence[Sequence[float]], objectives: Sequence[Objective]) -> list[int]:
    """Indices by distance from the best of each objective, each divided by the range of the values; nearest first.

    With one objective that is from the best to the worst.
    """
    distance = [0.0] * len(values)
    for k, objective in enumerate(objectives):
        column = [value[k] for value in values]
        best = max(column) if objective.maximise else min(column)
        spread = (max(column) - min(column)) or 1.0
        distance = [d + ((c - best) / spread) ** 2 for d, c in zip(distance, column, strict=True)]
    return sorted(range(len(values)), key=lambda i: distance[i])


def best_trials(plan: Plan, queue: Queue) -> list[Any]:
    """The ``top`` trials of a variant with different parameters: the best, or of several objectives the front's.

    Of a longer front those come first that are nearest to the best of every objective.
    """
    done = [trial for trial in queue.now() if trial.state.name == "COMPLETE"]
    unique = list({describe_exactly(trial.params): trial for trial in reversed(done)}.values())[::-1]
    if not unique:
        return []
    if len(plan.objectives) > 1:
        on_front = front([trial.values for trial in unique], plan.objectives)
        unique = [unique[i] for i in on_front]
    order = ideal_first([trial.values for trial in unique], plan.objectives)
    return [unique[i] for i in order[: plan.sweep.top]]


def describe_exactly(params: Mapping[str, Any]) -> str:
    return repr(sorted(params.items()))


def rerun_slots(plan: Plan, queues: Mapping[str, Queue]) -> list[Slot]:
    """One slot for each of the best trials and each fresh seed; the same list for every worker."""
    jobs = [
        {
            "variant": variant,
            "rank": rank,
            "trial": trial.number,
            "params": {name: plain(value) for name, value in searched(plan, variant, trial).items()},
            "search": list(trial.values),
        }
        for variant, queue in queues.items()
        for rank, trial in enumerate(best_trials(plan, queue), 1)
    ]
    return [Slot(notes={"job": {**job, "seed": seed}}) for seed in plan.fresh_seeds for job in jobs]


def searched(plan: Plan, variant: str, trial: Any) -> dict[str, Any]:
    """A finished trial's parameters as the recipe's options know them."""

    class Fixed:
        """Gives back what the trial had."""

        def suggest_int(self, name: str, *_: Any, **__: Any) -> Any:
            return trial.params[name]

        suggest_float = suggest_categorical = suggest_int

    return {name: dimension.suggest(Fixed(), name) for name, dimension in plan.space.of(variant).items()}


def finish(plan: Plan, queues: Mapping[str, Queue], again: Queue, say: Say) -> int:
    """Write trials.csv, best.yaml and report.html, and say what is best; the exit status."""
    import reports

    _write(plan.out / "trials.csv", lambda file: write_table(plan, queues, again, file))
    say(f"trials: {plan.out / 'trials.csv'}")
    status = 0
    for variant, queue in queues.items():
        states = [trial.state.name for trial in queue.now()]
        if "COMPLETE" not in states:
            say(f"{variant}: none of its {len(states)} trials was completed; see their run directories")
            status = 1
    runs = [trial for trial in again.now() if trial.state.name == "COMPLETE"]
    if len(runs) < len(again.slots):
        say(f"{len(again.slots) - len(runs)} of {len(again.slots)} re-runs failed")
        status = 1
    if not runs:
        return 1
    _set_lost_apart(plan, again)
    best = _say_best(plan, runs, say)
    _write(plan.out / "best.yaml", lambda file: file.write_text(best, encoding="utf-8"))
    say(
        f"best: {plan.out / 'best.yaml'}    (python -m recipes {plan.recipe} --config {plan.out / 'best.yaml'})"
    )
    page = plan.out / "report.html"
    try:
        _write(page, lambda file: reports.build(plan.out / "reruns", file))
    except ValueError as error:  # the re-runs lie on other machines
        say(f"no report: {error}")
        return status
    say(f"report of the re-runs: {page}")
    return status


def _say_best(plan: Plan, runs: Sequence[Any], say: Say) -> str:
    """The means over fresh seeds beside the search's values, a line for each; the best as YAML."""
    groups: dict[tuple[str, int], list[Any]] = {}
    for trial in runs:
        job = trial.user_attrs["job"]
        groups.setdefault((job["variant"], job["rank"]), []).append(trial)
    means = [
        [fmean(column) for column in zip(*(t.values for t in group), strict=True)]
        for group in groups.values()
    ]
    lines = []
    for ((variant, rank), group), mean in zip(groups.items(), means, strict=True):
        job = group[0].user_attrs["job"]
        scores = "; ".join(
            f"{objective.text} {value:.5g} over {len(group)} fresh seeds ({found:.5g} in the search)"
            for objective, value, found in zip(plan.objectives, mean, job["search"], strict=True)
        )
        lines.append(f"{variant}{'' if rank == 1 else f' #{rank}'}, {describe(job['params'])}: {scores}")
    order = ideal_first(means, plan.objectives)
    for i in order:
        say(lines[i])
    job = list(groups.values())[order[0]][0].user_attrs["job"]
    params = {name: tuple(v) if isinstance(v, list) else v for name, v in job["params"].items()}
    options = dataclasses.replace(
        plan.options,
        **params,
        variants=(job["variant"],),
        seeds=tuple(plan.fresh_seeds),
        out=plan.out / "best",
        workers=0,
    )
    how = "of the sweep" if len(plan.objectives) == 1 else "nearest to the best of every objective"
    return f"# The best {how}: {lines[order[0]]}\n# {plan.budget(job['variant'])}\n{dump_yaml(options)}"


def write_table(plan: Plan, queues: Mapping[str, Queue], again: Queue, file: Path) -> None:
    """Every trial and every re-run that counts, one row each, as CSV."""
    names = list(dict.fromkeys(name for variant in queues for name in plan.space.of(variant)))
    texts = [objective.text for objective in plan.objectives]
    head = [
        "stage",
        "variant",
        "trial",
        "seed",
        "state",
        "seconds",
        "folder",
        "attempts",
        *texts,
        "on_front",
        *names,
        "why",
    ]
    with file.open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, head, lineterminator="\n")
        table.writeheader()
        for variant, queue in queues.items():
            trials = queue.now()
            done = [trial for trial in trials if trial.state.name == "COMPLETE"]
            first = {done[i].number for i in front([trial.values for trial in done], plan.objectives)}
            for trial in trials:
                row = _row(trial, texts) | {
                    "stage": "search",
                    "variant": variant,
                    "seed": plan.options.seeds[0],
                }
                if trial.state.name == "COMPLETE":
                    row["on_front"] = "yes" if trial.number in first else "no"
                table.writerow(row | {name: _text(value) for name, value in trial.params.items()})
        for trial in again.now():
            job = trial.user_attrs["job"]
            label = job["variant"] if job["rank"] == 1 else f"{job['variant']} #{job['rank']}"
            row = _row(trial, texts) | {"stage": "rerun", "variant": label, "seed": job["seed"]}
            table.writerow(row | {name: _text(value) for name, value in job["params"].items()})


def _row(trial: Any, texts: Iterable[str]) -> dict[str, Any]:
    notes = trial.user_attrs
    return {
        "trial": trial.number,
        "state": {"COMPLETE": "done", "PRUNED": "pruned", "FAIL": "failed"}.get(
            trial.state.name, "unfinished"
        ),
        "seconds": f"{trial.duration.total_seconds():.1f}" if trial.duration else "",
        "folder": notes.get("folder", ""),
        "attempts": notes.get("attempt", 1),
        "why": notes.get("why", ""),
        **dict(zip(texts, trial.values or [], strict=False)),
    }


def _text(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


def _set_lost_apart(plan: Plan, again: Queue) -> None:
    """Folders of re-runs whose worker was gone, out of the report's way: their slots were run again."""
    counts = {trial.user_attrs.get("folder") for trial in again.now()}
    for folder in (plan.out / "reruns").glob("*"):
        if (folder / "run.json").exists() and str(folder.relative_to(plan.out)) not in counts:
            target = plan.out / "lost" / folder.name
            target.parent.mkdir(exist_ok=True)
            try:
                folder.rename(target)
            except OSError:  # another worker was faster
                continue


def _write(file: Path, write: Any) -> None:
    """Whole or not at all, by any number of workers at the same time."""
    temporary = file.with_name(f".{file.stem}-{os.getpid()}{file.suffix}")
    write(temporary)
    temporary.replace(file)
