"""The answer in words, from the same numbers as the tables; what is called better or worse is so after Holm."""

from __future__ import annotations

from math import isfinite

from reports.document import Finding, Section
from reports.sections.maps import evidence, learned
from reports.statistics import SIGNIFICANT, Estimate, holm, mean_interval
from reports.tables import Comparison, Contrast, Experiment
from reports.wording import Say

TONES = {1: "good", -1: "bad", 0: "open"}
FRUGAL = ("step_s", "peak_memory_mib", "energy_j")


def verdict(experiment: Experiment, say: Say) -> Section:
    """The answers, first on the page."""
    return Section("verdict", say("page.verdict"), findings=findings(experiment, say))


def findings(experiment: Experiment, say: Say | None = None) -> list[Finding]:
    """What the runs say about sharing, balancing, cost and the maps; nothing that no finished run supports."""
    say = say or Say()
    if not experiment.done:
        return [Finding(say("verdict.none_head"), say("verdict.none"), "bad", "result")]
    return [
        *_scores(experiment, say),
        *_sharing(experiment, say),
        *_against_reference(experiment, say),
        *_cost(experiment, say),
        *evidence(experiment, say),
        *learned(experiment, say),
    ]


def _scores(experiment: Experiment, say: Say) -> list[Finding]:
    """Where no variant is a baseline of one model a task: the main metric of each variant, and the recipe's own."""
    if experiment.baseline is not None:
        return []
    found = []
    for info in experiment.metrics:
        if info.name == "loss" or not (info.main or info.diagnostic):
            continue
        parts = []
        for variant in experiment.variants:
            values = experiment.values(variant, info.task, info.name)
            if values:
                score = say.interval(mean_interval(list(values.values())), info.unit)
                parts.append(say("verdict.scores_one", variant=variant, score=score))
        if not parts:
            continue
        better = say("verdict.higher" if info.higher_is_better else "verdict.lower")
        unit = "" if info.unit == "fraction" else say("verdict.in_unit", unit=info.unit)
        text = say("verdict.scores", scores=say("words.semicolon").join(parts), better=better, unit=unit)
        heading = say("verdict.scores_head", task=info.task, metric=info.name)
        found.append(Finding(heading, text, "open", f"scores-{info.task}-{info.name}"))
    return found


def _sharing(experiment: Experiment, say: Say) -> list[Finding]:
    """The reference, or the first other variant, against the baseline."""
    base = experiment.baseline
    shared = experiment.compared_with(base) if base is not None else []
    if base is None or not shared:
        return []
    chosen = experiment.reference if experiment.reference in shared else shared[0]
    contrast = experiment.contrast(chosen, base)
    if contrast is None:
        return []
    comparison = experiment.compare(chosen, base)
    ours, theirs = (experiment.cost(v, "parameters").mean for v in (chosen, base))
    # no smaller than the baseline: it is not sharing that differs
    kind = "same" if ours >= theirs else "sharing"
    heading = say(f"verdict.{kind}_{contrast.verdict}", ours=chosen, base=base)
    gain = say.interval(contrast.estimate, "fraction", signed=True)
    text = say("verdict.gain", ours=chosen, base=base, gain=gain, basis=_basis(contrast, say))
    if contrast.verdict == 0:
        text += say("words.sentence") + _power(contrast.estimate, say)
    text += _details(experiment, comparison, say)
    if 0 < ours < theirs:
        text += say("verdict.parameters", share=say.figure(ours / theirs, "fraction"))
    return [Finding(heading, text, TONES[contrast.verdict], "sharing")]


def _details(experiment: Experiment, comparison: Comparison, say: Say) -> str:
    """The other convention where it disagrees, the tasks that differ, the lowest of them, and what was left out."""
    text = ""
    if comparison.over_tasks.mean * comparison.over_metrics.mean < 0:
        gain = say.interval(comparison.over_metrics, "fraction", signed=True)
        text += say("verdict.disagree", gain=gain)
    pair = (comparison.variant, comparison.against)
    for sign, name in ((-1, "worse"), (1, "better")):
        found = [experiment.contrast(*pair, task) for task in experiment.tasks]
        tasks = [one.task for one in found if one is not None and one.verdict == sign]
        if tasks:
            text += say(f"verdict.tasks_{name}", tasks=say.joined(tasks))
    if len(comparison.by_task) > 1 and comparison.worst:
        lowest = say.interval(comparison.by_task[comparison.worst], "fraction", signed=True)
        text += say("verdict.worst", task=comparison.worst, gain=lowest)
    if comparison.undefined:
        text += say("verdict.undefined", metrics=say.joined(comparison.undefined))
    return text


def _against_reference(experiment: Experiment, say: Say) -> list[Finding]:
    """All other variants against the reference: the plain sum where there are single-task models, else by its name."""
    base = experiment.reference
    if base is None or base == experiment.baseline:
        return []
    found = [one for v in experiment.compared_with(base) if (one := experiment.contrast(v, base)) is not None]
    known = [one for one in found if isfinite(one.estimate.mean)]
    if not known:
        return []
    plain_sum = experiment.baseline is not None
    yes, no, bad = ("helped", "no_gain", "hurt") if plain_sum else ("better", "no_better", "worse")

    def told(those: list[Contrast]) -> str:
        return say("words.semicolon").join(_told(experiment, one, say) for one in those)

    better, worse = ([one for one in known if one.verdict == sign] for sign in (1, -1))
    answers = []
    if better:
        text = say(f"verdict.{yes}_text", base=base, which=told(better))
        answers.append(Finding(say(f"verdict.{yes}", base=base), text, "good", "gains"))
    else:
        best = max(known, key=lambda one: one.estimate.mean)
        text = say(
            f"verdict.{no}_text",
            methods=say.count("method", len(found)),
            variants=say.count("variant", len(found)),
            best=told([best]),
            power=_power(best.estimate, say),
        )
        answers.append(Finding(say(f"verdict.{no}", base=base), text, "open", "gains"))
    if worse:
        text = say(f"verdict.{bad}_text", base=base, which=told(worse))
        answers.append(Finding(say(f"verdict.{bad}", base=base), text, "bad", "losses"))
    return answers


def _cost(experiment: Experiment, say: Say) -> list[Finding]:
    """Where no score tells variants apart that are no balancers: what they cost beside the reference."""
    base = experiment.reference
    others = experiment.compared_with(base) if base is not None else []
    alike = not any(one.verdict for one in experiment.contrasts)
    if base is None or experiment.baseline is not None or not others or not alike:
        return []
    ratios = {
        (field, variant): ratio
        for field in FRUGAL
        for variant in others
        if isfinite((ratio := experiment.cost_ratio(variant, base, field)).mean)
    }
    if not ratios:
        return []
    adjusted = dict(zip(ratios, holm([ratio.p for ratio in ratios.values()]), strict=True))
    parts, cheaper = [say("verdict.alike", base=base)], []
    for field in FRUGAL:
        known = {v: ratio for (name, v), ratio in ratios.items() if name == field}
        if not known:
            continue
        least = min(known, key=lambda v: known[v].mean)
        if known[least].mean >= 1:
            parts.append(say(f"verdict.itself_{field}", base=base))
            continue
        p = adjusted[field, least]
        shown = say("verdict.cost_p", p=say.p_value(p)) if isfinite(p) else ""
        times = say.interval(known[least])
        parts.append(say(f"verdict.{field}", variant=least, ratio=times, base=base, p=shown))
        cheaper += [least] if p < SIGNIFICANT else []
    names = list(dict.fromkeys(cheaper))
    heading = (
        say("verdict.cheaper", variants=say.joined(names)) if names else say("verdict.not_cheaper", base=base)
    )
    return [Finding(heading, say("words.sentence").join(parts), "good" if names else "open", "cost")]


def _told(experiment: Experiment, one: Contrast, say: Say) -> str:
    gain = say.interval(one.estimate, "fraction", signed=True)
    if not isfinite(one.adjusted):
        return say("verdict.told_one", variant=one.variant, gain=gain)
    cost = experiment.cost_ratio(one.variant, one.against, "step_s").mean
    time = say("verdict.time", ratio=f"{cost:.2f}") if isfinite(cost) else ""
    return say("verdict.told", variant=one.variant, gain=gain, p=say.p_value(one.adjusted), time=time)


def _basis(contrast: Contrast, say: Say) -> str:
    estimate = contrast.estimate
    p = say("verdict.basis_p", p=say.p_value(contrast.adjusted)) if isfinite(contrast.adjusted) else ""
    kind = "paired" if estimate.paired else "unpaired"
    return say(f"verdict.basis_{kind}", seeds=say.count("seed", estimate.n), p=p)


def _power(gain: Estimate, say: Say) -> str:
    if not gain.has_interval:
        return say("verdict.power_one")
    size = say.figure(gain.detectable, "fraction")
    return say("verdict.power", seeds=say.count("seed", gain.n), size=size)
