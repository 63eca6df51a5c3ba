"""Attribution to a layer along a path, with its sum checked, and more steps where it does not hold."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from torch import Tensor

from explain.batching import rows_at_once, stacked
from explain.layers.inputs import Start, at_baseline
from explain.layers.refine import Integral, check_steps, refined
from explain.layers.tap import Layer, at_layer, layer_gradients
from explain.scorer import Scorer


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
        baseline: where the activation to start from is computed: a number, ``"mean"``, ``"blur"``, or a tensor like the
            inputs; ids where they are ids; {input: these} where there are several. 0 for float inputs.
        layer_baseline: the activation to start from itself, instead: a number, or a tensor [*L].
        steps: points on the line to begin with.
        max_steps: points at most.
        tolerance: the largest gap, as a fraction of what the map must sum to, or of a tenth of the sum of its absolute
            values where that is larger; inf: no check.
    """

    baseline: Start | None = None
    layer_baseline: float | Tensor | None = None
    steps: int = 32
    max_steps: int = 1024
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        check_steps("integrated_gradients", self)
        if self.baseline is not None and self.layer_baseline is not None:
            raise ValueError("integrated_gradients: give baseline or layer_baseline, not both")

    def __call__(self, scorer: Scorer, inputs: Tensor, layer: Layer) -> list[Tensor]:
        with torch.no_grad():
            columns, activation = at_layer(scorer, inputs, layer)
            if self.layer_baseline is None:
                moved, base = at_baseline("integrated_gradients", self.baseline, scorer, inputs)
                start = at_layer(moved, base, layer)[1].detach()
            else:
                start = _of_layer(self.layer_baseline, activation, layer)
            here, there = torch.stack(columns, 1), torch.stack(at_layer(scorer, inputs, layer, start)[0], 1)
        activation = activation.detach()

        def integrate(of: Scorer, index: Tensor, steps: int) -> Integral:
            maps = _line(of, inputs[index], layer, activation[index], start[index], steps)
            return Integral(
                maps, torch.zeros_like(here[index]), torch.ones_like(here[index], dtype=torch.bool)
            )

        return refined(f"integrated_gradients at layer '{layer.name}'", scorer, integrate, here, there, self)


@dataclass(frozen=True, kw_only=True)
class LayerConductance:
    """Conductance: what flows through each unit of the layer as the input goes along the line from a baseline to x.

    The integral of (gradient of the score with respect to the unit) d(unit) along the path, by the trapezoidal rule on
    the unit's own values. Captum's ``LayerConductance``, which this equals in the limit of many steps, leaves out both
    ends of the path. It sums over the layer to score(x) - score(baseline), less what reaches the score past the layer
    (beside a residual connection, or in another tower), which is integrated too, so that the sum is checked at every
    layer. Where something passes by, a right sum of the two does not say that the map is right: the map must also stay
    as it is when the steps are doubled. What misses its sum or changes by more than ``tolerance`` is computed again
    with twice the steps, up to ``max_steps``, and then refused.
    Source: Dhamdhere et al. 2019, equation 2. Cost: ``steps`` + 3 forwards, ``steps`` + 1 backwards a task, as far as
    the layer; three times that where something passes by; more where it is refined.

    Args:
        baseline: a number, ``"mean"``, ``"blur"``, or a tensor [*S] or [B, *S]; {input: these} where there are several.
        steps: intervals on the line to begin with.
        max_steps: intervals at most.
        tolerance: the largest gap, as a fraction of score(x) - score(baseline), or of a tenth of the sum of absolute
            values where that is larger; and the largest change, as a fraction of that sum; inf: no check.
    """

    baseline: Start = 0.0
    steps: int = 32
    max_steps: int = 1024
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        check_steps("conductance", self)

    def __call__(self, scorer: Scorer, inputs: Tensor, layer: Layer) -> list[Tensor]:
        if not scorer.layout.names:
            raise ValueError(
                "conductance needs a path in the inputs, and between token ids there is none; give method="
                "'integrated_gradients' at the embedding layer, whose path lies in the layer"
            )
        with torch.no_grad():
            here = torch.stack(
                at_layer(scorer, inputs, layer)[0], 1
            )  # first: "predicted" means the prediction here
        moved, base = at_baseline("conductance", self.baseline, scorer, inputs)
        for name, fixed in moved.layout.fixed.items():
            if fixed is not scorer.layout.fixed[name]:
                raise ValueError(
                    f"conductance needs a path in the inputs, and input '{name}' has none; leave it out"
                )
        with torch.no_grad():
            there = scorer(base)

        def integrate(of: Scorer, index: Tensor, steps: int) -> Integral:
            return _flow(of, inputs[index], layer, base[index], steps)

        return refined(f"conductance at layer '{layer.name}'", scorer, integrate, here, there, self)


def _line(scorer: Scorer, seen: Tensor, layer: Layer, end: Tensor, start: Tensor, steps: int) -> Tensor:
    """Captum's integrated gradients of all tasks [B, K, *L], with the layer's output as the input, once a task.

    ``seen`` [B, *S] is what the rest of the model sees.
    """

    def gradient_func(inputs: tuple[Tensor, ...], **_: object) -> tuple[Tensor, ...]:
        copies = len(inputs[0]) // len(seen)
        stack = seen.repeat(copies, *[1] * (seen.dim() - 1))
        columns, leaf = at_layer(scorer, stack, layer, inputs[0])
        return tuple(layer_gradients(scorer, columns, leaf, layer)[0])

    module = CaptumIntegratedGradients(scorer)
    module.gradient_func = gradient_func
    maps = module.attribute(
        (end,) * len(scorer.tasks),
        baselines=(start,) * len(scorer.tasks),
        n_steps=steps,
        internal_batch_size=max(rows_at_once(seen.shape[1:]), len(seen)),
    )
    return torch.stack([m.detach() for m in maps], dim=1)


def _flow(scorer: Scorer, inputs: Tensor, layer: Layer, base: Tensor, steps: int) -> Integral:
    """The conductance of all tasks: over intervals, the mean gradient at both ends x the change of the unit.

    The rest is what reaches the score past the layer: the gradient with respect to the input while the layer's output
    is held, integrated by the same rule. Together they are the score's whole derivative along the path.
    """
    way = torch.linspace(0, 1, steps + 1, dtype=inputs.dtype, device=inputs.device)
    sizes = torch.full_like(way, 1 / steps)
    sizes[0] = sizes[-1] = 0.5 / steps
    maps: Tensor | None = None
    rest = torch.zeros(len(inputs), len(scorer.tasks), dtype=inputs.dtype, device=inputs.device)
    whole = torch.ones_like(rest, dtype=torch.bool)
    last: tuple[Tensor, Tensor] | None = None
    for points in scorer.steps(list(stacked(steps + 1, inputs))):
        shape = len(points), len(inputs)
        path = torch.cat([torch.lerp(base, inputs, way[point]) for point in points])  # exact at both ends
        columns, leaf = at_layer(scorer, path.requires_grad_(), layer)
        gradients, past = layer_gradients(scorer, columns, leaf, layer, path)
        for k, gradient in enumerate(past):
            if gradient is not None:
                along = (
                    (gradient.reshape(*shape, *inputs.shape[1:]) * (inputs - base)).reshape(*shape, -1).sum(2)
                )
                rest[:, k] += (along * sizes[points.start : points.stop, None]).sum(0)
                whole[:, k] = False
        units = leaf.detach().reshape(*shape, 1, *leaf.shape[1:])
        slopes = torch.stack(gradients, 1).reshape(*shape, -1, *leaf.shape[1:])
        if last is not None:
            units, slopes = torch.cat([last[0], units]), torch.cat([last[1], slopes])
        last = units[-1:], slopes[-1:]
        piece = ((slopes[1:] + slopes[:-1]) / 2 * (units[1:] - units[:-1])).sum(0)
        maps = piece if maps is None else maps + piece
    if maps is None:
        raise ValueError(f"conductance: steps must be >= 1, got {steps}")
    return Integral(maps, rest, whole)


def _of_layer(value: float | Tensor, activation: Tensor, layer: Layer) -> Tensor:
    if not isinstance(value, Tensor):
        value = torch.tensor(float(value))
    if value.shape not in (torch.Size([]), activation.shape[1:]) or not torch.isfinite(value).all():
        raise ValueError(
            f"integrated_gradients: layer_baseline must be a finite number or {list(activation.shape[1:])} like the "
            f"output of layer '{layer.name}', got {list(value.shape)}"
        )
    return value.detach().to(activation).expand_as(activation)
