"""The scores of K tasks from one forward pass: all that a method gets to know of a model."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from explain.inputs import Layout
from explain.names import unknown
from explain.outputs import named_outputs
from explain.targets import Score, Target, resolve

T = TypeVar("T")


class ForwardError(ValueError):
    """The model cannot take these inputs."""


@dataclass
class Scorer:
    """The scores of K tasks for the examples ``rows`` of a batch of ``total``.

    Args:
        model: the module to explain.
        layout: how methods' one tensor becomes the model's inputs.
        task: one task, or None for all.
        target: one target for every task, or {task: target}; of the whole batch.
        score: one of `explain.targets.SCORES` for every task, or {task: score}.
        rows: which examples of the whole batch are scored here.
        total: examples in the whole batch.
        progress: whether `steps` draws a bar.

    ``"predicted"`` is resolved by the first outputs that are seen, which must be those of the inputs themselves.
    """

    model: nn.Module
    layout: Layout
    task: str | None
    target: Target | Mapping[str, Target]
    score: str | Mapping[str, str]
    rows: slice | Tensor
    total: int
    progress: bool = False
    scores: dict[str, Score] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """The K tasks, in the order of the columns; empty before the first call."""
        return list(self.scores)

    @property
    def targets(self) -> dict[str, object]:
        """{task: a target} that gives the same scores for these rows; after the first call."""
        return {task: score.target for task, score in self.scores.items()}

    def __call__(self, inputs: Tensor) -> Tensor:
        """Scores [n B, K] of inputs [n B, *S]: n perturbed copies of the batch, one after another."""
        return torch.stack(self.columns(inputs), dim=1)

    def columns(self, inputs: Tensor) -> list[Tensor]:
        """The same as K tensors [n B], each of which depends on its own task alone."""
        outputs = self._outputs(inputs)
        if not self.scores:
            self.scores = self._resolved(outputs)
        columns = []
        for task, score in self.scores.items():
            if task not in outputs:
                raise ValueError(f"the model's output '{task}' is missing in a later forward pass")
            self._check(task, outputs[task], inputs)
            columns.append(score(outputs[task]))
        return columns

    def of(self, index: Tensor) -> Scorer:
        """The same scores for some of the examples: ``index`` [b] into this scorer's rows; after the first call."""
        part = {task: score.of(index) for task, score in self.scores.items()}
        every = torch.arange(self.total, device=index.device)[self.rows]
        rows = every[index]
        return Scorer(
            self.model, self.layout, self.task, self.target, self.score, rows, self.total, self.progress, part
        )

    def gradients(self, columns: Sequence[Tensor], of: Tensor) -> list[Tensor | None]:
        """The gradient of each column's sum with respect to ``of``: K tensors like it, None where it is not reached."""
        return [found[0] for found in self.gradients_of(columns, [of])]

    def gradients_of(
        self, columns: Sequence[Tensor], of: Sequence[Tensor]
    ) -> list[tuple[Tensor | None, ...]]:
        """The same with respect to several tensors: for each column one gradient a tensor."""
        cut = [task for task, column in zip(self.tasks, columns, strict=True) if not column.requires_grad]
        if cut:
            raise ValueError(
                f"the scores of {cut} do not depend on the input through differentiable operations "
                "(argmax, detach, rounding or .item() on the way?)"
            )
        last = len(columns) - 1
        return [
            torch.autograd.grad(column.sum(), list(of), retain_graph=k < last, allow_unused=True)
            for k, column in enumerate(columns)
        ]

    def split(self, inputs: Tensor) -> list[Tensor]:
        """The parts [n, *S] of inputs, where the model takes several; else the inputs."""
        return self.layout.split(inputs)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """The inverse of `split`."""
        return self.layout.join(parts)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parts."""
        return self.layout.names

    def steps(self, items: Iterable[T], total: int | None = None) -> Iterable[T]:
        """The items, with a progress bar on standard error where the user asked for one."""
        if not self.progress:
            return items
        return tqdm(items, total=total, file=sys.stderr, desc="explain", unit="pass", leave=False)

    def _outputs(self, inputs: Tensor) -> dict[str, Tensor]:
        try:
            output = self.layout.call(self.model, inputs, self.rows)
        except (RuntimeError, TypeError, AssertionError, IndexError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            shapes = [list(part.shape) for part in self.split(inputs)]
            raise ForwardError(
                f"the model cannot take inputs {shapes[0] if len(shapes) == 1 else shapes} "
                f"({inputs.dtype}, {inputs.device}): {reason}"
            ) from error
        return named_outputs(output)

    def _check(self, task: str, output: Tensor, inputs: Tensor) -> None:
        if output.dim() == 0 or len(output) != len(inputs):
            raise ValueError(
                f"task '{task}' gives {list(output.shape)} for {len(inputs)} examples; expected [B, ...]"
            )

    def _resolved(self, outputs: Mapping[str, Tensor]) -> dict[str, Score]:
        tasks = list(outputs)
        if self.task is not None:
            if self.task not in outputs:
                raise unknown("task", self.task, outputs)
            tasks = [self.task]
        found = {}
        for task in tasks:
            output = outputs[task]
            if output.dim() == 0:
                raise ValueError(f"task '{task}' gives one number for the whole batch; expected [B, ...]")
            target = _of_task(self.target, task, outputs, "predicted")
            score = _of_task(self.score, task, outputs, "logit")
            found[task] = resolve(task, output, target, score, self.rows, self.total)
        return found


def _of_task(given: Any, task: str, known: Mapping[str, Tensor], default: str) -> Any:
    if not isinstance(given, Mapping):
        return given
    for name in given:
        if name not in known:
            raise unknown("task", name, known)
    return given.get(task, default)
