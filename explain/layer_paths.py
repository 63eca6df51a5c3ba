"""Attribution to a layer along a path, with its sum checked, and more steps where it does not hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from torch import Tensor

from explain.baselines import Baseline, at_baseline
from explain.batching import rows_at_once, stacked
from explain.scorer import Scorer
from explain.tap import Layer, at_layer, layer_gradients


@dataclass(frozen=True)
class Expected:
    """What a map must sum to.

    Args:
        change: [B, K], the sum.
        holds: bool [B, K], whether the sum is known; where it is not, the map must converge.
        rounding: [B, K], what the scores' own rounding may cost.
    """

    change: Tensor
    holds: Tensor
    rounding: Tensor


@dataclass(frozen=True, kw_only=True)
class LayerIntegratedGradients:
    """Integrated gradients in the layer's own space: along the line from its activation at a baseline to that at x.

    The rest of the model sees x all the while, so that the map sums to score(x) - score(x with the baseline's
    activation put in), which is score(x) - score(baseline) where nothing passes by the layer. Each map is checked for
    that; what misses it is computed again with twice the steps, up to ``max_steps``, and then refused. Captum's
    quadrature for all tasks at once, equal to its ``LayerIntegratedGradients``.
    Source: Sundararajan et al. 2017, equation 1, with the layer's output as the input. Cost: ``steps`` + 3 forwards,
    ``steps`` backwards a task, as far as the layer.

    Args:
        baseline: where the activation to start from is computed: a number, or a tensor like the inputs; ids where they
            are ids; {input: these} where there are several. 0 for float inputs.
        layer_baseline: the activation to start from itself, instead: a number, or a tensor [*L].
        steps: points on the line to begin with.
        max_steps: points at most.
        tolerance: the largest gap, as a fraction of the sum of the map's absolute values; inf: no check.
    """

    baseline: Baseline | None = None
    layer_baseline: float | Tensor | None = None
    steps: int = 32
    max_steps: int = 1024
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        _check_steps("integrated_gradients", self.steps, self.max_steps, self.tolerance)
        if self.baseline is not None and self.layer_baseline is not None:
            raise ValueError("integrated_gradients: give baseline or layer_baseline, not both")

    def __call__(self, scorer: Scorer, inputs: Tensor, layer: Layer) -> list[Tensor]:
        with torch.no_grad():
            columns, activation = at_layer(scorer, inputs, layer)
            if self.layer_baseline is None:
                moved, base = at_baseline(self.baseline, scorer, inputs)
                start = at_layer(moved, base, layer)[1].detach()
            else:
                start = _of_layer(self.layer_baseline, activation, layer)
            here, there = torch.stack(columns, 1), torch.stack(at_layer(scorer, inputs, layer, start)[0], 1)
        activation = activation.detach()
        sums = Expected(here - there, torch.ones_like(here, dtype=torch.bool), _rounding(here))

        def integrate(of: Scorer, index: Tensor, steps: int) -> Tensor:
            return _line(of, inputs[index], layer, activation[index], start[index], steps)

        return _refined("integrated_gradients", scorer, layer, integrate, sums, self)


@dataclass(frozen=True, kw_only=True)
class LayerConductance:
    """Conductance: what flows through each unit of the layer as the input goes along the line from a baseline to x.

    The integral of (gradient of the score with respect to the unit) d(unit) along the path, by the trapezoidal rule on
    the unit's own values. Captum's ``LayerConductance``, which this equals in the limit of many steps, leaves out both
    ends of the path. It sums over the layer to score(x) - score(baseline) if all of the input's effect passes through
    the layer. Whether it does is tried out for each example and task (the baseline with x's activation put in must
    score like x). If so, the sum is checked; if not (a branch beside a residual connection, one of several towers), the
    sum means nothing, and the map must converge: what changes when the steps are doubled is checked. What is not within
    ``tolerance`` is computed again with twice the steps, and in the end refused.
    Source: Dhamdhere et al. 2019, equation 2. Cost: ``steps`` + 4 forwards, ``steps`` + 1 backwards a task, as far as
    the layer; twice that and more where it is refined.

    Args:
        baseline: a number, or a tensor like the inputs, [*S] or [B, *S]; {input: these} where there are several.
        steps: intervals on the line to begin with.
        max_steps: intervals at most.
        tolerance: the largest gap, as a fraction of the sum of the map's absolute values; inf: no check.
    """

    baseline: Baseline = 0.0
    steps: int = 32
    max_steps: int = 1024
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        _check_steps("conductance", self.steps, self.max_steps, self.tolerance)

    def __call__(self, scorer: Scorer, inputs: Tensor, layer: Layer) -> list[Tensor]:
        if not scorer.layout.names:
            raise ValueError(
                "conductance needs a path in the inputs, and between token ids there is none; give method="
                "'integrated_gradients' at the embedding layer, whose path lies in the layer"
            )
        moved, base = at_baseline(self.baseline, scorer, inputs)
        for name, fixed in moved.layout.fixed.items():
            if fixed is not scorer.layout.fixed[name]:
                raise ValueError(
                    f"conductance needs a path in the inputs, and input '{name}' has none; leave it out"
                )
        with torch.no_grad():
            columns, activation = at_layer(scorer, inputs, layer)
            here, there = torch.stack(columns, 1), torch.stack(scorer.columns(base), 1)
            put = torch.stack(at_layer(scorer, base, layer, activation.detach())[0], 1)
        rounding = _rounding(here)
        # a tenth of the tolerance, so that what passes by the layer cannot take up what the integral may miss
        through = (put - here).abs() <= 0.1 * min(self.tolerance, 1.0) * (here - there).abs() + rounding
        sums = Expected(here - there, through, rounding)

        def integrate(of: Scorer, index: Tensor, steps: int) -> Tensor:
            return _flow(of, inputs[index], layer, base[index], steps)

        return _refined("conductance", scorer, layer, integrate, sums, self)


def _line(scorer: Scorer, seen: Tensor, layer: Layer, end: Tensor, start: Tensor, steps: int) -> Tensor:
    """Captum's integrated gradients of all tasks [B, K, *L], with the layer's output as the input, once a task.

    ``seen`` [B, *S] is what the rest of the model sees.
    """

    def gradient_func(inputs: tuple[Tensor, ...], **_: object) -> tuple[Tensor, ...]:
        copies = len(inputs[0]) // len(seen)
        stack = seen.repeat(copies, *[1] * (seen.dim() - 1))
        columns, leaf = at_layer(scorer, stack, layer, inputs[0])
        return tuple(layer_gradients(scorer, columns, leaf, layer))

    module = CaptumIntegratedGradients(scorer)
    module.gradient_func = gradient_func
    maps = module.attribute(
        (end,) * len(scorer.tasks),
        baselines=(start,) * len(scorer.tasks),
        n_steps=steps,
        internal_batch_size=max(rows_at_once(seen.shape[1:]), len(seen)),
    )
    return torch.stack([m.detach() for m in maps], dim=1)


def _flow(scorer: Scorer, inputs: Tensor, layer: Layer, base: Tensor, steps: int) -> Tensor:
    """The conductance of all tasks [B, K, *L]: over intervals, the mean gradient at the ends x the unit's change."""
    way = torch.linspace(0, 1, steps + 1, dtype=inputs.dtype, device=inputs.device)
    total: Tensor | None = None
    last: tuple[Tensor, Tensor] | None = None
    for points in scorer.steps(list(stacked(steps + 1, inputs))):
        path = torch.cat([torch.lerp(base, inputs, way[point]) for point in points])  # exact at both ends
        columns, leaf = at_layer(scorer, path, layer)
        gradients = torch.stack(layer_gradients(scorer, columns, leaf, layer), 1)
        units = leaf.detach().reshape(len(points), len(inputs), 1, *leaf.shape[1:])
        gradients = gradients.reshape(len(points), len(inputs), -1, *leaf.shape[1:])
        if last is not None:
            units, gradients = torch.cat([last[0], units]), torch.cat([last[1], gradients])
        last = units[-1:], gradients[-1:]
        piece = ((gradients[1:] + gradients[:-1]) / 2 * (units[1:] - units[:-1])).sum(0)
        total = piece if total is None else total + piece
    if total is None:
        raise ValueError(f"conductance: steps must be >= 1, got {steps}")
    return total


def _refined(
    name: str,
    scorer: Scorer,
    layer: Layer,
    integrate: Callable[[Scorer, Tensor, int], Tensor],
    sums: Expected,
    options: LayerIntegratedGradients | LayerConductance,
) -> list[Tensor]:
    """K maps, each with as many steps as it needs; only what is open is replaced, so that no map depends on others."""
    every = torch.arange(len(sums.change), device=sums.change.device)
    maps, steps = integrate(scorer, every, options.steps), options.steps  # [B, K, *L]
    moved = torch.full_like(sums.change, torch.inf)  # by how much doubling the steps last changed a map
    while True:
        size = maps.reshape(*maps.shape[:2], -1).abs().sum(2)
        gap = torch.where(sums.holds, (maps.reshape(*maps.shape[:2], -1).sum(2) - sums.change).abs(), moved)
        open_ = ~(gap <= options.tolerance * size + sums.rounding)  # NaN counts as open
        index = open_.any(dim=1).nonzero()[:, 0]
        if options.tolerance == torch.inf or not len(index):
            return list(maps.unbind(dim=1))
        if steps * 2 > options.max_steps:
            gaps = (gap / size).where(open_, 0.0)
            raise ValueError(_message(name, scorer, layer, sums, gaps, steps, options.tolerance))
        steps *= 2
        again = integrate(scorer.of(index), index, steps)
        own = open_[index].reshape(*again.shape[:2], *[1] * (again.dim() - 2))
        moved[index] = torch.where(
            open_[index], (again - maps[index]).reshape(*again.shape[:2], -1).abs().sum(2), moved[index]
        )
        maps[index] = torch.where(own, again, maps[index])


def _message(
    name: str, scorer: Scorer, layer: Layer, sums: Expected, gaps: Tensor, steps: int, tolerance: float
) -> str:
    row, task = divmod(int(gaps.nan_to_num(torch.inf).argmax()), gaps.shape[1])
    where = f"{name}: the map of task '{scorer.tasks[task]}' at layer '{layer.name}'"
    much = f"{float(gaps[row, task]):.1%} after {steps} steps (tolerance {tolerance:.1%})"
    if sums.holds[row, task]:
        return f"{where} misses its sum by up to {much}; raise max_steps, or give tolerance=float('inf') for no check"
    return (
        f"{where} still changes by up to {much}; the input also reaches the score past this layer, so the map has no "
        "sum to check; raise max_steps, or give tolerance=float('inf') for no check"
    )


def _rounding(scores: Tensor) -> Tensor:
    return 8 * torch.finfo(scores.dtype).eps * scores.abs().clamp(min=1)


def _of_layer(value: float | Tensor, activation: Tensor, layer: Layer) -> Tensor:
    if not isinstance(value, Tensor):
        value = torch.tensor(float(value))
    if value.shape not in (torch.Size([]), activation.shape[1:]) or not torch.isfinite(value).all():
        raise ValueError(
            f"integrated_gradients: layer_baseline must be a finite number or {list(activation.shape[1:])} like the "
            f"output of layer '{layer.name}', got {list(value.shape)}"
        )
    return value.detach().to(activation).expand_as(activation)


def _check_steps(name: str, steps: int, max_steps: int, tolerance: float) -> None:
    if not 1 <= steps <= max_steps:
        raise ValueError(f"{name}: 1 <= steps <= max_steps, got {steps} and {max_steps}")
    if not tolerance > 0:
        raise ValueError(f"{name}: tolerance must be > 0, got {tolerance}")
