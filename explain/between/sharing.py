"""Whose evidence flows through which channels, and what happens without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from explain.batching import stacked
from explain.between.layers import Layers, convolutions, find_layers, recorded, replaced
from explain.between.layers import channel_axis as axis_of_channels
from explain.between.passes import each_batch, nothing
from explain.guard import guarded
from explain.inputs import Inputs, lay_out
from explain.names import unknown
from explain.options import checked_call
from explain.scorer import Scorer
from explain.targets import Target

REFERENCES = ("zero", "mean")


def channel_sharing(
    model: nn.Module,
    inputs: Inputs,
    layers: Layers | None = None,
    *,
    target: Target | Mapping[str, Target] = "predicted",
    score: str | Mapping[str, str] = "logit",
    reference: str = "zero",
    ablate: bool = True,
    channel_axis: int | None = None,
    batch_size: int | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Each task's evidence in each channel of a layer, which of it is shared, and the fall of the score without it.

    The evidence of a task in a channel of an example is gradient x (activation - reference), summed over the places: to
    first order, what the score loses when the channel is set to the reference. ``effect`` is what it does lose: the two
    agree where the rest of the model is linear, and their correlation over a layer's channels says how far to trust
    the evidence.

    Args:
        model: as for `explain.saliency`.
        inputs: likewise.
        layers: modules or their names; None: every convolution, with the normalisation and activation modules that
            follow it.
        target: what is explained of each task, as for `explain.saliency`.
        score: likewise.
        reference: what stands for an absent channel: ``"zero"``, or its ``"mean"`` over the examples and places.
        ablate: whether to measure the effects, a forward pass of each example for each channel.
        channel_axis: of the layers' outputs; None: 1 after convolutions and in [B, C], the last after linear layers and
            layer norms.
        batch_size: examples a micro-batch; it does not change the numbers.
        progress: a bar on standard error.

    Returns:
        A row for each layer, channel and task:

        - evidence: mean over the examples, in units of the score; strength: mean of its absolute values.
        - share: the channel's part of the task's strength in the layer; 1 in all. NaN where the task has none.
        - shared: min(share, the largest share of another task). Summed over a layer's channels, the fraction of the
          task's evidence that flows through channels that another task uses as much: 0 where each has channels of its
          own, 1 where they use the same; the rest is private.
        - selectivity: of the channel, (m - r) / (m + r), m the largest share and r the mean of the other tasks' (Morcos
          et al. 2018, section 3.2, for tasks in place of classes): 0 where all use it alike, 1 where one does.
        - effect: mean of score(x) - score(x without the channel), of all tasks from the same forward passes; NaN
          without ``ablate``.

        ``frame.groupby(["layer", "task"], sort=False)["shared"].sum()`` is the split by layer, which
        `explain.show_matrix` draws.

    Raises:
        ValueError: unknown names, layers that take no part or have no channels, and as `explain.saliency`.

    Cost: a forward, and a backward a task, for all layers together; with ``ablate`` a forward for each channel of each
    layer (name the layers of a large model).

    >>> model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(3, 2))
    >>> frame = channel_sharing(model, torch.rand(2, 1, 1, 1), target=0)
    >>> list(frame["layer"].unique()), bool((frame["evidence"] - frame["effect"]).abs().max() < 1e-6)
    (['0'], True)
    """
    model = checked_call(model, batch_size)
    if reference not in REFERENCES:
        raise unknown("reference", reference, REFERENCES)
    points, first = _points(model, inputs)
    if layers is None and not points:
        raise ValueError("the model has no convolution; give layers=, the names of modules")
    chosen = find_layers(model, points if layers is None else layers)
    looked = {name: _Layer(name, module, name in first, channel_axis) for name, module in chosen.items()}
    options: dict[str, Any] = {"target": target, "score": score, "batch_size": batch_size}
    means: dict[str, Tensor] = {}
    if reference == "mean":
        _, sums = each_batch(model, inputs, lambda scorer, part: _sums(scorer, part, looked), **options)
        means = {name: _mean([s[name] for s in sums]) for name in looked}
    tasks: list[str] = []

    def work(scorer: Scorer, part: Tensor) -> dict[str, Tensor]:
        clean, evidence = _evidence(scorer, part, looked, means)
        tasks[:] = scorer.tasks
        effects = _effects(scorer, part, looked, means, clean, evidence) if ablate else {}
        return {
            name: torch.stack(
                [e.sum(1), e.abs().sum(1), effects[name] if ablate else torch.full_like(e[:, 0], torch.nan)]
            )
            for name, e in evidence.items()
        }  # {layer: [3, K, C]}, sums over the examples

    _, pieces = each_batch(model, inputs, work, progress=progress, **options)
    examples = len(lay_out(inputs)[1])
    frames = []
    for name in looked:
        average = torch.stack([piece[name] for piece in pieces]).sum(0) / examples  # [3, K, C]
        frames.append(_table(name, tasks, *average.cpu().numpy()))
    return pd.concat(frames, ignore_index=True)


@dataclass(frozen=True, eq=False)
class _Layer:
    """A layer, and which axis of its outputs holds the channels."""

    name: str
    module: nn.Module
    convolutional: bool
    axis: int | None

    def channels(self, output: Tensor, examples: int) -> Tensor:
        """[B, C, places] of an output."""
        if output.dim() < 2 or len(output) != examples:
            raise ValueError(
                f"layer '{self.name}' gives {list(output.shape)} for {examples} examples; expected [B, ...]"
            )
        return output.movedim(self.place(output), 1).flatten(2) if output.dim() > 2 else output[..., None]

    def place(self, output: Tensor) -> int:
        axis = 1 if self.axis is None and self.convolutional else self.axis
        return axis_of_channels(self.name, self.module, output, axis)

    def without(self, output: Tensor, gone: Tensor, reference: Tensor | None) -> Tensor:
        """The output [n, ...] with channel gone[i] of example i set to the reference."""
        axis = self.place(output)
        size = output.shape[axis]
        shape = [1] * output.dim()
        shape[axis] = size
        values = output.new_zeros(size) if reference is None else reference.to(output)
        hit = gone[:, None] == torch.arange(size, device=output.device)  # [n, C]
        hit = hit.reshape(len(gone), *shape[1:])
        return torch.where(hit, values.reshape(shape), output)


def _points(model: nn.Module, inputs: Inputs) -> tuple[list[str], set[str]]:
    """`convolutions` of a forward pass of one example."""
    layout, joined = lay_out(inputs)
    scorer = Scorer(model, layout, None, nothing, "logit", slice(0, 1), len(joined))
    return guarded(model, joined.device, lambda: convolutions(model, lambda: scorer.columns(joined[:1])))


def _forward(
    scorer: Scorer, part: Tensor, layers: Mapping[str, _Layer]
) -> tuple[list[Tensor], dict[str, list[Tensor]]]:
    """Scores K x [b], and the outputs of the layers, one a call."""
    with recorded({name: layer.module for name, layer in layers.items()}) as outputs:
        columns = scorer.columns(part)
    for name, found in outputs.items():
        if not found:
            raise ValueError(f"layer '{name}' took no part in the forward pass")
    return columns, outputs


@torch.no_grad()
def _sums(scorer: Scorer, part: Tensor, layers: Mapping[str, _Layer]) -> dict[str, tuple[Tensor, int]]:
    """{layer: (sum of each channel [C], how many numbers that is)}."""
    _, outputs = _forward(scorer, part, layers)
    found = {}
    for name, calls in outputs.items():
        flat = torch.cat([layers[name].channels(call, len(part)).double() for call in calls], dim=2)
        found[name] = (flat.sum((0, 2)), flat.shape[0] * flat.shape[2])
    return found


def _mean(sums: list[tuple[Tensor, int]]) -> Tensor:
    return torch.stack([total for total, _ in sums]).sum(0) / sum(count for _, count in sums)


def _evidence(
    scorer: Scorer, part: Tensor, layers: Mapping[str, _Layer], means: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Scores [b, K] and {layer: evidence [K, b, C] in float64}."""
    columns, outputs = _forward(scorer, part.requires_grad_(), layers)
    for name, calls in outputs.items():
        if not all(call.requires_grad for call in calls):
            raise ValueError(f"layer '{name}' does not depend on the input through differentiable operations")
    every = [call for calls in outputs.values() for call in calls]
    evidence: dict[str, list[Tensor]] = {name: [] for name in layers}
    for gradients in scorer.gradients_of(columns, every):
        left = iter(gradients)
        for name, calls in outputs.items():
            amounts = []
            for call in calls:
                activation = layers[name].channels(call.detach(), len(part)).double()
                if name in means:
                    activation = activation - means[name][:, None]
                gradient = next(left)
                gradient = torch.zeros_like(call) if gradient is None else gradient
                amounts.append((layers[name].channels(gradient, len(part)).double() * activation).sum(2))
            evidence[name].append(torch.stack(amounts).sum(0))
    return torch.stack(columns, 1).detach(), {name: torch.stack(found) for name, found in evidence.items()}


@torch.no_grad()
def _effects(
    scorer: Scorer,
    part: Tensor,
    layers: Mapping[str, _Layer],
    means: Mapping[str, Tensor],
    clean: Tensor,
    evidence: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """{layer: what the scores lose without each channel, [K, C], summed over the examples}."""
    part = part.detach()
    effects = {name: torch.zeros_like(found[:, 0]) for name, found in evidence.items()}
    steps = [(name, some) for name, found in evidence.items() for some in stacked(found.shape[2], part)]
    for name, some in scorer.steps(steps):
        gone = torch.tensor(list(some), device=part.device).repeat_interleave(len(part))
        layer, reference = layers[name], means.get(name)
        with replaced(layer.module, partial(layer.without, gone=gone, reference=reference)):
            scores = scorer(part.repeat(len(some), *[1] * (part.dim() - 1)))
        lost = clean[None].double() - scores.reshape(len(some), *clean.shape).double()  # [n, b, K]
        effects[name][:, some.start : some.stop] = lost.sum(1).T
    return effects


def _table(
    layer: str, tasks: list[str], evidence: np.ndarray, strength: np.ndarray, effect: np.ndarray
) -> pd.DataFrame:
    """The rows of a layer from arrays [K, C]."""
    total = strength.sum(1, keepdims=True)
    share = np.divide(strength, total, out=np.full_like(strength, np.nan), where=total > 0)
    used = np.nan_to_num(share)
    others = np.stack([np.delete(used, k, axis=0).max(axis=0, initial=0.0) for k in range(len(tasks))])
    most = used.max(axis=0)
    rest = (used.sum(axis=0) - most) / max(1, len(tasks) - 1)
    selectivity = np.divide(most - rest, most + rest, out=np.full_like(most, np.nan), where=most + rest > 0)
    if len(tasks) == 1:
        selectivity[:] = np.nan
    channels = evidence.shape[1]
    return pd.DataFrame(
        {
            "layer": layer,
            "channel": np.repeat(np.arange(channels), len(tasks)),
            "task": tasks * channels,
            "evidence": evidence.T.ravel(),
            "strength": strength.T.ravel(),
            "share": share.T.ravel(),
            "shared": np.minimum(share, others).T.ravel(),
            "selectivity": np.repeat(selectivity, len(tasks)),
            "effect": effect.T.ravel(),
        }
    )
