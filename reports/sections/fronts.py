"""Pareto fronts: Δm beside each cost, and the tasks beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan

import numpy as np

from reports.cells import number_cell
from reports.document import Cell, Chart, Table, cells, plain
from reports.statistics import mean_interval, pareto_front, share_of_box
from reports.tables import Experiment
from reports.wording import Say

COSTS = ("step_s", "peak_memory_mib", "parameters")
Sides = list[dict[int, float]]  # for each quantity {seed: value}


@dataclass(frozen=True)
class Weighed:
    """Quantities that are weighed against each other.

    Attributes:
        key, label: of the front.
        names, units: of each quantity.
        more_is_better: for each quantity.
        values: {variant: for each quantity {seed: value}}.
    """

    key: str
    label: str
    names: list[str]
    units: list[str]
    more_is_better: list[bool]
    values: dict[str, Sides]

    def means(self, variant: str) -> list[float]:
        return [float(np.mean(list(side.values()))) for side in self.values[variant]]

    def front(self, points: dict[str, list[float]]) -> list[str]:
        """The variants that no other beats."""
        signs = np.where(self.more_is_better, 1.0, -1.0)
        names = list(points)
        return [names[i] for i in pareto_front(signs * np.array(list(points.values())))] if names else []

    def always(self) -> list[str]:
        """The variants on the front of every seed that all have."""
        sides = [set(side) for sides in self.values.values() for side in sides]
        seeds = sorted(set.intersection(*sides)) if sides else []
        found = [
            self.front({v: [side[s] for side in sides] for v, sides in self.values.items()}) for s in seeds
        ]
        return [v for v in self.values if seeds and all(v in front for front in found)]


def fronts(experiment: Experiment, say: Say) -> tuple[list[Table], list[Chart]]:
    """A table with a row for each front, and a chart where two are weighed; nothing for fewer than two variants."""
    found = [one for one in (*_costs(experiment, say), *_tasks(experiment, say)) if len(one.values) > 1]
    if not found:
        return [], []
    rows = [_row(one, say) for one in found]
    names = ("front", "members", "always", "share", "reference")
    columns = [say(f"cost.{name}") for name in names]
    table = Table("fronts", say("cost.fronts"), columns, cells(rows))
    return [table], [_chart(one, experiment.variants) for one in found if len(one.names) == 2]


def _costs(experiment: Experiment, say: Say) -> list[Weighed]:
    """Δm and each cost that is not the same for all."""
    if not experiment.bases:
        return []
    base = experiment.bases[0]
    gains = {base: {run.seed: 0.0 for run in experiment.of(base)}}
    for variant in experiment.compared_with(base):
        gain = experiment.compare(variant, base).by_seed
        if gain and all(map(isfinite, gain.values())):
            gains[variant] = gain
    found = []
    for cost in COSTS:
        spent = {v: experiment.costs(v, cost) for v in gains}
        values: dict[str, Sides] = {v: [spent[v], gains[v]] for v in gains if spent[v]}
        if len({tuple(sides[0].values())[:1] for sides in values.values()}) > 1:
            name, gain_name = say(f"cost.{cost}"), say("cost.gain", base=base)
            label = say("cost.beside", base=base, cost=name)
            names, units = [name, gain_name], ["ms" if cost == "step_s" else "", "fraction"]
            if cost == "step_s":
                values = {v: [{s: 1000 * x for s, x in a.items()}, b] for v, (a, b) in values.items()}
            found.append(Weighed(f"front-{cost}", label, names, units, [False, True], values))
    return found


def _tasks(experiment: Experiment, say: Say) -> list[Weighed]:
    """The main metrics of all tasks."""
    main = experiment.main
    values = {v: [experiment.values(v, i.task, i.name) for i in main] for v in experiment.variants}
    values = {v: sides for v, sides in values.items() if all(sides)}
    if len(main) < 2:
        return []
    names = [f"{info.task}: {info.name}" for info in main]
    label = say("cost.tasks_front")
    if len(main) == 2:
        label = say("cost.tasks_chart", first=names[0], second=names[1])
    units = [info.unit for info in main]
    return [Weighed("front-tasks", label, names, units, [i.higher_is_better for i in main], values)]


def _row(one: Weighed, say: Say) -> list[str | Cell]:
    means = {variant: one.means(variant) for variant in one.values}
    signs = np.where(one.more_is_better, 1.0, -1.0)
    share, worst = share_of_box(signs * np.array(list(means.values())))
    corner = [
        f"{name} {say.figure(float(value), '' if unit == 'ms' else unit)}"
        for name, unit, value in zip(one.names, one.units, signs * worst if worst else [], strict=False)
    ]
    members, always = one.front(means), one.always()
    shown = number_cell(say, share, "fraction") if isfinite(share) else Cell(say("cost.undefined"))
    few = say("words.semicolon").join(corner) if len(corner) <= 3 else say("words.none")
    return [
        one.label,
        Cell(say.joined(members) or say("cost.nobody"), float(len(members))),
        Cell(say.joined(always) or say("cost.nobody"), float(len(always))),
        shown,
        few,
    ]


def _chart(one: Weighed, order: list[str]) -> Chart:
    points = []
    for variant, sides in one.values.items():
        point: dict[str, object] = {"variant": variant}
        for axis, side in zip("xy", sides, strict=True):
            estimate = mean_interval(list(side.values()))
            low, high = (estimate.low, estimate.high) if estimate.has_interval else (nan, nan)
            point |= {axis: estimate.mean, f"{axis}_low": low, f"{axis}_high": high}
        points.append(point)
    means = {variant: one.means(variant) for variant in one.values}
    data = {
        "points": [plain(point) for point in points], "front": one.front(means), "order": order,
        "names": one.names, "units": one.units, "more_is_better": one.more_is_better,
    }  # fmt: skip
    return Chart(one.key, one.label, "pareto", plain(data))
