"""The loss of each example, and of no label that is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from explain.names import lookup, unknown
from explain.outputs import SINGLE

Loss = str | Callable[[Tensor, Tensor], Tensor]
MISSING = -1  # the class index of a label that is not there; float labels use NaN
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # output, labels -> a loss for every value
    "cross_entropy": lambda output, labels: F.cross_entropy(output, labels, reduction="none"),
    "squared": lambda output, labels: (output - labels) ** 2,
    "absolute": lambda output, labels: (output - labels).abs(),
    "binary": lambda output, labels: F.binary_cross_entropy_with_logits(output, labels, reduction="none"),
}


@dataclass(frozen=True)
class Labels:
    """The labels of one task.

    Args:
        task: its name.
        loss: a name in `LOSSES`, or a callable ``(output, labels) -> [n]``.
        values: [N, ...], with a valid filling where a label is missing.
        there: bool like ``values``; [N] where the loss is a callable.
        dtype: of the output.
    """

    task: str
    loss: Loss
    values: Tensor
    there: Tensor
    dtype: torch.dtype

    @property
    def present(self) -> Tensor:
        """[N] bool: whether an example has a label at all."""
        return self.there.flatten(1).any(1) if self.there.dim() > 1 else self.there

    def of_one(self, output: Tensor, values: Tensor, there: Tensor) -> Tensor:
        """The loss of one example: output [1, ...], its values and there [...]."""
        if isinstance(self.loss, str):
            if self.loss != "cross_entropy":
                values, there = values.reshape(output.shape[1:]), there.reshape(output.shape[1:])
            return (LOSSES[self.loss](output, values[None])[0] * there).sum()
        value = self.loss(output, values[None])
        if not isinstance(value, Tensor) or value.shape != output.shape[:1]:
            got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"the loss of task '{self.task}' must give [n] = [1] for one example, got {got}")
        return torch.where(there, value[0], 0)


def losses_of(
    losses: Loss | Mapping[str, Loss] | None, given: Mapping[str, Any], outputs: Mapping[str, Tensor]
) -> dict[str, Loss]:
    """The loss of each task in ``given``: the one asked for, else by the kind of the labels."""
    asked = losses if isinstance(losses, Mapping) else dict.fromkeys(given, losses)
    for name in (*given, *asked):
        if name not in outputs:
            raise unknown("task", name, outputs)
    return {
        task: asked.get(task) or _by_kind(task, _split(task, labels)[0]) for task, labels in given.items()
    }


def by_task(targets: Any) -> dict[str, Any]:
    """{task: labels} of what the user gave.

    >>> list(by_task(torch.zeros(2))), list(by_task({"a": torch.zeros(2)}))
    (['output'], ['a'])
    """
    return dict(targets) if isinstance(targets, Mapping) else {SINGLE: targets}


def labelled(task: str, given: Any, loss: Loss, output: Tensor, rows: int) -> Labels:
    """The labels of one task, checked.

    Args:
        task: its name.
        given: labels, or a pair (labels, bool mask of those that are there).
        loss: as in `Labels`.
        output: [n, ...], the task's output for some examples.
        rows: N.

    >>> labels = labelled("a", torch.tensor([1, -1]), "cross_entropy", torch.zeros(1, 2), rows=2)
    >>> labels.present.tolist(), labels.values.tolist()
    ([True, False], [1, 0])
    """
    values, mask = _split(task, given)
    values = values.detach().to(output.device)
    if values.dim() == 0 or len(values) != rows:
        raise ValueError(f"task '{task}': labels must be [N, ...] with N = {rows}, got {list(values.shape)}")
    there = ~values.isnan() if values.is_floating_point() else values != MISSING
    if mask is not None:
        if mask.dtype != torch.bool or mask.shape not in (values.shape, values.shape[:1]):
            raise ValueError(
                f"task '{task}': the mask of labels must be bool {list(values.shape)} or [{rows}], "
                f"got {mask.dtype} {list(mask.shape)}"
            )
        there = there & mask.to(there.device).reshape(*mask.shape, *[1] * (values.dim() - mask.dim()))
    if isinstance(loss, str):
        lookup("loss", loss, LOSSES)
        _check(task, loss, values, there, output)
        values = values.where(there, 0)
        values = values.long() if loss == "cross_entropy" else values.to(output.dtype)
    else:
        there = there.flatten(1).any(1) if there.dim() > 1 else there
        values = values.where(there.reshape(-1, *[1] * (values.dim() - 1)), 0)
    return Labels(task, loss, values, there, output.dtype)


def predicted(task: str, loss: Loss, output: Tensor) -> Tensor:
    """The classes that the model predicts, as labels."""
    if loss != "cross_entropy":
        raise ValueError(
            f"task '{task}': only for the loss 'cross_entropy' is there a predicted class; give targets="
        )
    return output.argmax(1)


def _split(task: str, given: Any) -> tuple[Tensor, Tensor | None]:
    labels, mask = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    if not isinstance(labels, Tensor) or not (mask is None or isinstance(mask, Tensor)):
        raise TypeError(
            f"task '{task}': labels must be a tensor [N, ...], or a pair (labels, bool mask), "
            f"got {type(given).__name__}"
        )
    return labels, mask


def _by_kind(task: str, labels: Tensor) -> Loss:
    if not labels.is_floating_point():
        return "cross_entropy"
    if bool(((labels == 0) | (labels == 1) | labels.isnan()).all()):
        raise ValueError(
            f"task '{task}': labels of only 0 and 1 may be classes or values; give losses={{'{task}': 'binary'}} "
            "or 'squared'"
        )
    return "squared"


def _check(task: str, loss: str, values: Tensor, there: Tensor, output: Tensor) -> None:
    shape = [len(values), *output.shape[1:]]
    if loss == "cross_entropy":
        if values.is_floating_point() or values.dtype == torch.bool:
            raise TypeError(f"task '{task}': the loss 'cross_entropy' needs int labels, got {values.dtype}")
        if output.dim() < 2 or list(values.shape) != [len(values), *output.shape[2:]]:
            raise ValueError(
                f"task '{task}': cross entropy needs an output [B, C, ...] and labels [B, ...], got "
                f"{list(output.shape)} and {list(values.shape)}; for other losses give losses="
            )
        some = values[there]
        if some.numel() and (int(some.min()) < 0 or int(some.max()) >= output.shape[1]):
            raise ValueError(
                f"task '{task}': labels must be in 0..{output.shape[1] - 1} (or {MISSING} where missing), "
                f"got {int(some.min())}..{int(some.max())}"
            )
        return
    if not values.is_floating_point():
        raise TypeError(
            f"task '{task}': the loss '{loss}' needs float labels (NaN where missing), got {values.dtype}"
        )
    if values[0].numel() != output[0].numel() or (values.dim() > 1 and list(values.shape) != shape):
        raise ValueError(f"task '{task}': labels must be like the output, {shape}, got {list(values.shape)}")
    if not torch.isfinite(values[there]).all():
        raise ValueError(f"task '{task}': labels must be finite (NaN where missing)")
