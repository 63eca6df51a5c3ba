"""Scores of coalitions: the input where a feature is present, the baseline where it is absent.

In the words of cooperative games: features are players, what a coalition of them scores is its value v.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from explain.baselines import Baseline, expanded
from explain.batching import stacked
from explain.features import Features, named_features
from explain.scorer import Scorer

LARGEST = 4096  # features, where a system of M x M in float64 is solved for each example


@dataclass(frozen=True, eq=False)
class Game:
    """The features of b examples that have M of them each, and what coalitions of them score.

    Args:
        name: of the method, for messages.
        scorer: of these examples.
        inputs: [b, *S].
        baseline: [b, *S].
        ids: [b or 1, *S'], which of the M features an element belongs to.
        features: M.
        places: of the examples in the whole batch, for random streams.
        full: v of all features, the score of the input: float64 [b, K].
        empty: v of none, the score of the baseline: float64 [b, K].
    """

    name: str
    scorer: Scorer
    inputs: Tensor
    baseline: Tensor
    ids: Tensor
    features: int
    places: list[int]
    full: Tensor
    empty: Tensor

    def values(self, count: int, coalitions: Callable[[range], Tensor]) -> Tensor:
        """v of ``count`` coalitions, float64 [count, b, K].

        Args:
            count: how many, for each example.
            coalitions: which of them -> bool [n, b or 1, M]; made as they are needed, for memory.
        """
        found = [
            self._scores(coalitions(chunk).to(self.ids.device))
            for chunk in self.scorer.steps(list(stacked(count, self.inputs)))
        ]
        return torch.cat(found).double() if found else self.full.new_zeros(0, *self.full.shape)

    def _scores(self, present: Tensor) -> Tensor:
        ids = self.ids.flatten(1)
        rows = max(len(ids), present.shape[1])
        shape = (len(present), rows, -1)
        kept = present.expand(shape).gather(2, ids.expand(len(present), rows, -1))  # [n, rows, S']
        kept = kept.reshape(len(present), rows, *self.ids.shape[1:])
        mixed = torch.where(kept, self.inputs, self.baseline)  # [n, b, *S]
        return self.scorer(mixed.flatten(0, 1)).reshape(len(present), len(self.inputs), -1)


class Options(Protocol):
    """What the methods over features have in common."""

    @property
    def features(self) -> Features: ...
    @property
    def size(self) -> int | None: ...
    @property
    def baseline(self) -> Baseline: ...
    @property
    def divided(self) -> bool: ...


@torch.no_grad()
def over_features(
    name: str,
    options: Options,
    scorer: Scorer,
    inputs: Tensor,
    first: int,
    solve: Callable[[Game], Tensor],
) -> list[Tensor]:
    """K maps [B, *S] from the values of features.

    Examples with the same number of features are solved together: no padding, and nothing that depends on the others.

    Args:
        name: of the method.
        options: features, size, baseline, divided.
        scorer: of these rows.
        inputs: [B, *S].
        first: the place of inputs[0] in the whole batch.
        solve: a game -> float64 [b, M, K], the value of each feature for each task.
    """
    full = scorer(inputs.clone()).double()  # first: "predicted" means the prediction here
    baseline = expanded(name, options.baseline, inputs, scorer)
    check_repeatable(name, scorer, inputs, baseline, full)
    empty = scorer(baseline.clone()).double()
    named = named_features(name, options.features, options.size, inputs, scorer)
    counts = torch.tensor(named.counts * (len(inputs) if len(named.counts) == 1 else 1))
    maps = inputs.new_empty(full.shape[1], *inputs.shape)
    for count in counts.unique().tolist():
        index = (counts == count).nonzero()[:, 0].to(inputs.device)
        ids = named.ids if len(named.ids) == 1 else named.ids[index]
        game = Game(
            name,
            scorer if len(index) == len(inputs) else scorer.of(index),
            inputs[index],
            baseline[index],
            ids,
            count,
            [first + int(i) for i in index],
            full[index],
            empty[index],
        )
        values = solve(game).to(inputs.device)  # [b, M, K]
        maps[:, index] = _spread(values, ids, inputs.shape[1:], options.divided).to(maps)
    return list(maps)


def _spread(values: Tensor, ids: Tensor, shape: torch.Size, divided: bool) -> Tensor:
    """Every element gets its feature's value, or its share of it: [K, b, *S]."""
    flat = ids.flatten(1).expand(len(values), -1)  # [b, S']
    if divided:
        times = shape.numel() // flat.shape[1]  # channels under one id
        sizes = torch.zeros_like(values[..., 0]).scatter_add(
            1, flat, torch.ones_like(flat, dtype=values.dtype)
        )
        values = values / (times * sizes[..., None])
    elements = values.gather(1, flat[..., None].expand(-1, -1, values.shape[2]))  # [b, S', K]
    return elements.permute(2, 0, 1).reshape(-1, len(values), *ids.shape[1:]).expand(-1, -1, *shape)


def all_coalitions(features: int) -> Tensor:
    """bool [2^M, M]: the empty one first, the full one last.

    >>> all_coalitions(2).int().tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    return (torch.arange(2**features)[:, None] >> torch.arange(features)) % 2 == 1


def check_size(name: str, features: int) -> None:
    """Raise where there are too many features for a system of equations."""
    if features > LARGEST:
        raise ValueError(
            f"{name} solves a system of M x M, and {features} features are too many (at most {LARGEST}); "
            "give features='grid', 'superpixels' or ids"
        )


def check_repeatable(name: str, scorer: Scorer, inputs: Tensor, baseline: Tensor, full: Tensor) -> None:
    """Raise unless examples score beside others that are perturbed what they have scored beside others as they are.

    A model that mixes the examples of a batch, or draws at random, gives wrong maps without a sign of it. Cost: one
    forward.

    Args:
        name: of the method.
        scorer: of these rows.
        inputs: [B, *S].
        baseline: [B, *S].
        full: the scores of the inputs, [B, K].
    """
    if len(inputs) == 1:
        scores = scorer(torch.cat([inputs, baseline]))
        again = scores[:1]
    else:
        every_second = (
            torch.arange(len(inputs), device=inputs.device).reshape(-1, *[1] * (inputs.dim() - 1)) % 2 == 1
        )
        scores = scorer(torch.where(every_second, baseline, inputs))
        full, again = full[::2], scores[::2]
    size = torch.maximum(scores.abs().amax(dim=0), full.abs().amax(dim=0)).double().clamp(min=1e-30)  # [K]
    off = ((again.double() - full.double()).abs() / size).amax(dim=0)
    if (off > max(1e-3, 16 * torch.finfo(scores.dtype).eps)).any():  # NaN passes: it is refused with the map
        worst = int(off.nan_to_num(0).argmax())
        raise ValueError(
            f"{name}: the scores of task '{scorer.tasks[worst]}' depend on the other examples of the batch, or on "
            f"chance (off by {float(off[worst]):.1%} when others are perturbed): batch statistics, or draws in eval "
            "mode? The map would be wrong"
        )


def check_efficiency(game: Game, values: Tensor, tolerance: float) -> Tensor:
    """The values [b, M, K], or an error where they do not sum to score(x) - score(baseline).

    Args:
        game: with the two scores.
        values: of the features.
        tolerance: the largest gap as a fraction of the sum of absolute values.
    """
    full, empty = game.full.to(values.device), game.empty.to(values.device)
    gap, size = (values.sum(dim=1) - (full - empty)).abs(), values.abs().sum(dim=1)
    rounding = 1e-12 * (full.abs() + empty.abs())
    if (gap > tolerance * size + rounding).any():
        worst = int((gap - tolerance * size).amax(dim=0).argmax())
        raise ValueError(
            f"{game.name}: the values of task '{game.scorer.tasks[worst]}' miss their sum, score(x) - score(baseline), "
            f"by up to {float((gap / size)[:, worst].max()):.1e} of their size (tolerance {tolerance:.1e})"
        )
    return values
