"""What each task gets from the input through some units of a layer: conductance of the inputs through a neuron."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr._utils.approximation_methods import approximation_parameters
from torch import Tensor, nn

from explain.batching import stacked
from explain.inputs import Inputs, lay_out
from explain.layers.attribution import run_layer_method
from explain.layers.inputs import Start, at_baseline
from explain.layers.refine import Integral, check_steps, refined
from explain.layers.tap import Layer, at_layer, layer_gradients, tapped
from explain.outputs import SINGLE
from explain.scorer import Scorer
from explain.targets import Target

Units = int | Sequence[int] | Tensor


@dataclass(frozen=True, kw_only=True)
class NeuronConductance:
    """The options of `neuron_conductance`, and its maps."""

    units: Units
    baseline: Start = 0.0
    steps: int = 32
    max_steps: int = 1024
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        check_steps("neuron_conductance", self)

    def __call__(self, scorer: Scorer, inputs: Tensor, layer: Layer) -> list[Tensor]:
        with torch.no_grad():
            here = torch.stack(
                at_layer(scorer, inputs, layer)[0], 1
            )  # first: "predicted" means the prediction here
            base = at_baseline("neuron_conductance", self.baseline, scorer, inputs)[1]
            there = scorer(base)

        def integrate(of: Scorer, index: Tensor, steps: int) -> Integral:
            return _through(of, inputs[index], layer, base[index], steps, self.units)

        return refined(f"neuron_conductance at layer '{layer.name}'", scorer, integrate, here, there, self)


def neuron_conductance(
    model: nn.Module,
    inputs: Inputs,
    layer: str | nn.Module,
    neuron: Units,
    task: str | None = None,
    *,
    target: Target | Mapping[str, Target] = "predicted",
    score: str | Mapping[str, str] = "logit",
    baseline: Start = 0.0,
    steps: int = 32,
    max_steps: int = 1024,
    tolerance: float = 0.01,
    call: int | None = None,
    part: int | None = None,
    batch_size: int | None = None,
    progress: bool = False,
) -> Any:
    """Signed maps of what each task gets from the input through some units of a layer, all tasks from one pass.

    The integral along the line from the baseline to x of (x - baseline) x gradient of the score with respect to the
    units x gradient of the units with respect to x. It sums over the input to the units' conductance, as
    `layer_attribution` gives it; over all units of a layer that nothing passes by, it is integrated gradients. What
    the task gets past the units is integrated too, so that the sum of both is checked against the score's change; and
    the map must stay as it is when the steps are doubled. What misses that by more than ``tolerance`` is computed again
    with twice the steps, up to ``max_steps``, and then refused.

    Source: Dhamdhere et al. 2019, equation 2. Equal to Captum's ``NeuronConductance`` task by task. Cost: 3 x ``steps``
    forwards, as many backwards a task as far as the layer and from there to the input.

    Args:
        model: as for `saliency`; also left as it was.
        inputs: as for `saliency`.
        layer: a module of the model or its name, whose output is [B, *L].
        neuron: the unit's index in *L, a number for [B, N]; or a bool mask [*L] of several, e.g. those of a channel.
        task: one task; None for all.
        target: as for `saliency`.
        score: as for `saliency`.
        baseline: a number, ``"mean"``, ``"blur"``, or a tensor [*S] or [B, *S]; {input: these} where there are several.
        steps: points on the line to begin with.
        max_steps: points at most.
        tolerance: the largest gap, as a fraction of score(x) - score(baseline), or of a tenth of the sum of absolute
            values where that is larger; and the largest change, as a fraction of that sum; inf: no check.
        call: as for `layer_attribution`.
        part: as for `layer_attribution`.
        batch_size: as for `saliency`.
        progress: as for `saliency`.

    Returns:
        Like ``inputs`` where ``task`` is given or the model gives a lone tensor, else {task: like inputs}.

    Raises:
        ValueError: as `layer_attribution`; an index that is not in the layer's output.

    >>> model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1))
    >>> for p in model.parameters(): _ = nn.init.constant_(p, 2.0)
    >>> neuron_conductance(model, torch.tensor([[1.0, 3.0]]), "0", 1)   # 2 x 2 x of one unit
    tensor([[ 4., 12.]])
    """
    layout, joined = lay_out(inputs)
    apply = NeuronConductance(
        units=neuron, baseline=baseline, steps=steps, max_steps=max_steps, tolerance=tolerance
    )
    found = run_layer_method(
        model, layout, joined, layer, apply, name="neuron_conductance", task=task, target=target, score=score,
        call=call, part=part, batch_size=batch_size, progress=progress,
    )  # fmt: skip
    named = {name: layout.restore(m) for name, m in found.items()}
    if task is not None:
        return named[task]
    return named[SINGLE] if list(named) == [SINGLE] else named


def _through(
    scorer: Scorer, inputs: Tensor, layer: Layer, base: Tensor, steps: int, units: Units
) -> Integral:
    """The maps of all tasks [B, K, *S] by Gauss and Legendre's rule; the rest is what they get past the units."""
    sizes, places = approximation_parameters("gausslegendre")
    weights = torch.tensor(sizes(steps), dtype=inputs.dtype, device=inputs.device)
    way = places(steps)
    total = torch.zeros(
        2, len(inputs), len(scorer.tasks), *inputs.shape[1:], dtype=inputs.dtype, device=inputs.device
    )
    for points in scorer.steps(list(stacked(steps, inputs))):
        path = torch.cat([torch.lerp(base, inputs, way[point]) for point in points]).requires_grad_()
        own = weights[points.start : points.stop].reshape(-1, *[1] * inputs.dim())
        for k, pair in enumerate(_gradients(scorer, path, layer, units)):
            for which, gradient in enumerate(pair):
                total[which, :, k] += (gradient.reshape(len(points), *inputs.shape) * own).sum(0)
    maps, every = total * (inputs - base).unsqueeze(1)
    rest = (every - maps).flatten(2).sum(2)
    return Integral(maps, rest, torch.zeros_like(rest, dtype=torch.bool))


def _gradients(scorer: Scorer, path: Tensor, layer: Layer, units: Units) -> list[tuple[Tensor, Tensor]]:
    """Of each task, the gradients of its score with respect to the path [n B, *S]: through the units alone, and all."""
    found: list[tuple[Tensor, Tensor]] = []

    def change(activation: Tensor) -> Tensor:
        if activation.dim() == 0 or len(activation) != len(path):
            raise ValueError(
                f"layer '{layer.name}' gives {list(activation.shape)} for {len(path)} examples; expected [B, ...]"
            )
        after = activation.clone()
        found.append((activation, after))
        return after.clone()  # what follows may change it in place

    with tapped(layer, change):
        columns = scorer.columns(path)
    before, after = found[0]
    if not before.requires_grad:
        raise ValueError(
            f"layer '{layer.name}' does not depend on the inputs through differentiable operations"
        )
    mask, pairs = _mask(units, before, layer), []
    for gradient, every in zip(*layer_gradients(scorer, columns, after, layer, path, keep=True), strict=True):
        own = torch.autograd.grad(before, path, gradient * mask, retain_graph=True, allow_unused=True)[0]
        pairs.append((_or_zeros(own, path), _or_zeros(every, path)))
    return pairs


def _or_zeros(gradient: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if gradient is None else gradient


def _mask(units: Units, activation: Tensor, layer: Layer) -> Tensor:
    shape = activation.shape[1:]
    if isinstance(units, Tensor) and units.dtype == torch.bool:
        if units.shape != shape or not units.any():
            raise ValueError(
                f"the mask of neurons must be bool {list(shape)} like the output of layer '{layer.name}', with "
                f"at least one, got {list(units.shape)}"
            )
        return units.to(activation)
    index = (units,) if isinstance(units, int) else tuple(units)
    if any(type(i) is not int for i in index):
        raise TypeError(f"neuron must be an index of integers or a bool mask, got {units!r}")
    if len(index) != len(shape) or any(not 0 <= i < side for i, side in zip(index, shape, strict=True)):
        raise ValueError(
            f"neuron must be an index into {list(shape)}, the output of layer '{layer.name}' for an example, "
            f"got {index}"
        )
    mask = torch.zeros_like(activation[0])
    mask[index] = 1
    return mask
