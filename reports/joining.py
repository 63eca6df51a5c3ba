"""Runs of any folders and experiments as one experiment: what clashes is told apart, nothing is merged in silence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.filters import fields_of
from reports.names import nearest
from reports.reading import Run, read_runs
from reports.renaming import renamed
from reports.wording import Say

ROLES = ("baseline", "reference")
# options in which the runs of a variant may differ, for they do not change what a run computes
OWN = {f"config.{name}" for name in ("seeds", "variants", "out", "workers", "sinks", "device")}


@dataclass(frozen=True)
class Origin:
    """Where a variant comes from; the folder is named only where one experiment's folders are kept apart."""

    experiment: str
    folder: str
    variant: str

    def called(self, several: bool) -> str:
        """Its name among variants of several experiments, or of one."""
        return "/".join([self.experiment] * several + [self.folder] * bool(self.folder) + [self.variant])


def gathered(folders: str | Path | Iterable[str | Path]) -> list[Run]:
    """Every run at any depth of the folders, each directory once, by experiment, variant and seed.

    Experiments keep the order in which the folders name them.

    Raises:
        ValueError: a folder is not there or holds no run.

    >>> gathered([])
    Traceback (most recent call last):
    ValueError: no run directory: give at least one folder
    """
    given = [folders] if isinstance(folders, str | Path) else list(folders)
    if not given:
        raise ValueError("no run directory: give at least one folder")
    different: dict[Path, Run] = {}
    for folder in given:
        for run in read_runs(folder):
            different.setdefault(run.path.resolve(), run)
    order = list(dict.fromkeys(map(_experiment, different.values())))
    return sorted(different.values(), key=lambda run: (order.index(_experiment(run)), run.variant, run.seed))


def joined(
    runs: Sequence[Run], say: Say, *, baseline: str | None = None, reference: str | None = None
) -> tuple[list[Run], list[str]]:
    """The runs as those of one experiment, and what a reader must know of how they came together.

    - Of several experiments, a variant is called ``experiment/variant``; tasks of one name, the same classes and
      metrics are one task, others are told apart as ``task (experiment)``.
    - Where finished runs of one experiment, variant and seed lie in several folders, that experiment's variants are
      called ``folder/variant``, so that no two runs are taken for one seed. In one folder the first counts, and the
      others are set aside with a remark.

    Args:
        runs: of any experiments.
        say: the texts of the warnings.
        baseline, reference: the variants with these roles, by the names above; where None that of the experiment, or
            none where there are several.

    Raises:
        ValueError: two names that cannot be told apart, or a role that no finished run has.
    """
    experiments = list(dict.fromkeys(map(_experiment, runs)))
    folders = _folders_apart(runs)
    warnings = [
        say("compare.apart", experiment=name, folders=say.joined(sorted(set(of.values()))))
        for name, of in folders.items()
    ]
    names: dict[str, Origin] = {}
    called = []
    for run in runs:
        folder = folders.get(_experiment(run), {}).get(run.path.resolve().parent, "")
        origin = Origin(_experiment(run), folder, run.variant)
        called.append(origin.called(several=len(experiments) > 1))
        if names.setdefault(called[-1], origin) != origin:
            raise ValueError(
                f"two different variants would be called '{called[-1]}'; compare them in two reports"
            )
    warnings += _option_warnings(runs, called, say)
    roles: dict[str, str | None] = {}
    for role, wanted in zip(ROLES, (baseline, reference), strict=True):
        roles[role], told = _role(role, wanted, runs, called, say)
        warnings += told
    tasks = _tasks_apart(runs)
    if tasks:
        told_apart = [name for of in tasks.values() for name in of.values()]
        warnings.append(say("compare.tasks_apart", tasks=say.joined(list(dict.fromkeys(told_apart)))))
    whole = {"name": " + ".join(experiments), "question": _question(runs, experiments), **roles}
    found = [
        renamed(run, name, whole, tasks.get(_experiment(run), {}))
        for run, name in zip(runs, called, strict=True)
    ]
    set_aside_duplicates(found)
    return found, warnings


def _experiment(run: Run) -> str:
    return str(run.info["experiment"]["name"])


def _question(runs: Sequence[Run], experiments: Sequence[str]) -> str:
    asked = {_experiment(run): str(run.info["experiment"]["question"] or "") for run in reversed(runs)}
    if len(experiments) == 1:
        return asked[experiments[0]]
    return " ".join(f"{name}: {asked[name]}" for name in experiments if asked[name])


def _folders_apart(runs: Sequence[Run]) -> dict[str, dict[Path, str]]:
    """{experiment: {folder: its name}} for experiments of which several folders hold the same variant and seed."""
    apart: dict[str, dict[Path, str]] = {}
    seen: dict[tuple[str, str, int], Path] = {}
    for run in runs:
        if run.status == "done":
            folder = run.path.resolve().parent
            if seen.setdefault((_experiment(run), run.variant, run.seed), folder) != folder:
                apart[_experiment(run)] = {}
    for experiment in apart:
        folders = dict.fromkeys(run.path.resolve().parent for run in runs if _experiment(run) == experiment)
        apart[experiment] = dict(zip(folders, _distinct(list(folders)), strict=True))
    return apart


def _distinct(folders: Sequence[Path]) -> list[str]:
    """Names for folders: what is left without the parts that all of them begin and end with, but at least one part.

    >>> _distinct([Path("/x/old/digits"), Path("/x/new/digits")]), _distinct([Path("/x"), Path("/x/again")])
    (['old', 'new'], ['x', 'x/again'])
    """
    parts = [folder.parts for folder in folders]
    head = min(_alike(parts), min(map(len, parts)) - 1)
    ends = [own[head:][::-1] for own in parts]
    tail = min(_alike(ends), min(map(len, ends)) - 1)
    return ["/".join(own[head : len(own) - tail]) for own in parts]


def _alike(rows: Sequence[Sequence[str]]) -> int:
    """How many parts all of them begin with."""
    return next(
        (i for i, column in enumerate(zip(*rows, strict=False)) if len(set(column)) > 1), min(map(len, rows))
    )


def _role(
    role: str, wanted: str | None, runs: Sequence[Run], called: Sequence[str], say: Say
) -> tuple[str | None, list[str]]:
    """The variant with this role, by its name in the report, and a warning where several have it."""
    finished = list(
        dict.fromkeys(name for run, name in zip(runs, called, strict=True) if run.status == "done")
    )
    if wanted is not None:
        if wanted not in finished:
            which = "has no finished run" if wanted in called else "is no variant of these runs"
            raise ValueError(f"{role} '{wanted}' {which}; {nearest(wanted, finished)}")
        return wanted, []
    declared = {
        name: None
        for run, name in zip(runs, called, strict=True)
        if run.variant == run.info["experiment"][role]
    }
    able = [name for name in declared if name in finished] or list(declared)
    if len(able) < 2:
        return next(iter(able), None), []
    return None, [say(f"compare.several_{role}s", which=say.joined(able))]


def _tasks_apart(runs: Sequence[Run]) -> dict[str, dict[str, str]]:
    """{experiment: {task: its name in the report}} for tasks that are not the same in all experiments."""
    kinds: dict[str, dict[str, set[Any]]] = {}
    for run in runs:
        for task in run.info["tasks"]:
            kinds.setdefault(task["name"], {}).setdefault(_experiment(run), set()).add(_kind(task))
    apart: dict[str, dict[str, str]] = {}
    for task, by_experiment in kinds.items():
        alike: dict[frozenset[Any], list[str]] = {}
        for experiment, own in by_experiment.items():
            alike.setdefault(frozenset(own), []).append(experiment)
        for experiments in alike.values() if len(alike) > 1 else ():
            name = f"{task} ({', '.join(experiments)})"
            if name in kinds:
                raise ValueError(f"two different tasks would be called '{name}'; compare them in two reports")
            for experiment in experiments:
                apart.setdefault(experiment, {})[task] = name
    return apart


def _kind(task: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes two tasks of one name the same: the classes, and the metrics with unit and direction."""
    metrics = tuple((str(m["name"]), str(m["unit"]), bool(m["higher_is_better"])) for m in task["metrics"])
    return tuple(map(str, task.get("classes") or ())), metrics


def _option_warnings(runs: Sequence[Run], called: Sequence[str], say: Say) -> list[str]:
    """A warning for each variant whose runs differ in more than the seed."""
    own: dict[str, list[dict[str, Any]]] = {}
    for run, name in zip(runs, called, strict=True):
        if run.status == "done":
            options = {key: value for key, value in fields_of(run).items() if key.startswith("config.")}
            own.setdefault(name, []).append(options)
    warnings = []
    for name, rows in own.items():
        keys = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in OWN]
        different = [
            f"{key.removeprefix('config.')} ({', '.join(values)})"
            for key in keys
            if len(values := list(dict.fromkeys(_short(row.get(key)) for row in rows))) > 1
        ]
        if different:
            warnings.append(
                say("compare.options", variant=name, options=say("words.semicolon").join(different))
            )
    return warnings


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def set_aside_duplicates(runs: Sequence[Run]) -> None:
    """Mark the runs that have the experiment, variant and seed of another: of several the first finished one counts."""
    first: dict[tuple[str, str, int], Run] = {}
    for run in sorted(runs, key=lambda run: run.info["status"] != "done"):  # stable: else by path
        key = (run.info["experiment"]["name"], run.variant, run.seed)
        original = first.setdefault(key, run)
        if original is not run and run.info["status"] == "done":
            run.original = original.name
            run.problems.add("duplicate", other=run.original)
