"""How alike the runs' maps are: between tasks, between seeds and between variants, as tidy tables."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from itertools import combinations

import pandas as pd

from reports.likeness import Ranked, alike, ranked
from reports.reading import Run

MAX_FILES = 800  # files of maps that are read
MAX_VALUES = 20_000_000  # pixels that are ranked, of all maps together
MAX_INPUTS = 32
MEASURES = ["rank", "rank_other", "overlap", "overlap_other"]


@dataclass
class Plan:
    """Which maps are compared: the runs whose maps explain the same inputs, the methods, and how many inputs.

    Attributes:
        left_out: runs whose maps explain other inputs.
        of_methods, of_inputs: how many there are, of which some may be left out to keep the work small.
    """

    runs: list[Run] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    inputs: int = 0
    left_out: list[Run] = field(default_factory=list)
    of_methods: int = 0
    of_inputs: int = 0


@dataclass
class Agreement:
    """variant, seed, method, ... and the measures of `Alike`, one row a comparison of two sets of maps.

    Attributes:
        tasks: columns variant, seed, method, a, b (tasks).
        seeds: columns variant, method, task, a, b (seeds).
        variants: columns seed, method, task, a, b (variants).
    """

    plan: Plan
    tasks: pd.DataFrame
    seeds: pd.DataFrame
    variants: pd.DataFrame


def agreement_of(runs: Sequence[Run]) -> Agreement:
    """The agreement of the maps of finished runs, within the limits of `planned`."""
    plan = planned(runs)
    between: dict[str, list[tuple[object, ...]]] = {"tasks": [], "seeds": [], "variants": []}
    for method in plan.methods:
        found: dict[tuple[str, int, str], Ranked] = {}
        for run in plan.runs:
            for task in [task for name, task in run.maps if name == method]:
                maps = run.attribution(method, task)
                if maps is not None:
                    found[run.variant, run.seed, task] = ranked(maps.maps[: plan.inputs])
        for kind, free in (("variants", 0), ("seeds", 1), ("tasks", 2)):
            between[kind] += _compared(found, method, free)
    keys = {
        "tasks": ["variant", "seed", "method", "a", "b"],
        "seeds": ["variant", "task", "method", "a", "b"],
        "variants": ["seed", "task", "method", "a", "b"],
    }
    return Agreement(plan, **{name: pd.DataFrame(rows, columns=[*keys[name], *MEASURES]).dropna(subset=["rank"])
                              for name, rows in between.items()})  # fmt: skip


def _compared(found: dict[tuple[str, int, str], Ranked], method: str, free: int) -> list[tuple[object, ...]]:
    """Every two sets of maps that differ in one part of their key alone."""
    alike_but: dict[tuple[object, ...], list[tuple[object, Ranked]]] = {}
    for key, maps in found.items():
        rest = (*key[:free], *key[free + 1 :])
        alike_but.setdefault(rest, []).append((key[free], maps))
    return [
        (*rest, method, a, b, *_measures(ours, theirs))
        for rest, group in alike_but.items()
        for (a, ours), (b, theirs) in combinations(group, 2)
    ]


def planned(runs: Sequence[Run]) -> Plan:
    """What to compare: the inputs that most runs explain, the first of their methods, the first of the inputs.

    At most `MAX_FILES` files are read and `MAX_VALUES` pixels ranked, so that a hundred runs take seconds.
    """
    with_maps = [run for run in runs if run.maps and run.examples is not None]
    if not with_maps:
        return Plan()
    keys = [_key(run) for run in with_maps]
    usual = Counter(keys).most_common(1)[0][0]
    kept = [run for run, key in zip(with_maps, keys, strict=True) if key == usual]
    methods = list(dict.fromkeys(method for run in kept for method in _methods(run)))
    files = Counter(method for run in kept for method, _ in run.maps)
    chosen, whole = list[str](), 0
    for method in methods:
        if whole + files[method] <= MAX_FILES or not chosen:
            chosen.append(method)
            whole += files[method]
    examples = kept[0].examples
    inputs = examples.inputs if examples is not None else None
    N = 0 if inputs is None else len(inputs)
    pixels = 1 if inputs is None else int(inputs[0].size // (inputs.shape[1] if inputs.ndim == 4 else 1))
    affordable = MAX_VALUES // max(1, whole * pixels)
    left_out = [run for run, key in zip(with_maps, keys, strict=True) if key != usual]
    return Plan(kept, chosen, min(N, MAX_INPUTS, max(2, affordable)), left_out, len(methods), N)


def _methods(run: Run) -> list[str]:
    """In the order in which the run scored them, else by name."""
    saved = list(dict.fromkeys(method for method, _ in run.maps))
    scored = [str(method) for method in run.scores["method"].unique()]
    return [method for method in dict.fromkeys([*scored, *saved]) if method in saved]


def _key(run: Run) -> str:
    inputs = run.examples.inputs if run.examples is not None else None
    return (
        "" if inputs is None else hashlib.sha256(repr(inputs.shape).encode() + inputs.tobytes()).hexdigest()
    )


def _measures(ours: Ranked, theirs: Ranked) -> tuple[float, ...]:
    return astuple(alike(ours, theirs))
