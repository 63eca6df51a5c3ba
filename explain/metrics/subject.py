"""What a metric gets to know of a model: the scores of all tasks, and how to explain again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from explain.batching import micro_batches
from explain.guard import guarded
from explain.inputs import Layout
from explain.metrics.features import Features
from explain.outputs import named_outputs, unwrap
from explain.scorer import Scorer
from explain.targets import Region, Score, Target, pick

Explainer = Callable[[Scorer, Tensor, int, int], list[Tensor]]  # a method with its options


@dataclass(frozen=True, eq=False, kw_only=True)
class Subject:
    """A model and its clean inputs, with every task's target fixed to what it is for these inputs.

    Args:
        model: the unwrapped module.
        inputs: [B, *S], on the model's device; joined to [B, N] where there are several (``layout.split``).
        baseline: [B, *S], what stands for "absent".
        features: what is taken away at once.
        scorers: for each micro-batch of examples its scorer, resolved on the clean inputs.
        clean: scores [B, K] of the clean inputs.
        first: the place of inputs[0] in the whole batch, for the streams of `explain.batching`.
        seed: the call's seed.
        rows: examples a forward pass at most.
        method: explains again; None where the method is not known.
        memo: what metrics share.
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
    method: Explainer | None = None
    memo: dict[Any, Any] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """The K tasks, in the order of the columns of `scores`."""
        return self.scorers[0].tasks

    @property
    def layout(self) -> Layout:
        """How the inputs of the model lie in ``inputs``."""
        return self.scorers[0].layout

    @property
    def targets(self) -> dict[str, Tensor | None]:
        """{task: classes [B]}, None for a task that is not explained by a class an example."""
        found: dict[str, Tensor | None] = {}
        for task in self.tasks:
            labels = [scorer.targets[task] for scorer in self.scorers]
            classes = [label for label in labels if _is_class(label) and isinstance(label, Tensor)]
            found[task] = torch.cat(classes) if len(classes) == len(labels) else None
        return found

    @torch.no_grad()
    def outputs(self) -> dict[str, Tensor]:
        """{task: [B, ...]}, the model's own outputs for the clean inputs."""
        if "outputs" not in self.memo:
            pieces = [
                named_outputs(self.layout.call(self.model, self.inputs[part], scorer.rows))
                for part, scorer in self._parts()
            ]
            self.memo["outputs"] = {task: torch.cat([p[task] for p in pieces]) for task in self.tasks}
        found: dict[str, Tensor] = self.memo["outputs"]
        return found

    def scores(self, inputs: Tensor) -> Tensor:
        """Scores [n B, K] of n perturbed copies of the clean inputs, [n B, *S], one after another."""
        index = torch.arange(len(self.inputs), device=inputs.device).repeat(len(inputs) // len(self.inputs))
        return self.each(index, lambda places: inputs[places])

    @torch.no_grad()
    def each(self, index: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
        """Scores [m, K] of m perturbed inputs, packed into full forward passes.

        Args:
            index: [m], which example each of them is a perturbation of.
            make: ``places [n] -> [n, *S]``, the perturbed inputs at some places of 0..m-1; called once for each pass,
                so that no more than a pass is in memory.
        """
        found = self.clean.new_empty(len(index), self.clean.shape[1])
        for part, scorer in self._parts():
            inside = ((index >= part.start) & (index < part.stop)).nonzero()[:, 0]
            for chunk in micro_batches(len(inside), self.rows):
                places = inside[chunk]
                found[places] = scorer.of(index[places] - part.start)(make(places)).to(found.dtype)
        return found

    def explain(
        self, model: nn.Module, inputs: Tensor, target: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """{task: map [B, *S]} by the method that is evaluated, for the classes of the clean inputs.

        Args:
            model: the subject's own, or another with the same outputs (a copy with other weights).
            inputs: [B, *S], near the clean ones.
            target: {task: other classes [B]}, for tasks whose `targets` are classes.
        """
        method = self.method
        if method is None:
            raise ValueError("to explain again takes the method that made the maps: give method=")
        model = unwrap(model)

        def run() -> dict[str, Tensor]:
            pieces: dict[str, list[Tensor]] = {}
            for part, scorer in self._parts():
                other = {task: _of_class(scorer, task, c[part]) for task, c in (target or {}).items()}
                own = dataclasses.replace(scorer, model=model, scores=scorer.scores | other)
                maps = method(own, inputs[part].detach().clone(), self.first + part.start, self.seed)
                for task, attribution in zip(own.tasks, maps, strict=True):
                    pieces.setdefault(task, []).append(attribution.detach())
            return {task: torch.cat(found) for task, found in pieces.items()}

        return guarded(model, inputs.device, run)

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

    def likely(self) -> Subject:
        """The same with probabilities as scores, of the tasks that are explained by a class; for curves.

        A task without classes, one whose target is a callable and one whose loss is explained keep their score.
        """
        if "likely" not in self.memo:
            scorers = [_likely(scorer) for scorer in self.scorers]
            with torch.no_grad():  # the clean inputs first: they resolve the targets
                clean = [s(self.inputs[part]) for s, (part, _) in zip(scorers, self._parts(), strict=True)]
            self.memo["likely"] = dataclasses.replace(self, scorers=scorers, clean=torch.cat(clean), memo={})
        found: Subject = self.memo["likely"]
        return found

    def _parts(self) -> Iterator[tuple[slice, Scorer]]:
        start = 0
        for scorer in self.scorers:
            rows = scorer.rows
            size = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
            yield slice(start, start + size), scorer
            start += size


@torch.no_grad()
def make_subject(
    model: nn.Module,
    layout: Layout,
    inputs: Tensor,
    *,
    task: str | None,
    target: Target | Mapping[str, Target],
    score: str | Mapping[str, str],
    baseline: Tensor,
    features: Features,
    rows: int,
    seed: int,
    progress: bool = False,
) -> Subject:
    """The subject of a whole batch; one clean forward pass, which resolves the targets."""
    scorers, clean = [], []
    for part in micro_batches(len(inputs), rows):
        scorer = Scorer(model, layout, task, target, score, part, len(inputs), progress)
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


def _is_class(target: object) -> bool:
    return isinstance(target, Tensor) and not target.is_floating_point()


def _score_of(scorer: Scorer, task: str) -> str:
    return scorer.score if isinstance(scorer.score, str) else scorer.score.get(task, "logit")


def _of_class(scorer: Scorer, task: str, classes: Tensor) -> Score:
    """The scorer's own kind of score, of other classes."""
    if not _is_class(scorer.targets[task]):
        raise ValueError(f"task '{task}' is not explained by a class, and has no other class to explain")
    kind = _score_of(scorer, task)
    return Score(lambda output, label: pick(output, label, kind), (classes,), classes)


def _likely(scorer: Scorer) -> Scorer:
    kinds = {}
    for task, target in scorer.targets.items():
        own = _score_of(scorer, task)
        classes = _is_class(target) or (isinstance(target, Region) and target.label is not None)
        kinds[task] = "probability" if classes and own != "loss" else own
    return dataclasses.replace(scorer, score=kinds, scores={})
