"""Integrated gradients with its completeness checked, and more steps where it does not hold."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from torch import Tensor

from explain.baselines import Baseline, expanded
from explain.batching import rows_at_once
from explain.methods.gradients import input_gradients
from explain.scorer import Scorer


@dataclass(frozen=True, kw_only=True)
class IntegratedGradients:
    """The gradient integrated along the straight line from a baseline, times the way.

    It sums to score(x) - score(baseline). Captum's quadrature (Gauss-Legendre) for all tasks at once. Each map is
    checked for completeness; an example whose gap is too large is computed again with twice the steps, up to
    ``max_steps``, and then refused: a map that does not add up is not one of integrated gradients.
    Source: Sundararajan et al. 2017, equation 1 and proposition 1. Cost: ``steps`` forwards, as many backwards a task.

    Args:
        baseline: a number; a tensor [*S] or [B, *S]; ``"zero"``, ``"mean"`` or ``"blur"``; for several inputs also a
            tuple or dict of these.
        steps: points on the line to begin with.
        max_steps: points at most.
        tolerance: the largest gap |sum of the map - (score(x) - score(baseline))|, as a fraction of the sum of the
            map's absolute values.
    """

    baseline: Baseline = 0.0
    steps: int = 32
    max_steps: int = 1024
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= self.max_steps:
            raise ValueError(
                f"integrated_gradients: 1 <= steps <= max_steps, got {self.steps} and {self.max_steps}"
            )
        if not self.tolerance > 0:
            raise ValueError(f"integrated_gradients: tolerance must be > 0, got {self.tolerance}")

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del first, seed
        baseline = expanded("integrated_gradients", self.baseline, inputs, scorer)
        with torch.no_grad():
            at_input = scorer(inputs)  # [B, K]; first, for "predicted" means the prediction here
            change = at_input - scorer(baseline)
            noise = (
                8 * torch.finfo(at_input.dtype).eps * at_input.abs().clamp(min=1)
            )  # rounding of the scores
        maps = _integrate(scorer, inputs, baseline, self.steps)  # [B, K, *S]
        steps = self.steps
        while True:
            gap, size = (maps.flatten(2).sum(2) - change).abs(), maps.flatten(2).abs().sum(2)
            open_ = ~(gap <= self.tolerance * size + noise)  # NaN counts as open
            index = open_.any(dim=1).nonzero()[:, 0]
            if not len(index):
                return list(maps.unbind(dim=1))
            if steps * 2 > self.max_steps:
                worst = int((gap / size).nan_to_num(torch.inf).max(dim=0).values.argmax())
                raise ValueError(
                    f"integrated_gradients: the map of task '{scorer.tasks[worst]}' misses its sum by up to "
                    f"{float((gap / size)[:, worst].max()):.1%} after {steps} steps (tolerance {self.tolerance:.1%}); "
                    "raise max_steps or tolerance, or choose a baseline nearer to the data"
                )
            steps *= 2
            again = _integrate(scorer.of(index), inputs[index], baseline[index], steps)
            # only what was open is replaced, so that no map depends on the other examples or tasks
            maps[index] = torch.where(
                open_[index].reshape(*again.shape[:2], *[1] * (inputs.dim() - 1)), again, maps[index]
            )


def _integrate(scorer: Scorer, inputs: Tensor, baseline: Tensor, steps: int) -> Tensor:
    """Captum's integrated gradients of all tasks [B, K, *S]: the input goes in once for each task."""

    def gradient_func(inputs: tuple[Tensor, ...], **_: object) -> tuple[Tensor, ...]:
        return tuple(input_gradients(scorer, inputs[0]))

    tasks = len(scorer.tasks)
    module = CaptumIntegratedGradients(scorer)
    module.gradient_func = gradient_func
    maps = module.attribute(
        (inputs.detach(),) * tasks,
        baselines=(baseline,) * tasks,
        n_steps=steps,
        internal_batch_size=max(rows_at_once(inputs.shape[1:]), len(inputs)),
    )
    return torch.stack([m.detach() for m in maps], dim=1)
