"""The verdict on the maps in words: do they look at their task's region, and at what was learned?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from reports.document import Finding
from reports.sections.trust import most_said, sanity_of
from reports.statistics import SIGNIFICANT, Estimate, difference, holm, mean_interval
from reports.tables import Experiment, by_seed, select
from reports.wording import Say

RANDOMISED = ("parameter_randomisation", "parameter_randomisation_absolute")  # of signed and of absolute maps
APART, ALIKE = (
    0.5,
    0.8,
)  # correlations: up to the one it is another map, above the other it has hardly changed
FEW = 4  # methods, up to which each has a finding of its own
WHOLE = 0.999  # of the image in the region: then every map is in it
SANITY = {"fails": "fails", "in doubt": "in_doubt", "passes": "passes", "not defined": "not_defined"}


@dataclass(frozen=True)
class _Mass:
    """The relevance in the task's own region, on one variant, and what it is held against."""

    method: str
    variant: str
    given: Estimate
    random: float
    image: float
    other: float | None
    against: dict[str, Estimate]


class _Judgement(NamedTuple):
    """What the mass of one method's maps says, on one variant; ``words`` is a key of the texts."""

    mass: _Mass
    words: str
    tone: str
    text: str


def evidence(experiment: Experiment, say: Say) -> list[Finding]:
    """For each method: the mass in the task's own mask against a random map, the image, and the other tasks' masks.

    All these comparisons are one family; better and worse are said after Holm's adjustment.
    """
    frame = select(experiment.localisation(), metric="relevance_mass")
    scored = [variant for variant in experiment.variants if len(select(frame, variant=variant))]
    if experiment.baseline is not None:  # the shared models are alike: the plain sum speaks for them
        scored = [experiment.reference] if experiment.reference in scored else scored[:1]
    methods = list(dict.fromkeys(frame["method"]))
    masses = [
        one
        for method in methods
        for variant in scored
        if (one := _mass(select(frame, method=method, variant=variant), method, variant))
    ]
    family = [(i, name) for i, one in enumerate(masses) for name in one.against]
    p_values = dict(zip(family, holm([masses[i].against[name].p for i, name in family]), strict=True))
    judged = []
    for i, one in enumerate(masses):
        signs = {name: _sign(found, p_values[i, name]) for name, found in one.against.items()}
        judged.append(_judged(one, signs, say))
    if len(methods) <= FEW:
        return [_alone(one, say) for one in judged]
    return [
        _together(words, [one for one in judged if one.words == words], say)
        for words in dict.fromkeys(one.words for one in judged)
    ]


def _sign(found: Estimate, p: float) -> int:
    return 0 if not p < SIGNIFICANT else 1 if found.mean > 0 else -1


def _mass(part: pd.DataFrame, method: str, variant: str) -> _Mass | None:
    own = part[part["region"] == part["task"]]
    mass = {kind: _over_tasks(select(own, map=kind)) for kind in ("given", "random", "image")}
    given = mass["given"]
    if not given:
        return None
    other = _over_tasks(select(part[part["region"] != part["task"]], map="given"))
    image = _mean(mass["image"]).mean
    against = {} if image > WHOLE else {"random": difference(given, mass["random"])}
    if against and other:
        against["other"] = difference(given, other)
    if against and mass["image"]:
        against["image"] = difference(given, mass["image"])
    random, others = _mean(mass["random"]).mean, _mean(other).mean if other else None
    return _Mass(method, variant, _mean(given), random, image, others, against)


def _judged(one: _Mass, signs: dict[str, int], say: Say) -> _Judgement:
    text = say(
        "maps.mass",
        variant=one.variant,
        mass=say.interval(one.given, "fraction"),
        random=say.figure(one.random, "fraction"),
        image=say.figure(one.image, "fraction"),
    )
    if one.other is not None:
        text += say("maps.other", other=say.figure(one.other, "fraction"))
    words, tone = _words(one, signs)
    if words == "no_test":
        text += say("maps.whole")
    elif tone == "good" and "image" in signs:
        text += say(f"maps.image_{signs['image']}")
    elif words == "mixed":
        text += say("maps.mixed_more")
    return _Judgement(one, words, tone, say("maps.stop", text=text))


def _words(one: _Mass, signs: dict[str, int]) -> tuple[str, str]:
    if not signs:
        return "no_test", "open"
    if not one.against["random"].has_interval:
        return "one_seed", "open"
    if signs["random"] == 0:  # which is not the same as no better
        return "not_shown", "open"
    if signs["random"] < 0:
        return "no_better", "bad"
    if "other" not in signs:
        return "above", "good"
    return {1: ("own", "good"), 0: ("mixed_open", "open"), -1: ("mixed", "bad")}[signs["other"]]


def _alone(one: _Judgement, say: Say) -> Finding:
    heading = say("maps.head", method=one.mass.method, words=say(f"maps.{one.words}"))
    return Finding(heading, one.text, one.tone, f"maps-{one.mass.method}-{one.mass.variant}")


def _together(words: str, judged: list[_Judgement], say: Say) -> Finding:
    """Methods of which the same is said, as one finding."""
    methods = list(dict.fromkeys(one.mass.method for one in judged))
    told = []
    for variant in dict.fromkeys(one.mass.variant for one in judged):
        masses = [
            f"{one.mass.method} "
            + (
                say.interval(one.mass.given, "fraction")
                if one.mass.given.has_interval
                else say.figure(one.mass.given.mean, "fraction")
            )
            for one in judged
            if one.mass.variant == variant
        ]
        told.append(say("maps.of_variant", variant=variant, masses=say("words.comma").join(masses)))
    heading = say("maps.head", method=say.count("method", len(methods)), words=say(f"maps.{words}"))
    text = say("maps.together", told=say("words.semicolon").join(told))
    return Finding(heading, text, judged[0].tone, f"maps-{words}")


def learned(experiment: Experiment, say: Say) -> list[Finding]:
    """Which methods' maps become others when weights are random (Adebayo et al. 2018), all in one finding."""
    checks = sanity_of(experiment)
    if len(checks):
        return _sanity(checks, say)
    frame = select(experiment.localisation(), map="given")
    metric = RANDOMISED[1] if len(select(frame, metric=RANDOMISED[1])) else RANDOMISED[0]
    told: dict[str, list[str]] = {"good": [], "open": [], "bad": []}
    for method in dict.fromkeys(select(frame, metric=metric)["method"]):
        alike = _mean(_over_tasks(select(frame, metric=metric, method=method)))
        sure = alike.has_interval
        tone = "good" if sure and alike.high <= APART else "bad" if sure and alike.low > ALIKE else "open"
        told[tone].append(f"{method} {say.interval(alike, 'cosine')}")
    if not any(told.values()):
        return []
    methods = say.count("method", sum(map(len, told.values())))
    heading = say("maps.random_weights", changed=len(told["good"]), methods=methods)
    parts = [
        say(f"maps.random_weights_{tone}", which=say("words.semicolon").join(which))
        for tone, which in told.items()
        if which
    ]
    values = say("maps.absolute" if metric == RANDOMISED[1] else "maps.signed")
    text = say("maps.random_weights_text", values=values) + say("words.sentence").join(["", *parts])
    worst = "bad" if told["bad"] else "open" if told["open"] else "good"
    return [Finding(heading, text, worst, "random-weights")]


def _sanity(checks: pd.DataFrame, say: Say) -> list[Finding]:
    """A verdict for each method, in the words of its own checks."""
    said: dict[str, list[str]] = {}
    for method in dict.fromkeys(checks["method"]):
        verdict, words, share, of = most_said(select(checks, method=method))
        reason = say("maps.reason", words=words, share=share, of=of) if verdict != "passes" else ""
        said.setdefault(verdict, []).append(f"{method}{reason}")
    parts = [
        say(f"maps.sanity_{key}", which=say("words.comma").join(said[name]))
        for name, key in SANITY.items()
        if name in said
    ]
    methods = say.count("method", sum(map(len, said.values())))
    heading = say("maps.sanity", passed=len(said.get("passes", [])), methods=methods)
    text = say("words.sentence").join([*parts, say("maps.necessary")])
    return [Finding(heading, text, "bad" if "fails" in said else "good", "sanity")]


def _over_tasks(frame: pd.DataFrame) -> dict[int, float]:
    """{seed: mean over tasks and regions}."""
    return by_seed(frame.groupby("seed", sort=True)["value"].mean().reset_index())


def _mean(values: dict[int, float]) -> Estimate:
    return mean_interval(list(values.values()))
