"""Delete what one task uses, and measure every task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from explain.baselines import Baseline, expanded
from explain.batching import noise_like, rows_at_once
from explain.guard import guarded
from explain.inputs import Inputs, lay_out
from explain.metrics.curves import absent_scores, removal_curve
from explain.metrics.features import features_of
from explain.metrics.given import blank, checked_maps
from explain.metrics.subject import Subject, make_subject
from explain.names import unknown
from explain.options import checked_call
from explain.targets import Target

STREAM = 2**21  # of the random orders, which no method draws from


def cross_deletion(
    model: nn.Module,
    inputs: Inputs,
    maps: Mapping[str, Any],
    *,
    target: Target | Mapping[str, Target] = "predicted",
    score: str | Mapping[str, str] = "logit",
    baseline: Baseline = 0.0,
    features: Any = None,
    absolute: bool = False,
    steps: int = 16,
    controls: int = 4,
    batch_size: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Take features away in the order of each task's map, and measure the fall of every task's score.

    A drop is score(x) minus the mean score along the way, from the whole input to the baseline (what the area under the
    deletion curve of Petsiuk et al. 2018 leaves, for every pair of tasks). Beside it stands the drop under random
    orders, for any input loses its score as it vanishes: ``excess`` is what the map's order adds. The diagonal says
    whether a map is faithful to its own task; the rest whether it is specific: near or below zero where the other task
    rests on something else, and as large as the diagonal where both rest on the same.

    Args:
        model: as for `explain.saliency`.
        inputs: likewise.
        maps: {task: map like the inputs}; further names may be among them, for controls (an image, another method).
        target: what is measured of each task, as for `explain.saliency`; "predicted" is of the whole input.
        score: likewise; with "probability" the tasks have one unit.
        baseline: what stands for an absent feature: a number, [*S], [B, *S], ``"mean"`` or ``"blur"``.
        features: what is taken away together, as for `explain.evaluate`; None: pixels, tokens or columns.
        absolute: whether evidence against goes as early as evidence for.
        steps: from the whole input to the baseline.
        controls: random orders an example, the same for all tasks.
        batch_size: examples a micro-batch; it does not change the numbers.
        seed: of the random orders; each example has streams of its own.
        progress: a bar on standard error.

    Returns:
        A row for each example, map and task: example, deleted_by, measured, drop, control, excess (drop - control) and
        whole (the drop with everything gone); in units of the score. `explain.show_matrix` draws the means.

    Raises:
        ValueError: no map of any task, maps that do not fit, options out of range, and as `explain.saliency`.

    Cost: (maps + controls) x steps forwards at most, whatever the number of tasks; steps that change nothing are free.

    >>> class Halves(nn.Module):
    ...     def forward(self, x):
    ...         return {"a": x[:, :2].sum(1), "b": x[:, 2:].sum(1)}
    >>> maps = {"a": torch.tensor([[1.0, 1, 0, 0]]), "b": torch.tensor([[0.0, 0, 1, 1]])}
    >>> frame = cross_deletion(Halves(), torch.ones(1, 4), maps, steps=4)
    >>> frame[["deleted_by", "measured", "drop"]].values.tolist()
    [['a', 'a', 1.5], ['a', 'b', 0.5], ['b', 'a', 0.5], ['b', 'b', 1.5]]
    """
    model = checked_call(model, batch_size, seed)
    for name, value in (("steps", steps), ("controls", controls)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be an integer >= 1, got {value!r}")
    layout, joined = lay_out(inputs)
    named = checked_maps(maps, layout, joined, None)
    away = expanded("cross_deletion", baseline, joined, blank(layout, len(joined)))
    groups = features_of(layout, joined, features)

    def run() -> tuple[list[str], list[dict[str, Tensor]], Tensor, Tensor]:
        subject = make_subject(
            model,
            layout,
            joined,
            task=None,
            target=target,
            score=score,
            baseline=away,
            features=groups,
            rows=batch_size or rows_at_once(joined.shape[1:]),
            seed=seed,
            progress=progress,
        )
        if not set(named) & set(subject.tasks):
            raise unknown("task", next(iter(named)), subject.tasks)
        drops, random, whole = [], [], []
        for rows, part in subject.scorers[0].steps(subject.parts(), total=len(subject.scorers)):
            drops.append({name: _drop(part, found[rows], steps, absolute) for name, found in named.items()})
            noise = [noise_like(part.inputs, seed, part.first, STREAM + draw) for draw in range(controls)]
            random.append(torch.stack([_drop(part, found, steps, False) for found in noise]).mean(0))
            whole.append((part.clean - absent_scores(part)).double())
        return subject.tasks, drops, torch.cat(random), torch.cat(whole)

    tasks, drops, random, whole = guarded(model, joined.device, run)
    return _table(tasks, {name: torch.cat([part[name] for part in drops]) for name in named}, random, whole)


@torch.no_grad()
def _drop(part: Subject, order: Tensor, steps: int, absolute: bool) -> Tensor:
    """Score(x) minus the mean score along the way, [b, K] in float64."""
    fractions, scores = removal_curve(part, order, steps, absolute)  # [T], [b, T, K]
    return part.clean.double() - torch.trapezoid(scores.double(), fractions.to(scores.device), dim=1)


def _table(tasks: list[str], drops: Mapping[str, Tensor], control: Tensor, whole: Tensor) -> pd.DataFrame:
    frames = [
        pd.DataFrame(
            {
                "example": range(len(control)),
                "deleted_by": name,
                "measured": task,
                "drop": drop[:, k].cpu().numpy(),
                "control": control[:, k].cpu().numpy(),
                "excess": (drop - control)[:, k].cpu().numpy(),
                "whole": whole[:, k].cpu().numpy(),
            }
        )
        for name, drop in drops.items()
        for k, task in enumerate(tasks)
    ]
    return pd.concat(frames, ignore_index=True)
