"""What is explained: from a task's output to one score an example.

A target is ``"predicted"``, a class, labels [B], a `Region` of a dense output, or a callable ``output -> [B]``; the
score is the target's logit, probability, margin or loss. `resolve` makes one `Score` of them, so that no method knows
tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from explain.names import unknown

SCORES = ("logit", "probability", "margin", "loss")


@dataclass(frozen=True, eq=False)
class Region:
    """The pixels of a dense output, [B, C, *P] or [B, *P], whose mean score is explained.

    Args:
        mask: bool [*P], or [B, *P] for the whole batch, at the output's resolution; or ``"predicted"``: where the
            label's channel is the largest, read from the outputs of the inputs themselves.
        label: which channel of [B, C, *P]: one for all, labels [B], or ``"predicted"``, the largest channel at each
            pixel; None where the output has one channel (a depth map).

    >>> model = torch.nn.Conv2d(1, 2, 1)
    >>> left = torch.zeros(4, 4, dtype=torch.bool).index_fill(1, torch.tensor([0, 1]), True)
    >>> from explain import saliency
    >>> saliency(model, torch.rand(3, 1, 4, 4), target=Region(left, label=1))[..., 2:].abs().max().item()
    0.0
    """

    mask: Tensor | str
    label: int | str | Sequence[int] | np.ndarray | Tensor | None = None


Target = str | int | Sequence[int] | np.ndarray | Tensor | Region | Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Score:
    """A score of a task's output, resolved for the rows of a micro-batch.

    Args:
        function: ``(output [n, ...], *data) -> [n]``.
        data: tensors [b, ...], a row for each example.
        target: what to give as the target for the whole of these rows to get the same score again.
    """

    function: Callable[..., Tensor]
    data: tuple[Tensor, ...] = ()
    target: Any = None

    def __call__(self, output: Tensor) -> Tensor:
        """Scores [n b] of n stacked copies of the rows."""
        repeated = (d.repeat(len(output) // len(d), *[1] * (d.dim() - 1)) for d in self.data)
        return self.function(output, *repeated)

    def of(self, index: Tensor) -> Score:
        """The same for some of the rows."""
        target = self.target[index] if isinstance(self.target, Tensor) else self.target
        return Score(self.function, tuple(d[index] for d in self.data), target)


def resolve(task: str, output: Tensor, target: Any, score: str, rows: slice | Tensor, total: int) -> Score:
    """The score of one task.

    Args:
        task: for messages.
        output: of the clean inputs, [b, ...]: what is predicted is read from it, and the number of classes.
        target: of the whole batch of ``total`` examples.
        score: one of `SCORES`.
        rows: which examples these are.
    """
    if score not in SCORES:
        raise unknown("score", score, SCORES)
    if isinstance(target, Region):
        return _region(task, output, target, score, rows, total)
    if callable(target) and not isinstance(target, Tensor):
        if score != "logit":
            raise ValueError(f"task '{task}': a callable target is the score itself; leave score='logit'")
        return Score(_checked(task, target), target=target)
    predicted = isinstance(target, str) and target == "predicted"
    if isinstance(target, str) and not predicted:
        raise unknown("target", target, ["predicted"])
    if output.dim() == 1 or (output.dim() == 2 and output.shape[1] == 1):
        return _value(task, output, target, predicted, score, rows, total)
    if output.dim() != 2:
        raise ValueError(
            f"task '{task}' gives {list(output.shape)}; an output with more than [B, C] needs target="
            "explain.Region(mask, label) or a callable, e.g. target=lambda output: output[:, 0].mean(dim=(1, 2))"
        )
    labels = output.detach().argmax(dim=1) if predicted else classes(task, output, target, rows, total)
    return Score(lambda out, label: pick(out, label, score), (labels,), labels)


def classes(task: str, output: Tensor, target: Any, rows: slice | Tensor, total: int) -> Tensor:
    """Labels for these rows [b], checked: integers in the range of ``output`` [b, C, ...]."""
    try:
        labels = torch.as_tensor(target, device=output.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"task '{task}': target must be 'predicted', a class, labels [B], a Region or a callable, "
            f"got {type(target).__name__}"
        ) from error
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        hint = (
            "; give a mask as explain.Region(mask, label)"
            if labels.dtype == torch.bool and labels.dim() > 1
            else ""
        )
        raise TypeError(f"task '{task}': a target class must be an integer, got {labels.dtype}{hint}")
    labels = _one_each(task, labels, total)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= output.shape[1]:
        raise ValueError(
            f"task '{task}': target classes must be in 0..{output.shape[1] - 1}, got {low}..{high}"
        )
    return labels[rows].long()


def pick(output: Tensor, label: Tensor, score: str) -> Tensor:
    """The score of one class [n, *P] of outputs [n, C, *P]; labels [n] or [n, *P].

    logit: z_c. probability: softmax(z)_c. margin: z_c - max over the others. loss: -log softmax(z)_c.

    >>> z, label = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([0])
    >>> [round(pick(z, label, score).item(), 3) for score in SCORES]
    [2.0, 0.665, 1.0, 0.408]
    """
    if label.dim() < output.dim() - 1:
        label = label.reshape(-1, *[1] * (output.dim() - 2)).expand(len(output), *output.shape[2:])
    label = label[:, None]
    if score == "probability":
        output = output.softmax(dim=1)
    elif score == "loss":
        output = -output.log_softmax(dim=1)
    chosen = output.gather(1, label)[:, 0]
    if score == "margin":
        chosen = chosen - output.scatter(1, label, -torch.inf).amax(dim=1)
    return chosen


def _value(
    task: str, output: Tensor, target: Any, predicted: bool, score: str, rows: slice | Tensor, total: int
) -> Score:
    """The score of a task with one value an example: the value, or its squared error."""
    if score == "loss":
        if predicted:
            raise ValueError(f"task '{task}': score='loss' needs the true values [B] as its target")
        try:
            values = torch.as_tensor(target, device=output.device).to(output.dtype)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"task '{task}': score='loss' needs the true values [B] as its target, got {type(target).__name__}"
            ) from error
        values = _one_each(task, values, total)[rows]
        return Score(lambda out, value: (out.reshape(len(out)) - value).square(), (values,), values)
    if score != "logit":
        raise ValueError(
            f"task '{task}' gives one value an example, which has no {score}; leave score='logit', or give a callable "
            "target, e.g. target=lambda output: output.sigmoid().flatten()"
        )
    if not predicted:
        raise ValueError(
            f"task '{task}' gives one value an example and takes no class target; "
            "leave target='predicted', or give a callable"
        )
    return Score(lambda out: out.reshape(len(out)), target="predicted")


def _region(task: str, output: Tensor, region: Region, score: str, rows: slice | Tensor, total: int) -> Score:
    """The mean score over a region of a dense output."""
    channels = output.dim() > 3  # [B, C, H, W]; [B, H, W] has none
    if region.label is None and channels and output.shape[1] > 1:
        raise ValueError(
            f"task '{task}' gives {list(output.shape)}; a Region of it needs label=, one of its "
            f"{output.shape[1]} channels"
        )
    label: Tensor | None = None
    if isinstance(region.label, str):
        if region.label != "predicted":
            raise unknown("label of a Region", region.label, ["predicted"])
        label = output.detach().argmax(dim=1)
    elif region.label is not None:
        label = classes(task, output, region.label, rows, total)
    mask = _mask(task, output, region, label, rows, total)

    def mean(values: Tensor, inside: Tensor) -> Tensor:
        values = values.reshape(inside.shape) * inside
        return values.flatten(1).sum(dim=1) / inside.flatten(1).sum(dim=1)

    if label is None:
        if score != "logit":
            raise ValueError(f"task '{task}': score='{score}' needs a Region with a label")
        return Score(mean, (mask,), region)
    return Score(lambda out, inside, which: mean(pick(out, which, score), inside), (mask, label), region)


def _mask(
    task: str, output: Tensor, region: Region, label: Tensor | None, rows: slice | Tensor, total: int
) -> Tensor:
    """The pixels of a region, bool [b, *P]: given, or where ``label`` is predicted."""
    mask = region.mask
    if isinstance(mask, str):
        if mask != "predicted":
            raise unknown("mask of a Region", mask, ["predicted"])
        if label is None or isinstance(region.label, str) or output.dim() < 3:
            raise ValueError(
                f"task '{task}': a Region where a class is predicted needs label=, that class (or labels [B]), and an "
                f"output [B, C, H, W]; got label={region.label!r} and {list(output.shape)}"
            )
        inside = output.detach().argmax(dim=1) == label.reshape(-1, *[1] * (output.dim() - 2))
    else:
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or output.dim() < 2:
            got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise TypeError(
                f"task '{task}': a Region needs a bool mask and a dense output, got {got} and {list(output.shape)}"
            )
        places = output.shape[2:] if output.dim() > 3 or label is not None else output.shape[1:]
        if mask.shape not in (places, (total, *places)):
            raise ValueError(
                f"task '{task}': the mask of a Region must be {list(places)} or {[total, *places]}, the resolution of "
                f"the output {list(output.shape)}, got {list(mask.shape)}"
            )
        inside = mask.to(output.device).expand(total, *places)[rows]
    empty = ~inside.flatten(1).any(dim=1)
    if bool(empty.any()):
        first = int(torch.arange(total)[rows][empty.cpu()][0])
        why = " (its class is predicted nowhere)" if isinstance(mask, str) else ""
        raise ValueError(f"task '{task}': the mask of a Region is empty, first for example {first}{why}")
    return inside


def _one_each(task: str, values: Tensor, total: int) -> Tensor:
    """[total] from a number, [total] or [total, 1]."""
    shape = list(values.shape)
    if values.dim() == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dim() == 0:
        values = values.expand(total)
    if values.shape != (total,):
        raise ValueError(f"task '{task}': target must be one class or [B] = [{total}], got {shape}")
    return values


def _checked(task: str, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The user's callable, with its result checked."""

    def score(output: Tensor) -> Tensor:
        found = function(output)
        if not isinstance(found, Tensor) or found.shape != output.shape[:1]:
            got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"task '{task}': the target callable must give [B] = [{len(output)}], got {got}")
        return found

    return score
