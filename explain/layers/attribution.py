"""Which units of a layer each task uses: activations, gradients, integrated gradients and conductance at the layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from explain.batching import micro_batches, rows_at_once
from explain.guard import guarded
from explain.inputs import Inputs, Layout
from explain.layers.inputs import lay_out_any
from explain.layers.paths import LayerConductance, LayerIntegratedGradients
from explain.layers.tap import Layer, at_layer, check_rows, find_layer, layer_gradients
from explain.names import made
from explain.options import checked_call
from explain.outputs import SINGLE
from explain.scorer import Scorer
from explain.targets import Target


class LayerMethod(Protocol):
    """What a method for layers is: options, and a call that gives K signed maps of a layer."""

    def __call__(self, scorer: Scorer, inputs: Tensor, layer: Layer) -> list[Tensor]:
        """K maps [B, *L], in the order of ``scorer.tasks``; the first forward pass must be on ``inputs`` themselves."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerActivation:
    """The layer's output itself, the same for every task. Cost: one forward."""

    def __call__(self, scorer: Scorer, inputs: Tensor, layer: Layer) -> list[Tensor]:
        with torch.no_grad():
            columns, activation = at_layer(scorer, inputs, layer)
        return [activation.detach().clone() for _ in columns]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerGradient:
    """The gradient of the score with respect to the layer's output. Cost: one forward, one backward a task."""

    def __call__(self, scorer: Scorer, inputs: Tensor, layer: Layer) -> list[Tensor]:
        columns, activation = at_layer(scorer, inputs, layer)
        return layer_gradients(scorer, columns, activation, layer)[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerGradientXActivation:
    """Gradient times activation: what a unit adds to the score, to first order, over its being 0.

    Equal to Captum's ``LayerGradientXActivation`` task by task. Cost: one forward, one backward a task.
    """

    def __call__(self, scorer: Scorer, inputs: Tensor, layer: Layer) -> list[Tensor]:
        columns, activation = at_layer(scorer, inputs, layer)
        return [g * activation.detach() for g in layer_gradients(scorer, columns, activation, layer)[0]]


LAYER_METHODS: dict[str, type[Any]] = {
    "activation": LayerActivation,
    "gradient": LayerGradient,
    "gradient_x_activation": LayerGradientXActivation,
    "integrated_gradients": LayerIntegratedGradients,
    "conductance": LayerConductance,
}


def layer_attribution(
    model: nn.Module,
    inputs: Inputs,
    layer: str | nn.Module,
    task: str | None = None,
    *,
    method: str = "conductance",
    target: Target | Mapping[str, Target] = "predicted",
    score: str | Mapping[str, str] = "logit",
    call: int | None = None,
    part: int | None = None,
    batch_size: int | None = None,
    progress: bool = False,
    **options: Any,
) -> Any:
    """Signed maps of what each unit of a layer does for each task, all tasks from the same forward passes.

    Also the way to explain token ids: at the embedding layer, with ``method="integrated_gradients"`` and the id of
    padding as ``baseline``; the sum over the embedding's dimension is a token's share.

    Args:
        model: as for `saliency`; also modes, gradients, hooks and random state are left as they were.
        inputs: as for `saliency`; here token ids alone will do too.
        layer: a module of the model, or its name, whose output is [B, *L].
        task: one task; None for all.
        method: a name in `explain.LAYER_METHODS`.
        target: as for `saliency`.
        score: as for `saliency`.
        call: which call, from 0, of a module that runs several times in a forward pass.
        part: which float tensor, from 0, of a layer that gives several (an LSTM's output and states).
        batch_size: examples a micro-batch; it does not change the maps.
        progress: a bar on standard error.
        options: of the method: ``help(explain.LAYER_METHODS[method])``.

    Returns:
        [B, *L] where ``task`` is given or the model gives a lone tensor, else {task: [B, *L]} in the model's order.

    Raises:
        ValueError: as `saliency`; a layer that a task does not use, that runs more than once or gives several tensors
            where ``call`` or ``part`` do not say which; a method's own check that fails.

    Cost: that of the method for one task, and one more backward pass, as far as the layer, for each further task; one
    forward of a single example for a check.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> layer_attribution(model, torch.ones(4, 2), "1", method="gradient_x_activation").shape
    torch.Size([4, 3])
    """
    apply = make_layer_method(method, options)
    layout, joined = lay_out_any(inputs)
    named = run_layer_method(
        model, layout, joined, layer, apply, name=method, task=task, target=target, score=score, call=call, part=part,
        batch_size=batch_size, progress=progress,
    )  # fmt: skip
    if task is not None:
        return named[task]
    return named[SINGLE] if list(named) == [SINGLE] else named


def run_layer_method(
    model: nn.Module,
    layout: Layout,
    joined: Tensor,
    layer: str | nn.Module,
    apply: LayerMethod,
    *,
    name: str,
    task: str | None,
    target: Target | Mapping[str, Target],
    score: str | Mapping[str, str],
    call: int | None,
    part: int | None,
    batch_size: int | None,
    progress: bool,
) -> dict[str, Tensor]:
    """{task: map [B, ...]} of a method, in micro-batches; see `layer_attribution`."""
    model = checked_call(model, batch_size)
    if task is not None and not isinstance(task, str):
        raise TypeError(f"task must be one name, or None for all tasks, got {task!r}")
    place = find_layer(model, layer, call, part)

    def maps() -> dict[str, Tensor]:
        pieces: dict[str, list[Tensor]] = {}
        for rows in micro_batches(len(joined), batch_size or rows_at_once(joined.shape[1:])):
            scorer = Scorer(model, layout, task, target, score, rows, len(joined), progress)
            own = joined[rows].clone()
            found = apply(scorer, own, place)
            if not rows.start:
                check_rows(scorer, own, place)
            for key, attribution in zip(scorer.tasks, found, strict=True):
                if not torch.isfinite(attribution).all():
                    raise ValueError(
                        f"{name}: the map of task '{key}' at layer '{place.name}' holds NaN or infinite values; "
                        "are the model's weights and outputs finite?"
                    )
                pieces.setdefault(key, []).append(attribution.detach())
        return {key: torch.cat(parts).contiguous() for key, parts in pieces.items()}

    return guarded(model, joined.device, maps)


def make_layer_method(name: str, options: Mapping[str, Any]) -> LayerMethod:
    """The method with its options, or an error that gives the nearest valid name.

    >>> make_layer_method("conductance", {"step": 5})
    Traceback (most recent call last):
    ValueError: no option of layer method 'conductance' 'step'; did you mean 'steps'? known: baseline, steps, ...
    """
    return made("layer method", name, LAYER_METHODS, options)
