"""Cost: seconds a step, training time, parameters, peak memory, energy where it is known; and what it buys."""

from __future__ import annotations

from dataclasses import replace

from reports.cells import estimate_cell, number_cell
from reports.document import Cell, Section, Table, cells
from reports.sections.fronts import fronts
from reports.statistics import mean_interval
from reports.tables import Experiment
from reports.wording import Say

COSTS = {
    "step": "step_s",
    "train": "train_s",
    "parameters": "parameters",
    "memory": "peak_memory_mib",
    "energy": "energy_j",
}  # the column's text and the field of run.cost


def cost(experiment: Experiment, say: Say) -> Section:
    """Costs as means over seeds, then Pareto fronts of Δm and cost and of the tasks."""
    head = say("cost.heading")
    known = [v for v in experiment.variants if any(run.info["cost"] for run in experiment.of(v))]
    front_table, charts = fronts(experiment, say)
    if not known:
        if not front_table:
            return Section("cost", head, missing=say("cost.missing"))
        return Section("cost", head, tables=front_table, charts=charts, legend=bool(charts))
    base = experiment.reference or known[0]
    shown = {
        name: field for name, field in COSTS.items()
        if name != "energy" or any(experiment.cost(v, field).n for v in known)  # few machines tell it
    }  # fmt: skip
    columns, rows = [say("cost.variant")], [list[str | Cell]([variant]) for variant in known]
    for name, field in shown.items():
        columns.append(say(f"cost.{name}"))
        for row, variant in zip(rows, known, strict=True):
            row.append(_cell(experiment, say, variant, name, field))
        if name == "step" and len(known) > 1:
            columns.append(say("cost.relative", base=base))
            for row, variant in zip(rows, known, strict=True):
                row.append(_relative(experiment, say, variant, base))
    table = Table("cost", say("cost.caption"), columns, cells(rows))
    return Section("cost", head, tables=[table, *front_table], charts=charts, legend=bool(charts))


def _cell(experiment: Experiment, say: Say, variant: str, name: str, field: str) -> Cell:
    values = list(experiment.costs(variant, field).values())
    if not values:
        return Cell(say("words.none"))
    if len(set(values)) == 1:  # a count of parameters is what it is
        return number_cell(say, 1000 * values[0] if name == "step" else values[0])
    found = mean_interval([1000 * v if name == "step" else v for v in values])
    return estimate_cell(say, replace(found, low=max(0.0, found.low)) if found.has_interval else found)


def _relative(experiment: Experiment, say: Say, variant: str, base: str) -> Cell:
    if variant == base:
        return number_cell(say, 1.0)
    return estimate_cell(say, experiment.cost_ratio(variant, base, "step_s"))
