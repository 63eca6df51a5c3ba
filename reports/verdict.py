"""The answer in words, from the same numbers as the tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from reports.statistics import Estimate, difference, holm, mean_interval
from reports.tables import Experiment, by_seed, select
from reports.trust import most_said, sanity_of
from reports.wording import count, figure, interval, joined, p_value

RANDOMISED = (
    "parameter_randomisation",
    "parameter_randomisation_absolute",
)  # metrics: of signed and absolute maps
APART, ALIKE = (
    0.5,
    0.8,
)  # correlations: up to the one it is another map, above the other it has hardly changed

FEW = 4  # methods, up to which each has a finding of its own
MIXED = "does not tell the tasks apart"


@dataclass(frozen=True)
class Finding:
    """One answer: a heading, what was found, and whether it is ``good``, ``bad`` or ``open``."""

    heading: str
    text: str
    tone: str


def findings(experiment: Experiment) -> list[Finding]:
    """What the runs say about sharing, balancing, and the maps; nothing that no finished run supports."""
    if not experiment.done:
        return [Finding("No result", "No run finished; see the runs at the end of this page.", "bad")]
    return [
        *_scores(experiment),
        *_sharing(experiment),
        *_balancing(experiment),
        *_evidence(experiment),
        *_learned(experiment),
    ]


def _scores(experiment: Experiment) -> list[Finding]:
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
                from_seeds = _mean(values)
                parts.append(f"{variant}: {interval(from_seeds, info.unit)}")
        better = "higher" if info.higher_is_better else "lower"
        unit = "" if info.unit == "fraction" else f", in {info.unit}"
        found.append(
            Finding(f"{info.task}: {info.name}", f"{'; '.join(parts)} ({better} is better{unit}).", "open")
        )
    return found


def _sharing(experiment: Experiment) -> list[Finding]:
    base, plain = experiment.baseline, experiment.reference
    shared = [v for v in experiment.variants if v != base and experiment.of(v)]
    if base is None or not shared:
        return []
    chosen = plain if plain in shared else shared[0]
    comparison = experiment.compare(chosen, base)
    gain = comparison.over_tasks
    ours, theirs = experiment.cost(chosen, "parameters").mean, experiment.cost(base, "parameters").mean
    heading = {1: "Sharing helped", -1: "Sharing hurt", 0: "Sharing: no significant difference"}[gain.sign]
    if ours == theirs:  # the same model on both sides: it is not sharing that differs
        heading = {
            1: "{} is better than {}",
            -1: "{} is worse than {}",
            0: "{} and {}: no significant difference",
        }[gain.sign].format(chosen, base)
    text = f"{chosen} against {base}: Δm {interval(gain, 'fraction', signed=True)} ({_basis(gain)})."
    if gain.sign == 0:
        text += f" {_power(gain)}"
    if _disagree(gain, comparison.over_metrics):
        text += (
            " Averaged over metrics instead of tasks, Δm has the other sign "
            f"({interval(comparison.over_metrics, 'fraction', signed=True)})."
        )
    worse = [task for task, estimate in comparison.by_task.items() if estimate.sign < 0]
    if worse:
        text += f" Significantly worse: {joined(worse)}."
    if comparison.undefined:
        text += f" Left out, for the base is zero or changes its sign: {joined(comparison.undefined)}."
    if ours > 0 and theirs > 0 and ours != theirs:
        text += f" The shared model has {figure(ours / theirs, 'fraction')} of the parameters."
    return [Finding(heading, text, {1: "good", -1: "bad", 0: "open"}[gain.sign])]


def _balancing(experiment: Experiment) -> list[Finding]:
    plain = experiment.reference
    if plain is None or experiment.baseline is None:
        return []
    others = [v for v in experiment.variants if v not in (plain, experiment.baseline) and experiment.of(v)]
    if not others:
        return []
    gains = {variant: experiment.compare(variant, plain).over_tasks for variant in others}
    adjusted = dict(zip(others, holm([gain.p for gain in gains.values()]), strict=True))
    better = [v for v in others if gains[v].mean > 0 and adjusted[v] < 0.05]
    worse = [v for v in others if gains[v].mean < 0 and adjusted[v] < 0.05]

    def told(variant: str) -> str:
        cost = experiment.cost(variant, "step_s").mean / experiment.cost(plain, "step_s").mean
        time = f", {cost:.2f} times the time a step" if cost > 0 else ""
        gain = interval(gains[variant], "fraction", signed=True)
        return f"{variant} {gain} (Holm-adjusted p {p_value(adjusted[variant])}{time})"

    found = []
    if better:
        text = f"Δm against the plain sum ({plain}): {'; '.join(map(told, better))}."
        found.append(Finding("Balancing helped beyond the plain sum", text, "good"))
    else:
        best = max(others, key=lambda v: gains[v].mean if gains[v].mean == gains[v].mean else float("-inf"))
        text = (
            f"Of {count(len(others), 'method')}, the best by its mean is {told(best)}. {_power(gains[best])}"
        )
        found.append(Finding(f"No significant gain over the plain sum ({plain})", text, "open"))
    if worse:
        found.append(Finding("Worse than the plain sum", f"Δm: {'; '.join(map(told, worse))}.", "bad"))
    return found


def _evidence(experiment: Experiment) -> list[Finding]:
    """For each method: the mass in the task's own mask against a random map, the image, and the other tasks' masks."""
    frame = select(experiment.localisation(), metric="relevance_mass")
    scored = [variant for variant in experiment.variants if len(select(frame, variant=variant))]
    if experiment.baseline is not None:  # the shared models are alike: the plain sum speaks for them
        scored = [experiment.reference] if experiment.reference in scored else scored[:1]
    methods = list(dict.fromkeys(frame["method"]))
    judged = [
        one
        for method in methods
        for variant in scored
        if (one := _judged(select(frame, method=method, variant=variant), method, variant))
    ]
    if len(methods) <= FEW:
        return [Finding(f"{one.method}: {one.words}", one.text, one.tone) for one in judged]
    return [
        _together(words, [one for one in judged if one.words == words])
        for words in dict.fromkeys(one.words for one in judged)
    ]


class _Judgement(NamedTuple):
    """What the mass of one method's maps says, on one variant."""

    method: str
    variant: str
    words: str
    tone: str
    text: str
    mass: Estimate


def _together(words: str, judged: list[_Judgement]) -> Finding:
    """Methods of which the same is said, as one finding."""
    methods, variants = (
        list(dict.fromkeys(names)) for names in zip(*((j.method, j.variant) for j in judged), strict=True)
    )
    told = []
    for variant in variants:
        masses = (
            f"{j.method} {interval(j.mass, 'fraction') if j.mass.has_interval else figure(j.mass.mean, 'fraction')}"
            for j in judged
            if j.variant == variant
        )
        told.append(f"{variant}: {', '.join(masses)}")
    heading = f"{count(len(methods), 'method')}: {words}"
    return Finding(heading, f"Relevance in the task's own region: {'; '.join(told)}.", judged[0].tone)


def _judged(part: pd.DataFrame, method: str, variant: str) -> _Judgement | None:
    own = part[part["region"] == part["task"]]
    mass = {kind: _over_tasks(select(own, map=kind)) for kind in ("given", "random", "image")}
    if not mass["given"]:
        return None
    given, image = _mean(mass["given"]), _mean(mass["image"]).mean
    text = (
        f"{variant}: {interval(given, 'fraction')} of the relevance lies in the task's own region, "
        f"{figure(_mean(mass['random']).mean, 'fraction')} for a random map, "
        f"{figure(image, 'fraction')} for the image itself"
    )
    other = _over_tasks(select(part[part["region"] != part["task"]], map="given"))
    if other:
        text += f"; {figure(_mean(other).mean, 'fraction')} lies in the other tasks' regions"
    if image > 0.999:
        told = "The region is all that the image shows, so this score cannot tell a good map from the image."
        return _Judgement(method, variant, "no test of the map", "open", f"{text}. {told}", given)
    words, tone = _words(
        difference(mass["given"], mass["random"]), difference(mass["given"], other) if other else None
    )
    if tone == "good":
        text += {
            1: ". More than the image itself has there",
            0: ". Not distinguishable from the image itself",
            -1: ". The image itself has more of its brightness there: the map is spread wider",
        }[difference(mass["given"], mass["image"]).sign]
    if words == MIXED:
        text += ": above a random map, but no more in the own region than in the others'"
    return _Judgement(method, variant, words, tone, f"{text}.", given)


def _words(above_random: Estimate, own_over_other: Estimate | None) -> tuple[str, str]:
    if not above_random.has_interval:
        return "one seed, no conclusion", "open"
    if above_random.sign == 0:  # which is not the same as no better
        return "no significant difference from a random map", "open"
    if above_random.sign < 0:
        return "no better than a random map", "bad"
    if own_over_other is None:
        return "above a random map", "good"
    if own_over_other.sign <= 0:
        return MIXED, "bad"
    return "each task looks at its own region", "good"


def _learned(experiment: Experiment) -> list[Finding]:
    """Which methods' maps become others when weights are random (Adebayo et al. 2018), all in one finding."""
    checks = sanity_of(experiment)
    if len(checks):
        return _sanity(checks)
    frame = select(experiment.localisation(), map="given")
    metric = RANDOMISED[1] if len(select(frame, metric=RANDOMISED[1])) else RANDOMISED[0]
    told: dict[str, list[str]] = {"good": [], "open": [], "bad": []}
    for method in dict.fromkeys(select(frame, metric=metric)["method"]):
        alike = _mean(_over_tasks(select(frame, metric=metric, method=method)))
        sure = alike.has_interval
        tone = "good" if sure and alike.high <= APART else "bad" if sure and alike.low > ALIKE else "open"
        told[tone].append(f"{method} {interval(alike, 'cosine')}")
    if not any(told.values()):
        return []
    methods = sum(map(len, told.values()))
    heading = f"Random weights change the maps of {len(told['good'])} of {count(methods, 'method')}"
    named = {"good": "other maps", "open": "in doubt", "bad": "hardly changed, so not about what was learned"}
    parts = [f"{named[tone]}: {'; '.join(parts)}" for tone, parts in told.items() if parts]
    values = "absolute values" if metric == RANDOMISED[1] else "values"
    text = f"Rank correlation of the maps' {values} with those of random weights. {'. '.join(parts).capitalize()}."
    worst = "bad" if told["bad"] else "open" if told["open"] else "good"
    return [Finding(heading, text, worst)]


def _sanity(checks: pd.DataFrame) -> list[Finding]:
    """A verdict for each method, in the words of its own checks."""
    said: dict[str, list[str]] = {}
    for method in dict.fromkeys(checks["method"]):
        verdict, words, share, of = most_said(select(checks, method=method))
        reason = f" ({words}, {share} of {of} maps)" if verdict != "passes" else ""
        said.setdefault(verdict, []).append(f"{method}{reason}")
    order = [name for name in ("fails", "in doubt", "passes", "not defined") if name in said]
    text = " ".join(f"{name.capitalize()}: {', '.join(said[name])}." for name in order)
    heading = f"Sanity checks: {len(said.get('passes', []))} of {count(sum(map(len, said.values())), 'method')} pass"
    return [
        Finding(
            heading, f"{text} To pass is necessary, not sufficient.", "bad" if "fails" in said else "good"
        )
    ]


def _over_tasks(frame: pd.DataFrame) -> dict[int, float]:
    """{seed: mean over tasks and regions}."""
    return by_seed(frame.groupby("seed", sort=True)["value"].mean().reset_index())


def _mean(values: dict[int, float]) -> Estimate:
    return mean_interval(list(values.values()))


def _basis(gain: Estimate) -> str:
    return f"{count(gain.n, 'seed')}, {'paired by seed' if gain.paired else 'not paired, Welch'}; positive is better"


def _power(gain: Estimate) -> str:
    if not gain.has_interval:
        return "One seed allows no interval; run more seeds."
    return (
        "That is not the same as equal: "
        f"{count(gain.n, 'seed')} would find a difference of {figure(gain.detectable, 'fraction')} in 4 of 5 cases."
    )


def _disagree(one: Estimate, other: Estimate) -> bool:
    return one.mean * other.mean < 0
