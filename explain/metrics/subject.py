"""What a metric gets to know of a model: the scores of all tasks, and how to explain again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from explain.batching import micro_batches
from explain.guard import untouched
from explain.metrics.features import Features
from explain.outputs import named_outputs, unwrap
from explain.targets import Scorer, Target


@torch.no_grad()
def make_subject(
    model: nn.Module,
    inputs: Tensor,
    *,
    task: str | None,
    target: Target | Mapping[str, Target],
    baseline: Tensor,
    features: Features,
    rows: int,
    seed: int,
) -> Subject:
    """The subject of a whole batch; one clean forward pass, which resolves the targets."""
    scorers, clean = [], []
    for part in micro_batches(len(inputs), rows):
        scorer = Scorer(model, task, target, part, len(inputs))
        clean.append(scorer(inputs[part]))
        scorers.append(scorer)
    return Subject(
        model=model,
        inputs=inputs,
        baseline=baseline,
        features=features,
        scorers=scorers,
        clean=torch.cat(clean),
        first=0,
        seed=seed,
        rows=rows,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Subject:
    """A model and its clean inputs, with every task's target fixed to what it is for these inputs.

    Args:
        model: the unwrapped module.
        inputs: [B, *S], on the model's device.
        baseline: [B, *S], what stands for "absent".
        features: what is taken away at once.
        scorers: for each micro-batch of examples its scorer, resolved on the clean inputs.
        clean: scores [B, K] of the clean inputs.
        first: the place of inputs[0] in the whole batch, for `explain.batching.noise_like`.
        seed: the call's seed.
        rows: examples a forward pass at most.
        method: explains again, where the metric is one of a method.
        memo: what metrics on the same subject share.
    """

    model: nn.Module
    inputs: Tensor
    baseline: Tensor
    features: Features
    scorers: list[Scorer]
    clean: Tensor
    first: int
    seed: int
    rows: int
    method: Callable[[Scorer, Tensor, int, int], list[Tensor]] | None = None
    memo: dict[Any, Any] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """The K tasks, in the order of the columns of `scores`."""
        return self.scorers[0].tasks

    @property
    def targets(self) -> dict[str, Tensor | None]:
        """{task: classes [B]}, None for a task whose score is not that of a class."""
        found: dict[str, Tensor | None] = {}
        for task in self.tasks:
            labels = [scorer.chosen[task] for scorer in self.scorers]
            whole = [label for label in labels if isinstance(label, Tensor)]
            found[task] = torch.cat(whole) if len(whole) == len(labels) else None
        return found

    def parts(self) -> Iterator[tuple[slice, Subject]]:
        """Each micro-batch of examples as a subject of its own."""
        for part, scorer in self._parts():
            yield (
                part,
                dataclasses.replace(
                    self,
                    inputs=self.inputs[part],
                    baseline=self.baseline[part],
                    features=self.features.of(part),
                    scorers=[scorer],
                    clean=self.clean[part],
                    first=self.first + part.start,
                    memo={},
                ),
            )

    @torch.no_grad()
    def outputs(self) -> dict[str, Tensor]:
        """{task: [B, ...]}, the model's own outputs for the clean inputs."""
        if "outputs" not in self.memo:
            pieces = [named_outputs(self.model(self.inputs[part])) for part, _ in self._parts()]
            self.memo["outputs"] = {task: torch.cat([p[task] for p in pieces]) for task in self.tasks}
        found: dict[str, Tensor] = self.memo["outputs"]
        return found

    @torch.no_grad()
    def scores(self, inputs: Tensor) -> Tensor:
        """Scores [n B, K] of n perturbed copies of the clean inputs, [n B, *S], one after another."""
        size = len(self.inputs)
        copies = inputs.reshape(len(inputs) // size, size, *inputs.shape[1:])
        found: list[Tensor] = []
        for part, scorer in self._parts():
            own = copies[:, part]
            pieces = [
                scorer(own[chunk].reshape(-1, *inputs.shape[1:]))
                for chunk in micro_batches(len(own), max(1, self.rows // own.shape[1]))
            ]
            found.append(torch.cat(pieces).reshape(len(own), own.shape[1], -1))
        return torch.cat(found, dim=1).flatten(0, 1)

    def passes(self, total: int) -> Iterator[range]:
        """Which of ``total`` perturbed copies to make and score together, so that memory stays bounded."""
        for part in micro_batches(total, max(1, self.rows // len(self.inputs))):
            yield range(part.start, part.stop)

    def explain(
        self, model: nn.Module, inputs: Tensor, target: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """{task: map [B, *S]} by the method that is evaluated.

        Args:
            model: the subject's own, or another with the same outputs (a copy with other weights).
            inputs: [B, *S], near the clean ones.
            target: {task: classes [B]} in place of the classes of the clean inputs, for some tasks.
        """
        if self.method is None:
            raise ValueError(
                "a metric that explains again needs the method that made the maps: method='gradient'"
            )
        model = unwrap(model)
        pieces: dict[str, list[Tensor]] = {}
        with untouched(model, inputs.device):
            for part, scorer in self._parts():
                chosen = dict(scorer.chosen) | {task: c[part] for task, c in (target or {}).items()}
                own = dataclasses.replace(scorer, model=model, chosen=chosen)
                maps = self.method(own, inputs[part].detach().clone(), self.first + part.start, self.seed)
                for task, attribution in zip(own.tasks, maps, strict=True):
                    pieces.setdefault(task, []).append(attribution.detach())
        return {task: torch.cat(found) for task, found in pieces.items()}

    def _parts(self) -> Iterator[tuple[slice, Scorer]]:
        start = 0
        for scorer in self.scorers:
            stop = start + scorer.rows.stop - scorer.rows.start
            yield slice(start, stop), scorer
            start = stop
