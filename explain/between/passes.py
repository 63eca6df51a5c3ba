"""Running a model over a batch, a micro-batch of examples after another, and leaving it as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import Tensor, nn

from explain.batching import micro_batches, rows_at_once
from explain.guard import guarded
from explain.inputs import Inputs, Layout, lay_out
from explain.scorer import Scorer
from explain.targets import Target

T = TypeVar("T")


def nothing(output: Tensor) -> Tensor:
    """The score of a task that is not looked at."""
    return output.reshape(len(output), -1).sum(1)


def task_names(model: nn.Module, inputs: Inputs) -> list[str]:
    """The names of a model's outputs, from a forward pass of one example.

    >>> import torch
    >>> task_names(nn.Identity(), torch.zeros(2, 3))
    ['output']
    """
    layout, joined = lay_out(inputs)
    scorer = Scorer(model, layout, None, nothing, "logit", slice(0, 1), len(joined))
    guarded(model, joined.device, lambda: scorer.columns(joined[:1]))
    return scorer.tasks


def each_batch(
    model: nn.Module,
    inputs: Inputs,
    work: Callable[[Scorer, Tensor], T],
    *,
    target: Target | Mapping[str, Target],
    score: str | Mapping[str, str],
    batch_size: int | None = None,
    progress: bool = False,
) -> tuple[Layout, list[T]]:
    """The inputs' layout, and what ``work(scorer, inputs [b, *S])`` gives for each micro-batch, in order."""
    layout, joined = lay_out(inputs)

    def run() -> list[T]:
        found = []
        for rows in micro_batches(len(joined), batch_size or rows_at_once(joined.shape[1:])):
            scorer = Scorer(model, layout, None, target, score, rows, len(joined), progress)
            found.append(work(scorer, joined[rows].clone()))
        return found

    return layout, guarded(model, joined.device, run)
