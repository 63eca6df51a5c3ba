"""Test scores: the main metric of each task, Δm, ranks, all metrics, and every seed as a point."""

from __future__ import annotations

from math import isfinite

from reports.cells import estimate_cell, number_cell, p_cell
from reports.document import Cell, Chart, Section, Table, cells, plain
from reports.statistics import mean_interval
from reports.tables import Comparison, Experiment, MetricInfo
from reports.wording import Say

MAX_TASKS = 24  # whose seeds are drawn as points


def scores(experiment: Experiment, say: Say) -> Section:
    """Test scores: the main metric of each task, Δm, all metrics, and every seed as a point."""
    if experiment.scores.empty:
        return Section("scores", say("scores.heading"), missing=say("scores.missing"))
    compared = {base: _comparisons(experiment, base) for base in experiment.bases}
    tables = [_score_table(experiment, say)]
    tables += [_delta_table(experiment, say, base, found) for base, found in compared.items() if found]
    tables += _rank_table(experiment, say)
    charts = _trend(experiment, say)
    curves = bool(charts)
    charts += [_forest(say, experiment, base, found) for base, found in compared.items() if _drawn(found)]
    notes = []
    for base, found in compared.items():
        if undefined := list(dict.fromkeys(name for one in found for name in one.undefined)):
            notes.append(say("scores.undefined", base=base, metrics=say.joined(undefined)))
    if len(experiment.main) > MAX_TASKS:
        notes.append(say("scores.drawn", drawn=MAX_TASKS, tasks=len(experiment.main)))
    for info in experiment.main[:MAX_TASKS]:
        points = {v: list(experiment.values(v, info.task, info.name).values()) for v in experiment.variants}
        if any(points.values()):  # a task without a label in the test split has no score
            data = plain({"values": points, "unit": info.unit})
            charts.append(Chart(f"scores-{info.task}-{info.name}", f"{info.task}: {info.name}", "dots", data))
    more = [_every_metric(experiment, say)]
    return Section(
        "scores", say("scores.heading"), tables=tables, more=more, charts=charts, notes=notes, legend=curves
    )


def _trend(experiment: Experiment, say: Say) -> list[Chart]:
    """The main metric over the scale that the tasks are points of, where they are."""
    scale, x_unit, places = experiment.scale
    if not places:
        return []
    info, points = experiment.main[0], {}
    for variant in experiment.variants:
        scores = {task: list(experiment.values(variant, task, info.name).values()) for task in places}
        found = [(places[task], mean_interval(values)) for task, values in scores.items() if values]
        points[variant] = [(x, one.mean, one.low, one.high) for x, one in found if isfinite(one.mean)]
    named = {"scale": scale, "x_unit": x_unit, "metric": info.name, "unit": info.unit}
    data = {"x": list(places.values()), "points": points, "order": experiment.variants, **named}
    return [Chart("trend", say("scores.trend", metric=info.name, scale=scale), "trend", plain(data))]


def bold_base(experiment: Experiment) -> str | None:
    """What a variant must beat to be set in bold: the reference, or the baseline where there is none."""
    return experiment.reference or experiment.baseline


def heading(info: MetricInfo) -> str:
    """``left: accuracy ↑``: which metric, in which unit, and which way is better."""
    unit = "" if info.unit == "fraction" else f" [{info.unit}]"
    return f"{info.task}: {info.name}{unit} {'↑' if info.higher_is_better else '↓'}"


def _score_table(experiment: Experiment, say: Say) -> Table:
    main, base = experiment.main, bold_base(experiment)
    shown = experiment.scores["metric"].isin([info.name for info in main])
    splits = sorted(map(str, experiment.scores.loc[shown, "split"].unique()))
    caption = say("scores.caption", splits=say("scores.split_joiner").join(splits))
    if base is not None and experiment.contrasts:
        caption += say("scores.bold", base=base)
    rows: list[list[str | Cell]] = []
    for variant in experiment.variants:
        found: list[Cell] = []
        for info in main:
            values = experiment.values(variant, info.task, info.name)
            contrast = experiment.contrast(variant, base, info.task) if base is not None else None
            strong = contrast is not None and contrast.verdict > 0
            cell = estimate_cell(say, values, info.unit, strong=strong)
            found.append(cell if values else Cell(say("scores.no_run")))
        rows.append([variant, number_cell(say, len(experiment.of(variant))), *found])
    columns = [say("scores.variant"), say("scores.runs"), *(heading(info) for info in main)]
    return Table("scores", caption, columns, cells(rows))


def _comparisons(experiment: Experiment, against: str) -> list[Comparison]:
    return [experiment.compare(variant, against) for variant in experiment.compared_with(against)]


def _delta_table(experiment: Experiment, say: Say, against: str, compared: list[Comparison]) -> Table:
    rows: list[list[str | Cell]] = []
    for one in compared:
        contrast = experiment.contrast(one.variant, against)
        strong = contrast is not None and contrast.verdict > 0
        rows.append(
            [
                one.variant,
                estimate_cell(say, one.over_tasks, "fraction", signed=True, strong=strong),
                estimate_cell(say, one.over_metrics, "fraction", signed=True),
                p_cell(say, contrast.adjusted if contrast is not None else float("nan")),
                one.worst or say("words.none"),
                *(
                    estimate_cell(say, one.by_task[task], "fraction", signed=True)
                    if task in one.by_task
                    else say("words.none")
                    for task in experiment.tasks
                ),
            ]
        )
    paired = {one.over_tasks.paired for one in compared}
    pairing = "mixed" if len(paired) > 1 else "paired" if True in paired else "unpaired"
    caption = say("scores.delta", base=against, pairing=say(f"scores.pairing_{pairing}"))
    columns = [say(f"scores.{name}") for name in ("variant", "by_tasks", "by_metrics", "holm", "worst")]
    return Table(f"delta-{against}", caption, [*columns, *experiment.tasks], cells(rows))


def _drawn(compared: list[Comparison]) -> bool:
    return any(one.over_tasks.mean == one.over_tasks.mean for one in compared)


def _forest(say: Say, experiment: Experiment, against: str, compared: list[Comparison]) -> Chart:
    gains = [one.over_tasks for one in compared]
    data = {
        "names": [one.variant for one in compared],
        "mean": [gain.mean for gain in gains],
        "low": [gain.low for gain in gains],
        "high": [gain.high for gain in gains],
        "points": [list(gain.points) for gain in gains],
        "unit": "fraction",
        "order": experiment.variants,
        "axis": say("scores.forest_axis", base=against),
    }
    return Chart(f"forest-{against}", say("scores.forest", base=against), "forest", plain(data))


def _rank_table(experiment: Experiment, say: Say) -> list[Table]:
    """Mean ranks, best first, where three variants or more can be ranked."""
    ranks = experiment.ranks()
    if len(ranks) < 3:
        return []
    rows: list[list[str | Cell]] = [
        [variant, number_cell(say, rank)] for variant, rank in sorted(ranks.items(), key=lambda item: item[1])
    ]
    caption = say("scores.ranks", variants=say.count("variant", len(ranks)))
    return [Table("ranks", caption, [say("scores.variant"), say("scores.rank")], cells(rows))]


def _every_metric(experiment: Experiment, say: Say) -> Table:
    rows: list[list[str | Cell]] = []
    for info in experiment.metrics:
        for variant in experiment.variants:
            values = experiment.values(variant, info.task, info.name)
            if values:
                cell = estimate_cell(say, values, info.unit)
                rows.append([info.task, variant, info.name, cell, number_cell(say, len(values))])
    columns = [say(f"scores.{name}") for name in ("task", "variant", "metric", "mean", "seeds")]
    return Table("metrics", say("scores.metrics"), columns, cells(rows), labels=3)
