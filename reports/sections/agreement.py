"""How alike the maps are: between tasks, seeds and variants, and whether they are where gradients agree."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from reports.agreeing import MEASURES, Agreement, agreement_of
from reports.cells import estimate_cell, number_cell
from reports.document import Cell, Chart, Finding, Section, Table, cells, plain
from reports.likeness import chance_overlap, over_pairs
from reports.measured import cosine_curves, spaced, within
from reports.statistics import Estimate, correlation, mean_interval
from reports.tables import Experiment, select
from reports.wording import Say

MAX_PAIRS = 10  # pairs of variants told one by one; of more, those with the reference
MAX_ROWS = 30  # pairs of tasks told of each variant and method: those with the most alike maps
MAX_POINTS = 500  # drawn
FEWEST = 4  # points, below which a correlation has no interval


def agreement(experiment: Experiment, say: Say) -> Section:
    """Rank correlation and overlap of maps beside the same figures for maps of different inputs."""
    heading, found = say("agreement.heading"), agreement_of(experiment.done)
    shown = [frame for frame in (found.tasks, found.seeds, found.variants) if len(frame)]
    notes = _notes(found, say)
    if not shown:
        return Section("agreement", heading, missing=say("agreement.missing"), notes=notes)
    tables, charts, findings, more = list[Table](), list[Chart](), list[Finding](), list[Table]()
    if len(found.tasks):
        tables.append(_between_tasks(found.tasks, ["variant", "method"], "tasks", say))
        findings.append(_tasks_finding(found.tasks, experiment, say))
        if found.tasks.groupby(["a", "b"]).ngroups > 1:
            few, pairs = _most_alike(found.tasks)
            more.append(_between_tasks(few, ["variant", "method", "a", "b"], "pairs", say))
            if pairs > MAX_ROWS:
                notes.append(say("agreement.told", told=MAX_ROWS, pairs=pairs))
    if len(found.seeds):
        tables.append(_between_seeds(found.seeds, say))
    if len(found.variants):
        more.append(_between_variants(found.variants, experiment, say))
        charts += _variants_heat(found.variants, experiment, say)
    related = _with_conflict(found.tasks, experiment, say)
    if related is not None:
        charts.append(related[0])
        findings.append(related[1])
    intro = say("agreement.intro", chance=say.figure(chance_overlap(), "fraction"), inputs=found.plan.inputs)
    return Section("agreement", heading, intro, findings=findings, tables=tables, charts=charts, more=more,
                   notes=notes, legend=True)  # fmt: skip


def _notes(found: Agreement, say: Say) -> list[str]:
    plan, notes = found.plan, []
    if plan.inputs < plan.of_inputs:
        notes.append(say("agreement.inputs", inputs=plan.inputs, of=plan.of_inputs))
    if len(plan.methods) < plan.of_methods:
        methods = say("words.comma").join(plan.methods)
        notes.append(say("agreement.methods", methods=methods, of=plan.of_methods))
    if plan.left_out:
        named = say("words.comma").join(run.name for run in plan.left_out[:6])
        notes.append(say("agreement.other_inputs", runs=say.count("run", len(plan.left_out)), named=named))
    if plan.methods and found.tasks.empty:
        notes.append(say("agreement.no_pairs"))
    if plan.methods and found.seeds.empty:
        notes.append(say("agreement.one_seed"))
    return notes


def _correlation(estimate: Estimate) -> Estimate:
    return within(estimate, -1.0, 1.0)


def _row(say: Say, part: dict[str, Estimate], difference: Estimate | None) -> list[Cell]:
    """Correlation, its control, their difference where it has an interval, overlap and its control."""
    row = [
        estimate_cell(say, _correlation(part["rank"]), "cosine"),
        number_cell(say, part["rank_other"].mean, "cosine"),
    ]
    if difference is not None:
        row.append(estimate_cell(say, difference, "cosine", signed=True))
    overlap = estimate_cell(say, within(part["overlap"], 0.0, 1.0), "fraction")
    return [*row, overlap, number_cell(say, part["overlap_other"].mean, "fraction")]


def _seed_means(part: pd.DataFrame) -> pd.DataFrame:
    """[seed, measure]: means over whatever else differs."""
    return part.groupby("seed", sort=True)[MEASURES].mean()


def _between_tasks(frame: pd.DataFrame, by: list[str], key: str, say: Say) -> Table:
    rows: list[list[str | Cell]] = []
    for names, part in frame.groupby(by, sort=False):
        means = _seed_means(part)
        estimates = {name: mean_interval(list(means[name])) for name in MEASURES}
        gap = mean_interval(list(means["rank"] - means["rank_other"]), paired=True)
        rows.append([*map(str, names), *_row(say, estimates, gap)])
    columns = say(f"agreement.{key}_columns").split("|")
    return Table(f"agreement-{key}", say(f"agreement.{key}"), columns, cells(rows), labels=len(by))


def _most_alike(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The rows of at most `MAX_ROWS` pairs of tasks for each variant and method, and how many pairs there are."""
    by = ["variant", "method", "a", "b"]
    means = frame.groupby(by, sort=False)["rank"].mean()
    few = means.groupby(["variant", "method"], sort=False, group_keys=False).nlargest(MAX_ROWS)
    kept = pd.MultiIndex.from_frame(frame[by]).isin(few.index)
    return frame[kept], frame.groupby(["a", "b"]).ngroups


def _pair_means(part: pd.DataFrame) -> dict[str, Estimate]:
    """Over all pairs of seeds, each the mean over tasks."""
    means = part.groupby(["a", "b"], sort=False)[MEASURES].mean()
    pairs = [(int(str(a)), int(str(b))) for a, b in means.index]
    return {name: over_pairs(dict(zip(pairs, means[name].tolist(), strict=True))) for name in MEASURES}


def _between_seeds(frame: pd.DataFrame, say: Say) -> Table:
    rows: list[list[str | Cell]] = [
        [str(variant), str(method), *_row(say, _pair_means(part), None)]
        for (variant, method), part in frame.groupby(["variant", "method"], sort=False)
    ]
    columns = say("agreement.seeds_columns").split("|")
    return Table("agreement-seeds", say("agreement.seeds"), columns, cells(rows), labels=2)


def _between_variants(frame: pd.DataFrame, experiment: Experiment, say: Say) -> Table:
    pairs = list(dict.fromkeys(zip(frame["a"], frame["b"], strict=True)))
    few, base = len(pairs) <= MAX_PAIRS, experiment.reference or experiment.variants[0]
    rows: list[list[str | Cell]] = []
    for (a, b, method), part in frame.groupby(["a", "b", "method"], sort=False):
        if few or base in (a, b):
            means = _seed_means(part)
            estimates = {name: mean_interval(list(means[name])) for name in MEASURES}
            rows.append([str(a), str(b), str(method), *_row(say, estimates, None)])
    caption = say("agreement.variants") if few else say("agreement.variants_base", base=base)
    columns = say("agreement.variants_columns").split("|")
    return Table("agreement-variants", caption, columns, cells(rows), labels=3)


def _variants_heat(frame: pd.DataFrame, experiment: Experiment, say: Say) -> list[Chart]:
    """Mean correlation of every two variants, over methods, tasks and seeds."""
    mean = frame.groupby(["a", "b"], sort=False)["rank"].mean()
    both = {tuple(sorted(map(str, pair))): float(value) for pair, value in mean.items()}  # type: ignore[call-overload]
    order = [v for v in experiment.variants if any(v in pair for pair in both)]
    if len(order) < 3:
        return []
    values = [[1.0 if a == b else both.get(tuple(sorted((a, b))), np.nan) for b in order] for a in order]
    data = {"values": values, "rows": order, "columns": order}
    return [Chart("agreement-of-variants", say("agreement.variants_heat"), "heat", plain(data))]


def _tasks_finding(frame: pd.DataFrame, experiment: Experiment, say: Say) -> Finding:
    """Whether maps of two tasks on one input are more alike than maps of different inputs, for the reference."""
    variants = list(dict.fromkeys(frame["variant"]))
    variant = str(experiment.reference if experiment.reference in variants else variants[0])
    means = _seed_means(select(frame, variant=variant))
    gap = mean_interval(list(means["rank"] - means["rank_other"]), paired=True)
    same, other = (mean_interval(list(means[name])) for name in ("rank", "rank_other"))
    words = (
        "one_seed_words" if not gap.has_interval else {1: "more", 0: "no_difference", -1: "less"}[gap.sign]
    )
    text = say(
        "agreement.tasks_text",
        variant=variant,
        same=say.interval(_correlation(same), "cosine"),
        other=say.figure(other.mean, "cosine"),
        words=say(f"agreement.{words}"),
    )
    return Finding(say("agreement.tasks_finding"), text, "open", "agreement-tasks")


def _with_conflict(frame: pd.DataFrame, experiment: Experiment, say: Say) -> tuple[Chart, Finding] | None:
    """Map agreement against the mean cosine of gradients, over variants and pairs of tasks, or runs where few."""
    curves = cosine_curves(experiment.done)
    if curves.empty or frame.empty:
        return None
    keys = ["variant", "seed", "a", "b"]
    cosines = curves.assign(**_sorted(curves)).groupby(keys, sort=False)["value"].mean()
    agree = frame.assign(**_sorted(frame)).groupby(keys, sort=False)["rank"].mean()
    both = pd.concat({"x": cosines, "y": agree}, axis=1, join="inner").dropna().reset_index()
    means = both.groupby(["variant", "a", "b"], sort=False)[["x", "y"]].mean().reset_index()
    by_run = len(means) < FEWEST
    points = both if by_run else means
    if len(points) < 2:
        return None
    drawn = points.iloc[spaced(len(points), MAX_POINTS)]
    labels = [say("agreement.point", variant=v, a=a, b=b) for v, a, b in _columns(drawn, "variant", "a", "b")]
    data = {"x": list(drawn["x"]), "y": list(drawn["y"]), "variant": list(drawn["variant"]), "label": labels,
            "order": experiment.variants, "x_name": say("agreement.x"), "y_name": say("agreement.y")}  # fmt: skip
    chart = Chart("agreement-and-conflict", say("agreement.relation"), "scatter", plain(data))
    found = correlation(list(points["x"]), list(points["y"]))
    unit = say(f"agreement.unit_{'run' if by_run else 'pair'}")
    told = "relation_unknown" if not np.isfinite(found.mean) else "relation_few" if not found.has_interval else (
        {1: "relation_more", 0: "relation_none", -1: "relation_less"}[found.sign])  # fmt: skip
    values = {"n": len(points), "unit": unit, "r": say.interval(found, "cosine") if found.has_interval
              else say.figure(found.mean, "cosine")}  # fmt: skip
    text = say(f"agreement.{told}", **values)
    shared = points.groupby("variant").size().max() > 1
    if shared:
        text = say("agreement.shared", text=text)
    return chart, Finding(say("agreement.relation_finding"), text, "open", "agreement-conflict")


def _sorted(frame: pd.DataFrame) -> dict[str, list[str]]:
    """The two tasks of each row in one order, for files tell them in different ones."""
    pairs = [sorted((str(a), str(b))) for a, b in _columns(frame, "a", "b")]
    return {"a": [a for a, _ in pairs], "b": [b for _, b in pairs]}


def _columns(frame: pd.DataFrame, *names: str) -> Iterable[tuple[str, ...]]:
    return zip(*(frame[name].tolist() for name in names), strict=True)
