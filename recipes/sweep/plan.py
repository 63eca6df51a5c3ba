"""``python -m recipes sweep RECIPE``: search a recipe's options with Optuna, then run the best again, and report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from recipes import RECIPES
from recipes.command_line import flags, parse, recipe_options, refuse_name_clash, say
from recipes.config import RunOptions, UsageError, at_least, nearest, plain
from recipes.experiment import plain_options
from recipes.signals import interruptible
from recipes.sweep.objective import SHAPE, Objective, parse_objective
from recipes.sweep.space import Space, load_space

DOC = f"""Search the options of a recipe, an equal number of trials for each of its variants.

usage: python -m recipes sweep RECIPE --space FILE --objective max:METRIC [options] [the recipe's own options]

Each trial is one run of a variant, in its own process and run directory (OUT/trials). The best of each variant are
run again with fresh seeds (OUT/reruns), and the report is over these. OUT/best.yaml is ready for --config. The same
command again, on this machine or another, joins the sweep that is in --storage, or continues it.

An objective is {SHAPE}; or min:cost.NAME, as in min:cost.step_s.
RECIPE is one of: {", ".join(RECIPES)}.
"""
JOURNAL = "sweep.journal"
APART = ("out", "workers", "device", "sinks")  # may differ between the workers of one sweep


@dataclass(frozen=True)
class SweepOptions:
    """Options of a sweep."""

    space: Path
    """YAML file: option: {low, high, log, step} or {choices: [...]}; under variants: for single variants."""
    objective: tuple[str, ...]
    """What to look for, by validation; several give a Pareto front."""
    trials: int = 20
    """Trials of each variant; a grid that has fewer points gets these."""
    sampler: Literal["tpe", "grid", "random"] = "tpe"
    """How the next trial is chosen."""
    pruner: Literal["none", "median", "hyperband"] = "none"
    """Ends trials that fall behind; for one objective only."""
    top: int = 1
    """How many of each variant's best are run again."""
    fresh_seeds: int = 3
    """Seeds of these runs; no trial has used them."""
    workers: int = 0
    """Runs at a time of this command, each in its own process; 0: one a core."""
    storage: str = ""
    """FILE.journal, or a database: sqlite:///FILE, postgresql://...; empty: OUT/sweep.journal."""
    out: Path | None = None
    """Folder for trials, re-runs, tables and report; default runs/RECIPE-sweep."""
    sampler_seed: int = 0
    """Of the sampler; tpe with one worker, and random with any number, give the same trials again."""
    lost_after: float = 120.0
    """Seconds without a sign of life after which a worker on another machine counts as gone."""

    def __post_init__(self) -> None:
        at_least(self, 1, "trials", "top", "fresh_seeds")
        at_least(self, 0, "workers", "sampler_seed")
        if not 0 < self.lost_after < float("inf"):
            raise UsageError(f"lost_after must be a number above 0, got {self.lost_after}")
        if not self.objective or len(set(self.objective)) != len(self.objective):
            raise UsageError(f"objective must be one or more different ones, got {list(self.objective)}")
        if self.pruner != "none" and len(self.objective) > 1:
            raise UsageError("pruning needs one objective: a Pareto front cannot be judged before the end")


@dataclass(frozen=True)
class Plan:
    """All that a worker needs to know: the recipe, what is searched, and for what."""

    recipe: str
    options: Any
    variants: tuple[str, ...]
    space: Space
    objectives: tuple[Objective, ...]
    sweep: SweepOptions
    out: Path
    command: tuple[str, ...]

    @cached_property
    def grids(self) -> dict[str, list[dict[str, Any]]]:
        """The points of each variant, in a fixed random order; empty for the other samplers."""
        import random

        if self.sweep.sampler != "grid":
            return {}
        found = {}
        for variant in self.variants:
            points = self.space.grid(variant)
            random.Random(self.sweep.sampler_seed).shuffle(points)
            found[variant] = points[: self.sweep.trials]
        return found

    def count(self, variant: str) -> int:
        """Trials of a variant."""
        return len(self.grids[variant]) if self.grids else self.sweep.trials

    @property
    def fresh_seeds(self) -> list[int]:
        first = max(self.options.seeds) + 1
        return list(range(first, first + self.sweep.fresh_seeds))

    def budget(self, variant: str) -> str:
        """The tuning budget of a variant in words, for its runs' records."""
        sweep, count = self.sweep, self.count(variant)
        pruned = f", pruned by {sweep.pruner}" if sweep.pruner != "none" else ""
        whole = " (its whole grid)" if sweep.sampler == "grid" and count < sweep.trials else ""
        return (
            f"{count} trials{whole} by {sweep.sampler} over {', '.join(self.space.of(variant))}"
            f"{pruned}, judged by {' and '.join(sweep.objective)}; the best {sweep.top} again with "
            f"{sweep.fresh_seeds} fresh seeds"
        )

    def settings(self) -> dict[str, Any]:
        """What all workers of a sweep must agree on, as JSON knows it."""
        options = {name: v for name, v in plain_options(self.options).items() if name not in APART}
        mine = ("objective", "trials", "sampler", "pruner", "top", "fresh_seeds", "sampler_seed")
        sweep = {name: plain(getattr(self.sweep, name)) for name in mine}
        found = {"recipe": self.recipe, **options, "variants": list(self.variants), **sweep}
        return dict(json.loads(json.dumps({**found, "space": self.space.plain()})))


def main(arguments: list[str]) -> int:
    """The command; returns the exit status (0; 1 a re-run failed or a variant has no trial; 130 Ctrl-C).

    Raises:
        UsageError: options, a space, a folder or a storage that cannot be used.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        flags(SweepOptions, ["--help"], "python -m recipes sweep RECIPE", DOC)
    if arguments[0].startswith("-"):
        raise UsageError("sweep: name the recipe first: python -m recipes sweep RECIPE --space FILE ...")
    if "--slurm" in arguments:
        from recipes.slurm import submit

        return submit(["sweep", *arguments])
    with interruptible():
        plan = plan_of(arguments)
        from recipes.sweep.search import search

        return search(plan, say=say)


def plan_of(arguments: Sequence[str]) -> Plan:
    """The plan of a sweep from its command line, ``RECIPE [options]``."""
    name, rest = arguments[0], list(arguments[1:])
    kind = recipe_options(name)
    if {"-h", "--help"} & set(rest):
        flags(SweepOptions, ["--help"], f"python -m recipes sweep {name}", DOC)
    _refuse_unknown(rest, kind)
    sweep, rest = flags(SweepOptions, rest, f"python -m recipes sweep {name}", DOC, others=True)
    objectives = tuple(parse_objective(text) for text in sweep.objective)
    options, _ = parse(name, rest)
    refuse_name_clash()
    return make_plan(name, options, sweep, objectives, ["python", "-m", "recipes", "sweep", *arguments])


def make_plan(
    name: str,
    options: RunOptions,
    sweep: SweepOptions,
    objectives: tuple[Objective, ...],
    command: Sequence[str],
) -> Plan:
    """The plan of a sweep, checked as far as it can be before anything is written."""
    from recipes.runner import check

    variants = tuple(import_module(f"recipes.{name}").variants(options))
    out = sweep.out or Path("runs") / f"{name}-sweep"
    options = dataclasses.replace(options, out=out)
    space = load_space(sweep.space, options, variants)
    check(options)
    plan = Plan(name, options, variants, space, objectives, sweep, out, tuple(command))
    _ = plan.grids  # an option without countable values is refused here
    return plan


def _refuse_unknown(words: Sequence[str], kind: type) -> None:
    """A mistyped flag is compared with the sweep's and the recipe's together."""
    known = [field.name for options in (SweepOptions, kind) for field in dataclasses.fields(options)]
    known = [*dict.fromkeys(name.replace("_", "-") for name in known), "config"]
    for word in words:
        flag = word.partition("=")[0].removeprefix("--").replace("_", "-")
        bare = flag.removeprefix("no-")
        if word.startswith("--") and flag not in known and bare not in known:
            raise UsageError(f"sweep: no option '--{flag}'; {nearest(flag, known)}")


def describe(params: Mapping[str, Any]) -> str:
    """Parameters in a line.

    >>> describe({"lr": 0.0123456, "batch_size": 16})
    'lr 0.01235, batch_size 16'
    """
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in params.items())
