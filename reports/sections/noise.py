"""Is it more than noise: each comparison of scores with its interval, p, effect size, and what the seeds could show."""

from __future__ import annotations

from math import isfinite, nan

from reports.cells import estimate_cell, number_cell, p_cell
from reports.document import Cell, Section, Table, cells
from reports.statistics import common_seeds, effect_words, exact_p
from reports.tables import Contrast, Experiment
from reports.wording import POINTS, Say

COLUMNS = ("finding", "p", "holm", "exact", "least", "effect", "detectable", "seeds")


def noise(experiment: Experiment, say: Say) -> Section:
    """Every comparison of `Experiment.contrasts`: Δm first, the tasks one by one below."""
    head = say("tests.heading")
    if not experiment.contrasts:
        why = "missing_one" if experiment.bases else "missing_base"
        return Section("tests", head, missing=say(f"tests.{why}"))
    tables, more = [], []
    for base in experiment.bases:
        found = [one for one in experiment.contrasts if one.against == base]
        overall, each = ([one for one in found if bool(one.task) == tasks] for tasks in (False, True))
        if overall:
            rows = [[one.variant, *_row(experiment, say, one)] for one in overall]
            columns = [say("tests.variant"), say("tests.gain"), *(say(f"tests.{name}") for name in COLUMNS)]
            tables.append(Table(f"tests-{base}", say("tests.overall", base=base), columns, cells(rows)))
        if each:
            rows = [[one.variant, one.task, one.metric, *_row(experiment, say, one)] for one in each]
            names = ("variant", "task", "metric", "difference", *COLUMNS)
            columns = [say(f"tests.{name}") for name in names]
            key = f"tests-tasks-{base}"
            more.append(Table(key, say("tests.each", base=base), columns, cells(rows), labels=3))
    intro = say("tests.intro", number=len(experiment.contrasts))
    return Section("tests", head, intro, tables=tables, more=more, notes=_notes(experiment, say))


def finding(contrast: Contrast, say: Say) -> str:
    """Better, worse, not shown, or no test, after Holm's adjustment."""
    if not isfinite(contrast.adjusted):
        return say("tests.no_test")
    return say(f"tests.{ {1: 'better', -1: 'worse', 0: 'not_shown'}[contrast.verdict] }")


def difference_unit(contrast: Contrast) -> str:
    """The unit of the difference: percentage points for fractions, percent for Δm."""
    return POINTS if contrast.task and contrast.unit == "fraction" else contrast.unit


def _row(experiment: Experiment, say: Say, one: Contrast) -> list[str | Cell]:
    """What both kinds of tables show of a comparison."""
    estimate, unit = one.estimate, difference_unit(one)
    exact, least = _exact(experiment, one)
    effect = Cell(say("words.none"))
    if isfinite(estimate.effect):
        words = say(f"tests.{effect_words(estimate.effect)}")
        kind = "dz" if estimate.paired else "g"
        told = say(f"tests.{kind}", value=f"{estimate.effect:.2f}", words=words)
        effect = Cell(told, estimate.effect)
    strong = one.verdict > 0
    return [
        estimate_cell(say, estimate, unit, signed=True, strong=strong),
        Cell(finding(one, say), float(one.verdict), strong=strong),
        p_cell(say, estimate.p),
        p_cell(say, one.adjusted),
        p_cell(say, exact),
        p_cell(say, least),
        effect,
        number_cell(say, estimate.detectable, unit),
        _seeds(experiment, say, one),
    ]


def _exact(experiment: Experiment, one: Contrast) -> tuple[float, float]:
    """The exact p: of the scores, or of Δm seed by seed; Δm of two groups is no difference of two means."""
    if one.estimate.n < 2:
        return nan, nan
    if one.task:
        sides = (experiment.values(v, one.task, one.metric) for v in (one.variant, one.against))
        return exact_p(*sides)
    if not one.estimate.paired:
        return nan, nan
    return exact_p(dict(enumerate(one.estimate.points)), dict.fromkeys(range(one.estimate.n), 0.0))


def _seeds(experiment: Experiment, say: Say, one: Contrast) -> Cell:
    if one.estimate.paired:
        return Cell(say("tests.pairs", n=one.estimate.n), float(one.estimate.n))
    ours, theirs = (len(experiment.of(v)) for v in (one.variant, one.against))
    return Cell(say("tests.groups", ours=ours, theirs=theirs), float(one.estimate.n))


def _notes(experiment: Experiment, say: Say) -> list[str]:
    """What the seeds could show at best, and which of them have no partner."""
    notes = [say("tests.effect_note")]
    paired = [one.estimate.n for one in experiment.contrasts if one.estimate.paired]
    if paired and 1 < max(paired) < 6:
        pairs = say("tests.pairs", n=max(paired))
        notes.append(say("tests.few", pairs=pairs, least=f"{2 / 2 ** max(paired):.3g}"))
    for base in experiment.bases:
        for variant in experiment.compared_with(base):
            ours, theirs = ([run.seed for run in experiment.of(v)] for v in (variant, base))
            common = common_seeds(ours, theirs)
            alone = [
                say("tests.seed_of", variant=name, seed=seed)
                for name, seeds in ((variant, ours), (base, theirs))
                for seed in seeds
                if common and seed not in common
            ]
            if alone:
                seeds = say.joined(alone)
                notes.append(say("tests.left_out", variant=variant, base=base, seeds=seeds))
    return notes
