"""Which examples a gallery shows: by a stated, seeded rule, never by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from reports.reading import Attribution, Run

SEED = 0  # of the random examples; the page states it
# by which examples are best and worst: the first that is scored; faithfulness to the model before the place of a map
PREFERRED = (
    "insertion",
    "deletion",
    "pixel_flipping",
    "road",
    "sensitivity_n",
    "relevance_mass",
    "relevance_rank",
)
CONTROLS_ONLY = ("parameter_randomisation", "parameter_randomisation_absolute", "random_logit")


@dataclass(frozen=True)
class Choice:
    """The examples to show, in their order, each with the keys of its reasons.

    Attributes:
        shown: {example: of "differ", "best", "worst", or one of "random", "all"}.
        of: how many there are.
        by: what best and worst are told by: a metric's name, "prediction" or "error"; "" where neither is known.
    """

    shown: dict[int, tuple[str, ...]] = field(default_factory=dict)
    of: int = 0
    by: str = ""


def choose(runs: Sequence[tuple[Run, Sequence[Attribution]]], N: int, count: int, metric: str) -> Choice:
    """The first example where the variants' predictions differ, the best, the worst, and random ones.

    Args:
        runs: one of each variant, with its maps.
        N: examples there are.
        count: examples to show, at least 1.
        metric: the score of the maps that tells best and worst; "" where there is none: then the predictions do.
    """
    by, quality = (metric, _by_score(runs, N, metric)) if metric else _by_prediction(runs, N)
    shown: dict[int, tuple[str, ...]] = {}
    differing = _differing(runs, N)
    if differing is not None:
        shown[differing] = ("differ",)
    known = np.flatnonzero(np.isfinite(quality))
    if len(known) and quality[known].max() > quality[known].min():
        for reason, i in (("best", np.argmax(quality[known])), ("worst", np.argmin(quality[known]))):
            example = int(known[i])
            shown[example] = (*shown.get(example, ()), reason)
    else:
        by = ""
    shown = dict(list(shown.items())[:count])
    rest = [i for i in range(N) if i not in shown]
    if len(rest) + len(shown) > count:
        drawn = np.random.default_rng(SEED).permutation(rest)[: count - len(shown)]
        rest = sorted(int(i) for i in drawn)
        return Choice(shown | dict.fromkeys(rest, ("random",)), N, by)
    return Choice(shown | dict.fromkeys(rest, ("all",)), N, by)


def metric_of(runs: Sequence[Run]) -> str:
    """The metric by which these runs' maps are told better or worse; "" where they have no score of an example."""
    found = [name for run in runs for name in run.scores.loc[run.scores["map"] == "given", "metric"].unique()]
    known = [name for name in dict.fromkeys(found) if name not in CONTROLS_ONLY]
    return next((name for name in PREFERRED if name in known), known[0] if known else "")


def scores_of(run: Run, metric: str) -> dict[tuple[str, str, int], float]:
    """{(method, task, example): score} of a run's maps, in the task's own region where there are regions."""
    frame = run.scores
    own = (frame["region"] == "") | (frame["region"] == frame["task"])
    frame = frame[(frame["map"] == "given") & (frame["metric"] == metric) & own & frame["value"].notna()]
    keys = zip(frame["method"], frame["task"], frame["example"], strict=True)
    return {
        (str(method), str(task), int(example)): float(value)
        for (method, task, example), value in zip(keys, frame["value"], strict=True)
        if str(example).isdecimal()
    }


def _by_score(runs: Sequence[tuple[Run, Sequence[Attribution]]], N: int, metric: str) -> np.ndarray:
    """[N] the mean score over variants, methods and tasks, the larger the better; NaN where there is none."""
    found: list[list[float]] = [[] for _ in range(N)]
    sign = 1.0
    for run, _ in runs:
        frame = run.scores[(run.scores["metric"] == metric) & (run.scores["map"] == "given")]
        own = frame[(frame["region"] == frame["task"]) | (frame["region"] == "")]
        sign = -1.0 if len(own) and str(own["higher_is_better"].iloc[0]) == "False" else sign
        for (_, _, example), value in scores_of(run, metric).items():
            if example < N and np.isfinite(value):
                found[example].append(value)
    return np.array([sign * np.mean(values) if values else np.nan for values in found])


def _by_prediction(runs: Sequence[tuple[Run, Sequence[Attribution]]], N: int) -> tuple[str, np.ndarray]:
    """[N] the share of right classes, or minus the mean error in units of its task's; NaN where labels are missing."""
    right, error = [], []
    for _, maps in runs:
        for a in {a.task: a for a in maps}.values():  # the same predictions whatever the method
            if a.label.ndim != 1 or a.prediction.ndim != 1:
                continue
            if a.label.dtype.kind in "iub" and a.prediction.dtype.kind in "iub":
                right.append(np.where(a.label >= 0, a.label == a.prediction, np.nan))
            else:
                gap = np.abs(a.label.astype(float) - a.prediction.astype(float))
                known = gap[np.isfinite(gap)]
                if known.size and known.mean() > 0:
                    error.append(-gap / known.mean())
    rows = right or error
    if not rows:
        return "", np.full(N, np.nan)
    values = np.stack(rows)
    counts = np.isfinite(values).sum(axis=0)
    mean = np.where(counts > 0, np.nansum(values, axis=0) / np.maximum(counts, 1), np.nan)
    return ("prediction" if right else "error"), mean


def _differing(runs: Sequence[tuple[Run, Sequence[Attribution]]], N: int) -> int | None:
    """The first example for which two variants predict different classes for some task."""
    by_task: dict[str, list[np.ndarray]] = {}
    for _, maps in runs:
        for a in {a.task: a for a in maps}.values():
            if a.prediction.ndim == 1 and a.prediction.dtype.kind in "iub" and len(a.prediction) == N:
                by_task.setdefault(a.task, []).append(a.prediction.astype(np.int64))
    differ = np.zeros(N, dtype=bool)
    for predictions in by_task.values():
        differ |= (np.stack(predictions) != predictions[0]).any(axis=0)
    return int(np.argmax(differ)) if differ.any() else None
