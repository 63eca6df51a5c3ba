"""Tasks with their own examples, drawn from together: in proportion to their sizes, equally, or in between."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf, isnan
from typing import Any, Self, overload

import torch
from torch import Tensor
from torch.utils.data import Dataset

from mtl.data.task_data import TaskData, labels_there
from mtl.inputs import tensors
from mtl.names import unknown
from mtl.tasks import MISSING

SAMPLINGS = ("proportional", "equal", "temperature")


def draw_epoch(sources: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Rows [N] of one epoch, shuffled; a source of n rows gets a share of them in proportion to n ** (1 / temperature).

    A source goes through all its rows before it shows one again, so that a small one repeats and of a large one a part
    is seen. Shares that are no whole number are rounded up or down at random, right on average.

    Args:
        sources: int [N], the source of each row, 0..S-1.
        temperature: 1: every row once; infinity: every source equally often.
        generator: what is drawn depends on its state alone.

    >>> sources = torch.tensor([0] * 90 + [1] * 10)
    >>> draw = torch.Generator().manual_seed(0)
    >>> [sources[draw_epoch(sources, t, draw)].bincount().tolist() for t in (1.0, float("inf"))]
    [[90, 10], [50, 50]]
    """
    sizes = sources.bincount().double()
    weights = torch.where(sizes > 0, sizes ** (1 / temperature), 0.0)
    ends = (len(sources) * weights.cumsum(0) / weights.sum()).round(decimals=6)
    shift = torch.rand((), generator=generator, dtype=torch.float64)
    counts = (ends + shift).floor().diff(prepend=torch.zeros(1, dtype=torch.float64)).long()
    rows = []
    for source, count in enumerate(counts.tolist()):
        own = (sources == source).nonzero()[:, 0]
        passes = [torch.randperm(len(own), generator=generator) for _ in range(-(-count // max(1, len(own))))]
        rows += [own[torch.cat(passes)[:count]]] if passes else []
    drawn = torch.cat(rows)
    return drawn[torch.randperm(len(drawn), generator=generator)]


@dataclass(frozen=True, eq=False)
class Mixture(TaskData):
    """Examples in memory from several sources; made by `mixture`.

    Args:
        sources: int [N], the source of each example.
        temperature: see `draw_epoch`.
    """

    sources: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    temperature: float = 1.0

    def order(self, generator: torch.Generator) -> Tensor:
        """The rows of one epoch of training, [N]."""
        return draw_epoch(self.sources, self.temperature, generator)

    def _at(self, rows: Tensor, pick: Callable[[Any], Any], **more: Any) -> Self:
        return super()._at(rows, pick, sources=self.sources[rows], **more)  # each keeps its source

    def fingerprint(self) -> str:
        """sha256 over the examples, and how they are drawn."""
        digest = hashlib.sha256(super().fingerprint().encode())
        digest.update(self.sources.numpy().tobytes() + str(self.temperature).encode())
        return digest.hexdigest()


class MixedDataset(Dataset[Any]):
    """Several map-style Datasets as one; labels of tasks that a source lacks are missing."""

    def __init__(self, parts: Mapping[str, Dataset[Any]], temperature: float) -> None:
        self.parts, self.temperature = list(parts.values()), temperature
        sizes = torch.tensor([len(part) for part in self.parts])  # type: ignore[arg-type]  # map-style
        self.sources = torch.arange(len(sizes)).repeat_interleave(sizes)
        self.begins = (sizes.cumsum(0) - sizes).tolist()
        firsts = [part[0][1] for part in self.parts]
        self.blank = {name: _missing(torch.as_tensor(y)) for first in firsts for name, y in first.items()}

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, row: int) -> tuple[Any, dict[str, Tensor]]:
        source = int(self.sources[row])
        inputs, targets = self.parts[source][row - self.begins[source]]
        return inputs, {**self.blank, **{name: torch.as_tensor(y) for name, y in targets.items()}}

    def order(self, generator: torch.Generator) -> Tensor:
        """The rows of one epoch of training, [N]."""
        return draw_epoch(self.sources, self.temperature, generator)


@overload
def mixture(
    data: TaskData | Mapping[str, TaskData], *, sampling: str = ..., temperature: float = ...
) -> Mixture: ...
@overload
def mixture(
    data: Mapping[str, Dataset[Any]], *, sampling: str = ..., temperature: float = ...
) -> MixedDataset: ...
def mixture(
    data: TaskData | Mapping[str, Any], *, sampling: str = "proportional", temperature: float = 2.0
) -> Mixture | MixedDataset:
    """Training data for `mtl.fit` whose tasks have examples of their own, in numbers that may differ.

    A batch holds rows of several sources. An epoch has as many rows as all sources together; which, is drawn from the
    run's ``order`` stream, so that runs repeat and resume bit for bit.

    Args:
        data: {source: `mtl.TaskData`}, or {source: map-style Dataset} of (inputs, {task: target}), with inputs of one
            shape; or one `mtl.TaskData`, whose sources are the rows with labels of the same tasks.
        sampling: ``"proportional"``: each row once an epoch; ``"equal"``: as many rows of each source;
            ``"temperature"``: in proportion to the number of rows ** (1 / temperature).
        temperature: 1 is proportional, infinity equal.

    Raises:
        ValueError: an unknown way of sampling, a temperature below 1, no source, or inputs of different shapes.

    Source: Arivazhagan et al. 2019, section 4.2 (temperature).

    >>> a = TaskData(torch.zeros(6, 2), {"a": torch.zeros(6)})
    >>> b = TaskData(torch.ones(2, 2), {"b": torch.ones(2)})
    >>> both = mixture({"a": a, "b": b}, sampling="equal")
    >>> both.targets["b"].isnan().sum(), both.sources[both.order(torch.Generator().manual_seed(0))].bincount()
    (tensor(6), tensor([4, 4]))
    """
    if sampling not in SAMPLINGS:
        raise unknown("way of sampling", sampling, SAMPLINGS)
    if isnan(temperature) or temperature < 1:
        raise ValueError(f"mixture: temperature must be at least 1, got {temperature}")
    heat = {"proportional": 1.0, "equal": inf, "temperature": float(temperature)}[sampling]
    if isinstance(data, TaskData):
        data = data.labelled()
        there = torch.stack([labels_there(target) for target in data.targets.values()], dim=1)
        sources = there.unique(dim=0, return_inverse=True)[1]
        return Mixture(data.inputs, data.targets, data.masks, sources=sources, temperature=heat)
    if not data:
        raise ValueError("mixture: there is no source")
    if all(isinstance(part, TaskData) for part in data.values()):
        return _joined(data, heat)
    for name, part in data.items():
        if isinstance(part, TaskData) or not (hasattr(part, "__len__") and hasattr(part, "__getitem__")):
            raise ValueError(
                f"mixture: source '{name}' is a {type(part).__name__}; give TaskData for all sources, or map-style "
                "Datasets for all (of a DataLoader: its dataset)"
            )
    return MixedDataset(data, heat)


def _joined(data: Mapping[str, TaskData], temperature: float) -> Mixture:
    parts = list(data.values())
    shapes = [{name: x.shape[1:] for name, x in tensors(part.inputs).items()} for part in parts]
    for name, shape in zip(data, shapes, strict=True):
        if shape != shapes[0]:
            told = [{k: list(v) for k, v in one.items()} for one in (shapes[0], shape)]
            raise ValueError(f"mixture: inputs of '{name}' are {told[1]}, of '{next(iter(data))}' {told[0]}")
    inputs = {name: torch.cat([tensors(part.inputs)[name][:] for part in parts]) for name in shapes[0]}
    lone = not isinstance(parts[0].inputs, Mapping)
    return Mixture(
        inputs["inputs"] if lone else inputs,
        _filled([part.targets for part in parts], [len(part) for part in parts]),
        _filled([part.masks for part in parts], [len(part) for part in parts]),
        sources=torch.arange(len(parts)).repeat_interleave(torch.tensor([len(part) for part in parts])),
        temperature=temperature,
    )


def _filled(parts: list[Mapping[str, Tensor]], sizes: list[int]) -> dict[str, Tensor]:
    """Labels (or masks) of all parts one below the other, missing where a part has none."""
    like = {name: values[:1] for part in parts for name, values in part.items()}
    return {
        name: torch.cat(
            [
                part.get(name, _missing(first).expand(size, *first.shape[1:]))
                for part, size in zip(parts, sizes, strict=True)
            ]
        )
        for name, first in like.items()
    }


def _missing(like: Tensor) -> Tensor:
    """A label of that shape and type that is not there; a mask without a pixel."""
    if like.dtype == torch.bool:
        return torch.zeros_like(like)
    return torch.full_like(like, float("nan") if like.is_floating_point() else MISSING)
