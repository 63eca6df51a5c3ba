"""Scores along the way from one input to another, features moving in the order of their relevance."""

from __future__ import annotations

import torch
from torch import Tensor

from explain.metrics.features import places, ranking, shuffled
from explain.metrics.subject import Subject


def removal_curve(
    subject: Subject, maps: Tensor, steps: int, absolute: bool = False
) -> tuple[Tensor, Tensor]:
    """The scores of all tasks as features are removed in the order of one map.

    Shared by the metrics of the same subject: a second call with the same map costs nothing.

    Args:
        subject: whose clean inputs lose features to its baseline.
        maps: [B, *S].
        steps: T - 1, from the whole input to the baseline.
        absolute: whether evidence against counts as much as evidence for.

    Returns:
        The fractions of features removed, [1 or B, T, 1] in float64 from 0 to 1, the same again where there are fewer
        features than steps; and the scores [B, T, K].

    Cost: at most T - 2 forwards an example; steps that change nothing (the input is the baseline there) cost none.
    """
    key = ("removal", id(maps), steps, absolute)
    if key not in subject.memo:
        counts, order = step_counts(subject, steps), order_of(subject, maps, absolute)
        ends = (subject.inputs, subject.baseline)
        scores = curve(subject, order, counts, ends, (subject.clean, absent_scores(subject)))
        # the map is kept with its curve: its id is then no other tensor's
        subject.memo[key] = (maps, fractions_of(subject, counts), scores)
    _, fractions, scores = subject.memo[key]
    return fractions, scores


def absent_scores(subject: Subject) -> Tensor:
    """Scores [B, K] of the baseline."""
    if "absent" not in subject.memo:
        subject.memo["absent"] = subject.scores(subject.baseline)
    found: Tensor = subject.memo["absent"]
    return found


def order_of(subject: Subject, maps: Tensor, absolute: bool = False, least: bool = False) -> Tensor:
    """Features from the most (or the least) relevant on, [B, F]; ties at random, the same for all maps."""
    relevance, features = subject.features.sums(maps), subject.features
    if "ties" not in subject.memo:
        subject.memo["ties"] = shuffled(features, len(maps), subject.seed, subject.first)
    relevance = (relevance.abs() if absolute else relevance) * (-1 if least else 1)
    # features that an example lacks come last
    return ranking(relevance.where(features.there(len(maps)), -torch.inf), subject.memo["ties"])


def step_counts(subject: Subject, steps: int) -> Tensor:
    """How many features have moved at each step, [1 or B, T] from none to all, rounded down."""
    return subject.features.fractions(torch.arange(steps + 1, dtype=torch.float64) / steps)


def fractions_of(subject: Subject, counts: Tensor) -> Tensor:
    """Counts [1 or B, T] as fractions of the features, [1 or B, T, 1] in float64, to go with scores [B, T, K]."""
    return (counts.double() / subject.features.counts[:, None])[:, :, None]


def area(fractions: Tensor, scores: Tensor) -> Tensor:
    """The areas [B, K] under curves [B, T, K], by trapezoids in float64.

    >>> area(torch.tensor([[[0.0], [0.5], [1.0]]]), torch.tensor([[[1.0], [0.0], [0.0]]])).item()
    0.25
    """
    return torch.trapezoid(scores.double(), fractions.double(), dim=1)


def curve(
    subject: Subject,
    order: Tensor,
    counts: Tensor,
    ends: tuple[Tensor, Tensor],
    scores: tuple[Tensor, Tensor],
) -> Tensor:
    """Scores [B, T, K] on the way from one input to another, the first ``counts[., t]`` features of ``order`` moved.

    Args:
        subject: whose scores.
        order: [B, F].
        counts: [1 or B, T], from none to all, not falling.
        ends: inputs [B, *S] with none and with all features moved.
        scores: [B, K] of the two.

    Only inputs that differ from the one before are scored; the others have its score.
    """
    start, end = ends
    counts = counts.expand(len(order), -1)
    rank = places(order)
    moving = (subject.features.sums((start != end).float()) > 0).gather(1, order)  # [B, F], in order
    moved = torch.cat([moving.new_zeros(len(moving), 1), moving], dim=1).cumsum(1).gather(1, counts)  # [B, T]
    whole = moving.sum(dim=1, keepdim=True)
    new = moved.diff(dim=1, prepend=moved.new_full((len(moved), 1), -1)) != 0
    need = new & (moved > 0) & (moved < whole)
    example, step = need.nonzero().unbind(dim=1)

    def make(chunk: Tensor) -> Tensor:
        rows = example[chunk]
        gone = subject.features.spread(rank[rows] < counts[rows, step[chunk], None], rows)
        return torch.where(gone, end[rows], start[rows])

    found = subject.each(example, make)  # [m, K]
    # where a step is not new, the latest one that is
    number = torch.where(need, need.flatten().cumsum(0).reshape(need.shape) - 1, -1).cummax(dim=1).values
    between = torch.cat([found, found.new_zeros(1, found.shape[1])])[number]  # -1: none yet; replaced below
    none, all_ = (moved == 0)[:, :, None], (moved == whole)[:, :, None]
    return torch.where(none, scores[0][:, None], torch.where(all_, scores[1][:, None], between))


def column(subject: Subject, values: Tensor, task: str) -> Tensor:
    """Of [..., K], the numbers of one task, in float64."""
    return values[..., subject.tasks.index(task)].double()
