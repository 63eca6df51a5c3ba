"""What is explained: from a task's output to one score an example.

A target is ``"predicted"``, a class, labels [B], or a callable ``output -> [B]``; `Scorer` turns the targets of K tasks
into the columns of one [B, K] tensor, so that every method sees scores and no method knows tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from explain.names import unknown
from explain.outputs import named_outputs

Target = str | int | Sequence[int] | np.ndarray | Tensor | Callable[[Tensor], Tensor]
Chosen = Tensor | Callable[[Tensor], Tensor] | None  # classes [B]; a score of the output; the output itself


@dataclass
class Scorer:
    """The scores of K tasks for the examples ``rows`` of a batch of ``total``.

    Args:
        model: the module to explain.
        task: one task, or None for all.
        target: one target for every task, or {task: target}.
        rows: which examples of the whole batch are scored here, to pick their labels.
        total: examples in the whole batch.

    ``"predicted"`` is resolved by the first outputs that are seen, which must be those of the inputs themselves.
    """

    model: nn.Module
    task: str | None
    target: Target | Mapping[str, Target]
    rows: slice
    total: int
    chosen: dict[str, Chosen] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """The K tasks, in the order of the columns; empty before the first call."""
        return list(self.chosen)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Scores [n B, K] of inputs [n B, *S]: n perturbed copies of the batch, one after another."""
        return torch.stack(self.columns(inputs), dim=1)

    def columns(self, inputs: Tensor) -> list[Tensor]:
        """The same as K tensors [n B], each of which depends on its own task alone."""
        try:
            outputs = named_outputs(self.model(inputs))
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"the model cannot take inputs {list(inputs.shape)} ({inputs.dtype}, {inputs.device}): {reason}"
            ) from error
        for task, output in outputs.items():
            if output.dim() == 0 or len(output) != len(inputs):
                raise ValueError(
                    f"task '{task}' gives {list(output.shape)} for {len(inputs)} examples; expected [B, ...]"
                )
        if not self.chosen:
            self.chosen = self._choose(outputs)
        return [self._score(task, outputs[task]) for task in self.chosen]

    def of(self, index: Tensor) -> Scorer:
        """The same scores for some of the examples: ``index`` [b] into this scorer's rows; after the first call."""
        part = {
            task: chosen[index] if isinstance(chosen, Tensor) else chosen
            for task, chosen in self.chosen.items()
        }
        return Scorer(self.model, self.task, self.target, self.rows, self.total, part)

    def gradients(self, columns: Sequence[Tensor], of: Tensor) -> list[Tensor | None]:
        """The gradient of each column's sum with respect to ``of``: K tensors like it, None where it is not reached."""
        cut = [task for task, column in zip(self.tasks, columns, strict=True) if not column.requires_grad]
        if cut:
            raise ValueError(
                f"the scores of {cut} do not depend on the input through differentiable operations "
                "(argmax, detach, rounding or .item() on the way?)"
            )
        last = len(columns) - 1
        return [
            torch.autograd.grad(column.sum(), of, retain_graph=k < last, allow_unused=True)[0]
            for k, column in enumerate(columns)
        ]

    def _choose(self, outputs: Mapping[str, Tensor]) -> dict[str, Chosen]:
        tasks = list(outputs)
        if self.task is not None:
            if self.task not in outputs:
                raise unknown("task", self.task, outputs)
            tasks = [self.task]
        if isinstance(self.target, Mapping):
            for name in self.target:
                if name not in outputs:
                    raise unknown("task", name, outputs)
            targets = {task: self.target.get(task, "predicted") for task in tasks}
        else:
            targets = dict.fromkeys(tasks, self.target)
        return {task: self._resolve(task, outputs[task], targets[task]) for task in tasks}

    def _resolve(self, task: str, output: Tensor, target: Any) -> Chosen:
        predicted = isinstance(target, str) and target == "predicted"
        if callable(target) and not isinstance(target, Tensor):
            return target
        if isinstance(target, str) and not predicted:
            raise unknown("target", target, ["predicted"])
        if output.dim() == 1 or (output.dim() == 2 and output.shape[1] == 1):
            if not predicted:
                raise ValueError(
                    f"task '{task}' gives one value an example and takes no class target; "
                    "leave target='predicted', or give a callable"
                )
            return None
        if output.dim() != 2:
            raise ValueError(
                f"task '{task}' gives {list(output.shape)}; an output with more than [B, C] needs a callable "
                "target, e.g. target=lambda output: output[:, 0].mean(dim=(1, 2))"
            )
        if predicted:
            return output.detach().argmax(dim=1)
        return self._labels(task, output, target)

    def _labels(self, task: str, output: Tensor, target: Any) -> Tensor:
        """Labels for these rows [B], checked: integers in range, one for all or one an example."""
        try:
            labels = torch.as_tensor(target, device=output.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"task '{task}': target must be 'predicted', a class, labels [B] or a callable, "
                f"got {type(target).__name__}"
            ) from error
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise TypeError(f"task '{task}': a target class must be an integer, got {labels.dtype}")
        shape = list(labels.shape)
        if labels.dim() == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.dim() == 0:
            labels = labels.expand(self.total)
        if labels.shape != (self.total,):
            raise ValueError(f"task '{task}': target must be one class or [B] = [{self.total}], got {shape}")
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= output.shape[1]:
            raise ValueError(
                f"task '{task}': target classes must be in 0..{output.shape[1] - 1}, got {low}..{high}"
            )
        return labels[self.rows].long()

    def _score(self, task: str, output: Tensor) -> Tensor:
        chosen = self.chosen[task]
        if chosen is None:
            return output.reshape(len(output))
        if isinstance(chosen, Tensor):
            return output.gather(1, chosen.repeat(len(output) // len(chosen))[:, None])[:, 0]
        score = chosen(output)
        if not isinstance(score, Tensor) or score.shape != output.shape[:1]:
            got = list(score.shape) if isinstance(score, Tensor) else type(score).__name__
            raise ValueError(f"task '{task}': the target callable must give [B] = [{len(output)}], got {got}")
        return score
