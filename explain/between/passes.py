"""Running a model over a batch, a micro-batch of examples after another, and leaving it as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import Tensor, nn

from explain.batching import micro_batches, rows_at_once
from explain.guard import guarded
from explain.inputs import Inputs, Layout, lay_out
from explain.outputs import unwrap
from explain.scorer import Scorer
from explain.targets import Target

T = TypeVar("T")


def checked_call(model: object, batch_size: int | None, seed: int = 0) -> nn.Module:
    """The module inside wrappers, or an error for what is no model, no batch size or no seed.

    >>> checked_call(nn.Identity(), 0)
    Traceback (most recent call last):
    ValueError: batch_size must be an integer >= 1, got 0
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size must be an integer >= 1, got {batch_size!r}")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an integer >= 0, got {seed!r}")
    return unwrap(model)


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
