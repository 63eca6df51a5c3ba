"""What one task uses and another does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import ceil, log2

import numpy as np
import torch
from torch import Tensor

from explain.between.maps import checked, mass
from explain.names import unknown

DRAWS = 999  # random choices of signs, where there are more than this
AT_ONCE = 2**22  # numbers in memory


def contrast(
    maps: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
    a: str,
    b: str,
    *,
    level: float = 0.05,
    seed: int = 0,
) -> Tensor:
    """Where task ``a`` has more of its evidence than task ``b``: max(0, |a| / sum |a| - |b| / sum |b|).

    The sum over an example is 1 - the tasks' shared mass: 0 for the same map, 1 where b uses nothing of what a uses.
    A map of zeros uses nothing: the contrast is then a's whole mass, or zeros.

    With maps of several independent runs (seeds of training, noise, resampled data), the mean over the runs, and zero
    where the difference is not more than chance: runs in which a and b are swapped at random must seldom give so large
    a mean difference *anywhere* in the example. So the chance of a single falsely kept element in an example is at most
    ``level``, whatever their number and however they depend on each other. Source: Westfall and Young 1993, section 2.6
    (step-down maxima), with the sign flips of Nichols and Holmes 2002, section 3.

    Args:
        maps: {task: [B, *S]}, or a list of such, one a run.
        a, b: the tasks.
        level: with several runs, the chance of a false element in an example. n runs have 2^(n - 1) swaps, so a level
            of 0.05 needs 6 runs.
        seed: of the swaps, where there are more than 1000.

    Returns:
        [B, *S], not negative.

    Raises:
        ValueError: unknown tasks, maps that do not fit, too few runs for the level.

    >>> maps = {"a": torch.tensor([[2.0, -2.0, 0.0]]), "b": torch.tensor([[0.0, 1.0, 3.0]])}
    >>> contrast(maps, "a", "b").tolist()
    [[0.5, 0.25, 0.0]]
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    runs: list[Mapping[str, Tensor]] = [maps] if isinstance(maps, Mapping) else list(maps)
    if not runs:
        raise ValueError("contrast needs maps, got an empty list")
    pairs = [
        _pair(run, a, b, "" if len(runs) == 1 else f" of run {number}") for number, run in enumerate(runs)
    ]
    like = pairs[0][0]
    for number, (one, _) in enumerate(pairs):
        if one.shape != like.shape:
            raise ValueError(
                f"the maps of run {number} must be like those of run 0, {list(like.shape)}, got {list(one.shape)}"
            )
    amounts = [tuple(mass(m.detach().double().cpu().flatten(1)) for m in pair) for pair in pairs]
    differences = torch.stack([one - other for one, other in amounts], dim=1)  # [B, runs, N]
    found = differences.mean(1).clamp(min=0)
    if len(runs) > 1:
        found = found * _significant(differences, level, seed)
    return found.reshape(like.shape).to(like)


def _pair(run: object, a: str, b: str, where: str) -> tuple[Tensor, Tensor]:
    """The two tasks' maps, checked."""
    if not isinstance(run, Mapping):
        raise TypeError(
            f"maps{where} must be {{task: [B, *S]}}, as explain.saliency gives, got {type(run).__name__}"
        )
    for task in (a, b):
        if task not in run:
            raise unknown(f"task{where}", task, run)
        if not isinstance(run[task], Tensor):
            raise TypeError(
                f"contrast takes the maps of one input, got a {type(run[task]).__name__} for task '{task}'{where}; "
                "give one input's maps at a time"
            )
    checked({a: run[a], b: run[b]})
    return run[a].detach(), run[b].detach()


def _significant(differences: Tensor, level: float, seed: int) -> Tensor:
    """Which mean differences [B, N] of [B, R, N] are more than swaps of a and b within runs give anywhere."""
    runs = differences.shape[1]
    needed = ceil(1 - log2(level) - 1e-9)
    if runs < needed:
        raise ValueError(
            f"contrast: {runs} runs have {2 ** (runs - 1)} ways of swapping the tasks, so nothing can be significant "
            f"at level {level:g}; give at least {needed} runs, or level={2.0 ** (1 - runs):g}"
        )
    signs = _signs(runs, seed).to(differences)  # [F, R]; the first changes nothing
    return torch.stack([_stepped_down(signs, example) <= level for example in differences])


def _signs(runs: int, seed: int) -> Tensor:
    """Swaps as signs [F, R]; of a swap and its opposite, which give the same absolute means, only one."""
    if 2 ** (runs - 1) <= DRAWS + 1:
        return torch.tensor([(1, *rest) for rest in product((1, -1), repeat=runs - 1)])
    drawn = np.random.default_rng(seed).choice([1, -1], size=(DRAWS, runs))
    return torch.from_numpy(np.concatenate([np.ones((1, runs), dtype=drawn.dtype), drawn]))


def _stepped_down(signs: Tensor, differences: Tensor) -> Tensor:
    """p-values [N] of |mean of differences [R, N]|, corrected by the largest of what is not larger."""
    order = differences.mean(0).abs().argsort(descending=True)
    ordered = differences[:, order]
    observed = ordered.mean(0).abs()
    count = torch.zeros_like(observed)
    for some in signs.split(max(1, AT_ONCE // len(order))):
        swapped = (some @ ordered / len(ordered)).abs()
        largest = swapped.flip(1).cummax(1).values.flip(1)  # of this element and all that are smaller
        count += (largest >= observed * (1 - 1e-9)).sum(0)
    stepped = (count / len(signs)).cummax(0).values
    return torch.empty_like(stepped).scatter_(0, order, stepped)
