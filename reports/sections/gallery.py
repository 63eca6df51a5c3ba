"""The gallery: maps of the same inputs, task by task, over variants and methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from reports.choosing import SEED, Choice, choose, metric_of, scores_of
from reports.document import Card, Cell, Group, Picture, Section, Strip, Table
from reports.pictures import image_png, outline, scale_end, signed_png
from reports.reading import Attribution, Examples, Run
from reports.tables import Experiment
from reports.wording import Say

MAX_PIXELS = 15_000_000  # of all maps together, about 20 MB of PNG in the page
MAX_CARDS = 50  # of a group, so that a browser opens it at once
MAX_FEATURES = 40


@dataclass(frozen=True)
class _Shown:
    """What all pictures share.

    Attributes:
        runs: one of each variant, with its maps.
        classes: {task: names}.
        metric: the score that is told beside each map; "" where there is none.
        scores: for each run {(method, task, example): score}.
        choice: the examples.
    """

    say: Say
    examples: Examples
    runs: list[tuple[Run, list[Attribution]]]
    classes: dict[str, list[str]]
    metric: str
    scores: list[dict[tuple[str, str, int], float]]
    choice: Choice


def gallery(experiment: Experiment, say: Say) -> Section:
    """The maps of one run for each variant (the lowest seed), all of the same inputs."""
    heading = say("gallery.heading")
    runs = [experiment.of(variant)[0] for variant in experiment.variants if experiment.of(variant)]
    with_maps = [run for run in runs if run.maps and run.examples is not None]
    first = with_maps[0].examples if with_maps else None
    if first is None:
        return Section("gallery", heading, missing=say("gallery.missing"))
    kept, notes = list[tuple[Run, list[Attribution]]](), list[str]()
    for run in with_maps:
        examples = run.examples
        if examples is not None and np.array_equal(examples.inputs, first.inputs):
            kept.append((run, list(run.attributions())))
        else:
            notes.append(say("gallery.other_inputs", variant=run.variant))
    kept = [(run, maps) for run, maps in kept if maps]
    if not kept:
        return Section("gallery", heading, missing=say("gallery.missing"), notes=notes)
    shown = _shown(experiment, first, kept, say)
    if len(shown.choice.shown) < shown.choice.of:
        values = {"shown": len(shown.choice.shown), "of": shown.choice.of, "maps": experiment.max_maps}
        notes.append(say("gallery.left_out", **values))
    words = any(len(a.words) for _, maps in kept for a in maps) and bool(first.words)
    intro = [say("gallery.intro"), _rule(shown), say("page.words_scale") if words else ""]
    return Section(
        "gallery",
        heading,
        say("words.sentence").join(filter(None, intro)),
        groups=_groups(shown),
        notes=notes,
    )


def _shown(
    experiment: Experiment, first: Examples, kept: list[tuple[Run, list[Attribution]]], say: Say
) -> _Shown:
    per_example = sum(len(maps) for _, maps in kept)
    pixels = sum(int(np.prod(a.maps.shape[1:])) for _, maps in kept for a in maps)
    N = len(first.inputs)
    count = max(1, min(N, experiment.max_maps // per_example, MAX_PIXELS // pixels))
    metric = metric_of([run for run, _ in kept])
    classes = {
        str(task["name"]): [str(name) for name in task.get("classes") or []]
        for run in experiment.runs
        for task in run.info["tasks"]
    }
    scores = [scores_of(run, metric) for run, _ in kept]
    return _Shown(say, first, kept, classes, metric, scores, choose(kept, N, count, metric))


def _rule(shown: _Shown) -> str:
    """How the examples were chosen, in words."""
    say, choice = shown.say, shown.choice
    at = {reason: i for i, reasons in choice.shown.items() for reason in reasons}
    parts = []
    if "differ" in at:
        parts.append(say("gallery.rule_differ", example=at["differ"]))
    if "best" in at or "worst" in at:
        by = say(f"gallery.by_{choice.by}") if choice.by in ("prediction", "error") else choice.by
        parts += [say(f"gallery.rule_{r}", example=at[r], by=by) for r in ("best", "worst") if r in at]
    drawn = sum("random" in reasons for reasons in choice.shown.values())
    if drawn:
        parts.append(say("gallery.rule_random", drawn=drawn, seed=SEED))
    elif "all" in at:
        parts.append(say("gallery.rule_all"))
    return say("gallery.rule", parts=say("words.semicolon").join(parts)) if parts else ""


def _groups(shown: _Shown) -> list[Group]:
    """The cards of each method, in groups that a browser opens at once."""
    saved = [a.method for _, maps in shown.runs for a in maps]
    scored = [str(method) for run, _ in shown.runs for method in run.scores["method"].unique()]
    groups = []
    for method in [method for method in dict.fromkeys([*scored, *saved]) if method in saved]:
        if shown.examples.inputs.ndim == 2:
            groups.append(Group(method, tables=_tables(shown, method)))
            continue
        examples = list(shown.choice.shown)
        parts = [examples[i : i + MAX_CARDS] for i in range(0, len(examples), MAX_CARDS)]
        for k, part in enumerate(parts):
            heading = (
                method
                if len(parts) == 1
                else shown.say("gallery.part", method=method, part=k + 1, of=len(parts))
            )
            groups.append(Group(heading, [_card(shown, method, i) for i in part]))
    return groups


def _card(shown: _Shown, method: str, i: int) -> Card:
    """One example: the input, and the maps of each variant on one colour scale."""
    say, strips, labels = shown.say, [], dict[str, str]()
    for (run, maps), scores in zip(shown.runs, shown.scores, strict=True):
        own = [a for a in maps if a.method == method]
        labels |= {a.task: _label(a, i, shown) for a in own}
        own = [a for a in own if np.isfinite(a.maps[i]).any()]  # else this example has none
        if own:
            scale = max(scale_end(a.maps[i]) for a in own)
            words = _words(shown.examples, own, i)
            pictures = [_picture(shown, run, a, i, scale, scores, words.get(a.task, [])) for a in own]
            note = say("gallery.scale", end=say.figure(scale))
            strips.append(Strip(run.variant, pictures, note))
    told = say("words.comma").join(
        say("gallery.of_task", task=task, label=label) for task, label in labels.items() if label
    )
    heading, examples = say("gallery.example", example=i), shown.examples
    inputs, masks = examples.inputs[i], examples.masks.values()
    picture = Picture(
        image_png(inputs),
        inputs.shape[-1],
        inputs.shape[-2],
        "".join(outline(mask[i]) for mask in masks),
        say("gallery.input"),
        told,
        say("gallery.alt_labels" if told else "gallery.alt_input", example=i, labels=told),
    )
    name = examples.names[i] if examples.names else " ".join(examples.words[i]) if examples.words else ""
    reasons = [say(f"gallery.because_{r}") for r in shown.choice.shown[i] if r not in ("random", "all")]
    if name:
        heading = say("gallery.named", heading=heading, name=name)
    if reasons:
        heading = say("gallery.because", heading=heading, reason=say("words.comma").join(reasons))
    return Card(heading, picture, strips)


def _picture(
    shown: _Shown, run: Run, a: Attribution, i: int, scale: float, scores: dict[tuple[str, str, int], float],
    words: list[tuple[str, str, float]],
) -> Picture:  # fmt: skip
    say, said = shown.say, _said(a, i, shown)
    score = scores.get((a.method, a.task, i))
    if score is not None:
        said = say("gallery.scored", said=said, metric=shown.metric, score=say.figure(score))
    mask = shown.examples.masks.get(a.task)
    alt = say("gallery.alt", method=a.method, task=a.task, variant=run.variant, example=i, said=said)
    height, width = a.maps.shape[1:]
    line = "" if mask is None else outline(mask[i])
    return Picture(signed_png(a.maps[i], scale), width, height, line, a.task, said, alt, words)


def _words(
    examples: Examples, maps: Sequence[Attribution], i: int
) -> dict[str, list[tuple[str, str, float]]]:
    """{task: the words of example i, shaded}, on one scale for the tasks."""
    with_words = [a for a in maps if len(a.words) and examples.words]
    sizes = [np.abs(a.words[i][np.isfinite(a.words[i])]) for a in with_words]
    scale = max((float(size.max()) for size in sizes if size.size), default=0.0) or 1.0
    return {
        a.task: [
            (word, f"{value:.3g}", float(np.nan_to_num(value / scale)))
            for word, value in zip(examples.words[i], a.words[i], strict=False)
        ]
        for a in with_words
    }


def _tables(shown: _Shown, method: str) -> list[Table]:
    """Maps of features as shaded numbers, a table for each task and variant."""
    say, examples, rows = shown.say, shown.examples, list(shown.choice.shown)
    F = examples.inputs.shape[1]
    names = examples.feature_names or [say("gallery.feature", number=j) for j in range(F)]
    tables = []
    for run, maps in shown.runs:
        for a in [a for a in maps if a.method == method]:
            values = np.where(np.isfinite(a.maps), a.maps, 0.0)[rows]
            kept = np.sort(np.argsort(-np.abs(values).mean(0), kind="stable")[:MAX_FEATURES])
            scale = float(np.abs(values).max()) or 1.0
            heading = say("gallery.table", task=a.task, variant=run.variant)
            if len(kept) < F:
                heading = say("gallery.largest", heading=heading, kept=len(kept), of=F)
            cells = [
                [
                    Cell(say("gallery.row", example=i, said=_said(a, i, shown))),
                    *(_shaded(float(a.maps[i, j]), scale, say) for j in kept),
                ]
                for i in rows
            ]
            key = f"maps-{a.method}-{a.task}-{run.variant}"
            columns = [say("gallery.example_column"), *(names[j] for j in kept)]
            tables.append(Table(key, heading, columns, cells))
    return tables


def _shaded(value: float, scale: float, say: Say) -> Cell:
    if not isfinite(value):
        return Cell(say("words.none"))
    return Cell(f"{value:.3g}", value, shade=value / scale)


def _said(a: Attribution, i: int, shown: _Shown) -> str:
    """What was predicted, and the label where it is known."""
    if a.captions:
        return a.captions[i]
    label, predicted = _label(a, i, shown), _named(a.prediction[i], shown.classes.get(a.task, []), shown.say)
    return shown.say(
        f"gallery.{'predicted_label' if label else 'predicted'}", predicted=predicted, label=label
    )


def _label(a: Attribution, i: int, shown: _Shown) -> str:
    """The label in words; empty where it is missing."""
    label, names = a.label[i], shown.classes.get(a.task, [])
    if np.ndim(label) == 0 and (label < 0 if names else label != label):  # -1 for a class, NaN for a value
        return ""
    return _named(label, names, shown.say)


def _named(value: np.generic, names: list[str], say: Say) -> str:
    if np.ndim(value):
        return say("gallery.several")
    number = value.item()
    if names and isinstance(number, int):
        return names[number] if 0 <= number < len(names) else say("gallery.no_class")
    return say.figure(float(number))
