"""What failed: runs that did not finish, files that were torn, losses that were no numbers. Nothing in silence."""

from __future__ import annotations

from math import isfinite

import numpy as np

from reports.cells import number_cell
from reports.document import Cell, Finding, Section, Table, cells
from reports.places import places
from reports.reading import Run
from reports.tables import Experiment, number
from reports.wording import Say


def failures(experiment: Experiment, say: Say) -> Section:
    """Runs that did not finish, seeds that are missing, runs that diverged, undefined scores, and every remark."""
    runs = dict(zip(places(experiment.runs), experiment.runs, strict=True))
    found: dict[str, list[list[str | Cell]]] = {
        "unfinished": _unfinished(runs, say),
        "absent": _absent(experiment),
        "diverged": [row for place, run in runs.items() for row in _diverged(place, run, say)],
        "undefined": _undefined(experiment, say),
        "remarks": [[place, remark.said(say)] for place, run in runs.items() for remark in run.check()],
    }
    tables = [
        Table(
            key, say(f"failures.{key}"), say(f"failures.{key}_columns").split("|"), cells(rows), labels[key]
        )
        for labels in [{"unfinished": 5, "absent": 2, "diverged": 4, "undefined": 3, "remarks": 2}]
        for key, rows in found.items()
        if rows
    ]
    texts = [
        (say("failures.traceback", run=place), run.info["traceback"])
        for place, run in runs.items()
        if run.status != "done" and run.info.get("traceback")
    ]
    fine = [] if tables else [_fine(len(runs), say)]
    intro = say("failures.intro") if tables else ""
    return Section("failures", say("failures.heading"), intro, findings=fine, tables=tables, texts=texts)


def _fine(runs: int, say: Say) -> Finding:
    return Finding(
        say("failures.fine"), say("failures.fine_text", runs=say.count("run", runs)), "good", "failures"
    )


def _unfinished(runs: dict[str, Run], say: Say) -> list[list[str | Cell]]:
    return [
        [place, run.variant, str(run.seed), say(f"failures.status_{run.status}"),
         run.info["error"] or say("failures.silent"), _last_step(run)]
        for place, run in runs.items() if run.status not in ("done", "duplicate")
    ]  # fmt: skip


def _last_step(run: Run) -> Cell:
    steps = [*run.metrics["step"].tolist(), *run.dynamics.get("step", np.array([])).tolist()]
    return Cell(str(max(steps)), float(max(steps))) if steps else Cell("0", 0.0)


def _absent(experiment: Experiment) -> list[list[str | Cell]]:
    """Variants that lack seeds which others have: their rows rest on fewer seeds, and pair with fewer."""
    every = {run.seed for run in experiment.done}
    lacking = {
        variant: sorted(every - {run.seed for run in experiment.of(variant)})
        for variant in experiment.variants
    }
    return [
        [variant, ", ".join(map(str, seeds)), Cell(str(len(every) - len(seeds)), float(len(every) - len(seeds)))]
        for variant, seeds in lacking.items()
        if seeds
    ]  # fmt: skip


def _diverged(place: str, run: Run, say: Say) -> list[list[str | Cell]]:
    """Where a metric was no number, or a loss of training infinite; NaN there only says that a batch had no label."""
    rows: list[list[str | Cell]] = []
    frame = run.metrics
    broken = frame[~np.isfinite(frame["value"].to_numpy(dtype=float))]
    for (task, metric, split), part in broken.groupby(["task", "metric", "split"], sort=False):
        first = part.iloc[0]
        what = f"{metric}, {split}"
        rows.append([place, str(task), what, str(first["value"]), _count(first["step"]), _count(len(part))])
    d = run.dynamics
    for t, task in enumerate(d.get("tasks", np.array([])).tolist() if "losses" in d else []):
        infinite = np.isinf(d["losses"][:, t])
        if infinite.any():
            step = d["step"][infinite][0]
            rows.append([place, task, say("failures.loss"), "inf", _count(step), _count(int(infinite.sum()))])
    skipped = number(run.summary.get("skipped_steps", 0))
    if isfinite(skipped) and skipped > 0:
        rows.append([place, "", say("failures.skipped"), "", "", _count(skipped)])
    return rows


def _count(value: float) -> Cell:
    return Cell(f"{value:.0f}", float(value))


def _undefined(experiment: Experiment, say: Say) -> list[list[str | Cell]]:
    """Scores of maps that are not defined (NaN), which no mean can take: how many of how many."""
    counts: dict[tuple[str, str, str], tuple[int, int]] = {}
    for run in experiment.done:
        scores = run.scores
        if scores["value"].isna().any():
            for names, part in scores.groupby(["method", "metric", "map"], sort=False)["value"]:
                key = (str(names[0]), str(names[1]), str(names[2]))
                a, b = counts.get(key, (0, 0))
                counts[key] = (a + int(part.isna().sum()), b + len(part))
    return [
        [method, metric, kind, _count(missing), _count(of), number_cell(say, missing / of, "fraction")]
        for (method, metric, kind), (missing, of) in counts.items()
        if missing
    ]
