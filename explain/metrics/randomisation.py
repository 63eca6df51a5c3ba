"""Randomisation: a map of what a model has learnt must change when the model, or what is explained, changes."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from explain.guard import untouched
from explain.metrics.cascade import duplicate, paths, randomise, steps
from explain.metrics.similarity import SIMILARITIES
from explain.names import lookup

if TYPE_CHECKING:
    from explain.metrics.subject import Subject

ORDERS = {"top_down": False, "bottom_up": True}


@dataclass(frozen=True, kw_only=True)
class ParameterRandomisation:
    """The similarity of the map and the map after layers have been made random, averaged over a cascade of layers.

    The layers on the task's own path become random one after another, from its head down, each step on top of the last.
    Near 0: the map depends on what was learnt. Near 1: it does not, and shows the input or the architecture. The
    untouched model's 1.0 is not in the mean. Works on a copy; the model is not touched. Source: Adebayo et al. 2018
    ("cascading randomization", signed and absolute); Hedström et al. 2024 argue for ``"bottom_up"``.
    NaN where the map, or every map of the random models, is constant. Cost: a copy of the model, and one explanation of
    all tasks together a step.

    Args:
        similarity: ``"spearman"`` or ``"cosine"``.
        absolute: compare the maps' absolute values; where the input shines through (input times gradient), these stay
            alike though the signs are random.
        order: ``"top_down"`` or ``"bottom_up"``.
        steps: at most; where a path has more layers, neighbours below the first are made random together.
        draws: cascades, each with random weights of its own, to average over.
    """

    similarity: str = "spearman"
    absolute: bool = False
    order: str = "top_down"
    steps: int = 10
    draws: int = 1
    kind: ClassVar[str] = "method"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        lookup("similarity", self.similarity, SIMILARITIES)
        lookup("order", self.order, ORDERS)
        for name in ("steps", "draws"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"parameter_randomisation: {name} must be an integer >= 1, got {value!r}")

    def __call__(self, subject: Subject, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{task: [B]} of maps {task: [B, *S]}."""
        alike = SIMILARITIES[self.similarity]
        found: dict[str, list[Tensor]] = {task: [] for task in maps}
        for draw in range(self.draws):
            for _, again in cascade(subject, self.order, self.steps, draw):
                for task in maps.keys() & again.keys():
                    one, other = maps[task], again[task]
                    found[task].append(alike(one.abs(), other.abs()) if self.absolute else alike(one, other))
        return {task: torch.stack(values).nanmean(0) for task, values in found.items()}


@dataclass(frozen=True, kw_only=True)
class RandomLogit:
    """The similarity of the map of the explained class and the map of another class, drawn at random.

    Near 1: the map does not say why this class and not another. NaN for a task whose score is not that of a class, or
    that has one class, and where a map is constant. Source: Sixt et al. 2020 ("random logit"), there by SSIM.
    Cost: one explanation for all tasks.

    Args:
        similarity: ``"spearman"`` or ``"cosine"``.
    """

    similarity: str = "spearman"
    kind: ClassVar[str] = "method"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        lookup("similarity", self.similarity, SIMILARITIES)

    def __call__(self, subject: Subject, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{task: [B]} of maps {task: [B, *S]}."""
        others = other_classes(subject)
        again = subject.explain(subject.model, subject.inputs, target=others) if others else {}
        nothing = torch.full((len(subject.inputs),), torch.nan, dtype=torch.float64)
        return {
            task: SIMILARITIES[self.similarity](one, again[task]).cpu() if task in others else nothing
            for task, one in maps.items()
        }


def other_classes(subject: Subject) -> dict[str, Tensor]:
    """{task: classes [B]}, none of them the explained one; only tasks that have another class."""
    found = {}
    for task, chosen in subject.targets.items():
        if chosen is None or subject.outputs()[task].shape[1] < 2:
            continue
        classes = subject.outputs()[task].shape[1]
        key = zlib.crc32(task.encode())
        drawn = [
            int(np.random.SeedSequence((subject.seed, subject.first + b, key)).generate_state(1)[0])
            % (classes - 1)
            for b in range(len(chosen))
        ]
        other = torch.tensor(drawn, device=chosen.device)
        found[task] = other + (other >= chosen)  # the explained class is left out
    return found


def cascade(
    subject: Subject, order: str = "top_down", at_most: int = 10, draw: int = 0
) -> Iterator[tuple[dict[str, list[str]], dict[str, Tensor]]]:
    """Layers made random step by step: ({task: layers of this step}, {task: the map now}) of the tasks concerned.

    One explanation a step for all tasks: the first step takes every task's own head, and the trunk's layers follow for
    all at once. A task takes no part in a step that has none of its layers.

    Args:
        subject: with a method.
        order: in `ORDERS`.
        at_most: steps.
        draw: which random weights.

    Raises:
        ValueError: a task whose score depends on no parameter; a model that cannot be copied; a map that its method
            refuses for the random model.
    """
    twin, own = _twin(subject)
    ordered = {task: names[::-1] if ORDERS[order] else names for task, names in own.items()}
    random: list[str] = []
    for names in subject.scorers[0].steps(steps(ordered, at_most)):
        randomise(twin.model, names, subject.seed, draw)
        random += names
        try:
            maps = twin.explain(twin.model, subject.inputs)
        except ValueError as error:
            raise ValueError(f"with random weights in {', '.join(random)}: {error}") from error
        layers = {task: [name for name in names if name in path] for task, path in own.items()}
        yield (
            {task: found for task, found in layers.items() if found},
            {task: maps[task] for task, found in layers.items() if found},
        )


def off_path_change(subject: Subject, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """How much each task's map changes when all layers that its score does not depend on are made random, {task: [B]}.

    The largest change as a fraction of the map's largest absolute value. It must be 0: anything else is a map that
    mixes tasks. Cost: a copy of the model and one explanation a task.

    Args:
        subject: with a method.
        maps: {task: [B, *S]}.
    """
    changes = {}
    for task, one in maps.items():
        twin, own = _twin(subject)
        off = {name for path in own.values() for name in path} - set(own[task])
        randomise(twin.model, sorted(off), subject.seed)
        change = (twin.explain(twin.model, subject.inputs)[task] - one).flatten(1).abs().amax(1)
        size = one.flatten(1).abs().amax(1)
        changes[task] = torch.where(change == 0, 0.0, change / size).double()
    return changes


def _twin(subject: Subject) -> tuple[Subject, dict[str, list[str]]]:
    """(the subject with a copy of its model, {task: the layers of its path, from the output down})."""
    model = duplicate(subject.model)
    copies = dict(zip(subject.model.modules(), model.modules(), strict=True))
    scorers = [dataclasses.replace(scorer, model=model, progress=False) for scorer in subject.scorers]
    method = _for_copy(subject.method, copies)
    twin = dataclasses.replace(subject, model=model, scorers=scorers, method=method, memo={})
    with untouched(model, subject.inputs.device):
        _, few = next(twin.parts())
        inputs, scorer = few.inputs.detach().clone().requires_grad_(), few.scorers[0]
        scores = dict(zip(scorer.tasks, scorer.columns(inputs), strict=True))
        own = paths(model, inputs, scores)
    empty = [task for task, path in own.items() if not path]
    if empty:
        raise ValueError(
            f"randomisation: the scores of {empty} depend on no parameter through differentiable operations, so there "
            "is nothing to make random"
        )
    return twin, own


def _for_copy(method: Any, copies: Mapping[nn.Module, nn.Module]) -> Any:
    """The method, with options that are modules of the model (a layer) replaced by those of its copy."""
    if not dataclasses.is_dataclass(method) or isinstance(method, type):
        return method
    values = {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}
    changed = {
        name: copies[value]
        for name, value in values.items()
        if isinstance(value, nn.Module) and value in copies
    }
    return dataclasses.replace(method, **changed)
