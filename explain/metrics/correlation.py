"""Random perturbations, the same for every task and map: does a map say how much the score will change?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from explain.batching import generator
from explain.metrics.curves import column, order_of
from explain.metrics.features import places
from explain.metrics.given import Maps
from explain.metrics.subject import Subject
from explain.names import unknown

STREAM = 2**21  # the first sample number of these metrics' streams, out of the way of the methods'
PERTURBATIONS = ("noise", "removal")
Perturb = Callable[[Tensor, list[torch.Generator]], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class SensitivityN:
    """The correlation, over random sets of n features, of the relevance in the set and the change when it is removed.

    Pearson's, between the sum of the map over the set and score(x) - score(x without the set); the mean over the sizes
    n for which it is defined. 1 for input x gradient of a linear model. Source: Ancona et al. 2018 (sensitivity-n),
    who draw 100 sets for each n. Cost: ``samples`` forwards of an example for each n, for all tasks, maps and controls.

    Args:
        fractions: n, as fractions of the features.
        samples: sets for each n.
    """

    kind: ClassVar[str] = "model"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    fractions: tuple[float, ...] = (0.1, 0.5)
    samples: int = 50

    def __post_init__(self) -> None:
        if not self.fractions or not all(0 < fraction <= 1 for fraction in self.fractions):
            raise ValueError(f"sensitivity_n: fractions must lie in 0..1, got {self.fractions}")
        if not isinstance(self.samples, int) or self.samples < 3:
            raise ValueError(f"sensitivity_n: samples must be an integer >= 3, got {self.samples}")

    def __call__(self, subject: Subject, maps: Maps) -> Maps:
        distinct = {id(given): given for given in maps.values()}
        relevance = torch.stack([subject.features.sums(given) for given in distinct.values()])  # [M, B, F]
        parts: dict[tuple[str, str], list[Tensor]] = {key: [] for key in maps}
        for number, fraction in enumerate(self.fractions):
            removed = _removal(subject, fraction)
            told, change = _responses(subject, relevance, self.samples, STREAM + number, removed)
            for (of, task), given in maps.items():
                own = column(subject, change, task)
                predicted = told[list(distinct).index(id(given))]
                parts[of, task].append(pearson(predicted, _quiet(own, _floor(subject, task)), dim=0))
        return {key: torch.stack(values).nanmean(dim=0) for key, values in parts.items()}


@dataclass(frozen=True, kw_only=True)
class Infidelity:
    """The mean squared error of the change that a map foretells, for random perturbations I of the input.

    E (a <I, map> - (score(x) - score(x - I)))^2 / E (score(x) - score(x - I))^2, with the scale a >= 0 that is best for
    each example where ``scaled``. So 0 is a map that foretells every change, and 1 one that foretells nothing; with
    ``scaled=False, relative=False`` it is the definition of the paper, in squared units of the score. 0 for the
    gradient of a linear model. NaN where no perturbation changes the score. Source: Yeh et al. 2019, definition 2.1 and
    their optimal scaling. Cost: ``samples`` forwards of an example, for all tasks, maps and controls.

    Args:
        samples: perturbations.
        perturbation: ``"noise"``: I is Gaussian, and <I, map> the sum of their products: for maps that are slopes, as
            gradients are; ``"removal"``: I = x - baseline on a random half of the features, on which <I, map> is the
            sum of the map: for maps that are shares of the score, as input x gradient or integrated gradients are.
        noise: standard deviation of the noise, as a fraction of each example's range (largest - smallest value).
        scaled: whether the scale of a map counts for nothing.
        relative: whether it is divided by the mean squared change.
    """

    kind: ClassVar[str] = "model"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, torch.inf)  # to 1 where scaled and relative

    samples: int = 50
    perturbation: str = "noise"
    noise: float = 0.1
    scaled: bool = True
    relative: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.samples, int) or self.samples < 2:
            raise ValueError(f"infidelity: samples must be an integer >= 2, got {self.samples}")
        if not self.noise > 0:
            raise ValueError(f"infidelity: noise must be > 0, got {self.noise}")
        if self.perturbation not in PERTURBATIONS:
            raise unknown("perturbation of infidelity", self.perturbation, PERTURBATIONS)

    def __call__(self, subject: Subject, maps: Maps) -> Maps:
        distinct = {id(given): given for given in maps.values()}
        if self.perturbation == "noise":
            terms = torch.stack([given.flatten(1).double() for given in distinct.values()])  # [M, B, N]
            perturb = _noise(subject, self.noise)
        else:
            terms = torch.stack([subject.features.sums(given) for given in distinct.values()])  # [M, B, F]
            perturb = _removal(subject, 0.5)
        told, change = _responses(subject, terms, self.samples, STREAM - 1, perturb)
        found = {}
        for (of, task), given in maps.items():
            own = _quiet(column(subject, change, task), _floor(subject, task))
            predicted = told[list(distinct).index(id(given))]
            if self.scaled:
                square = predicted.square().sum(dim=0)
                best = ((predicted * own).sum(dim=0) / square).clamp(
                    min=0
                )  # a map of the wrong sign is wrong
                predicted = predicted * torch.where(square > 0, best, 0.0)
            error = (predicted - own).square().mean(dim=0)
            found[of, task] = error / own.square().mean(dim=0) if self.relative else error
        return found


@dataclass(frozen=True, kw_only=True)
class Monotonicity:
    """The rank correlation of the relevance of groups of features and the change when each alone is removed.

    Spearman's, between |sum of the map over a group| and |score(x) - score(x without the group)|; groups are features
    next to each other in the order of the map. 1 for input x gradient of a linear model, 0 in expectation for a random
    map. Source: Nguyen & Martínez 2020 (monotonicity), with the baseline for their expectation over
    values. Not the yes or no of Arya et al. 2019, which asks whether the score rises with every feature that is added.
    NaN where all groups are equally relevant or none changes the score. Cost: at most ``groups`` forwards of an example
    and map; none for groups in which the input is the baseline.

    Args:
        groups: of features; no more than there are.
    """

    kind: ClassVar[str] = "model"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    groups: int = 28

    def __post_init__(self) -> None:
        if not isinstance(self.groups, int) or self.groups < 2:
            raise ValueError(f"monotonicity: groups must be an integer >= 2, got {self.groups}")

    def __call__(self, subject: Subject, maps: Maps) -> Maps:
        both = {
            key: _groups(subject, given, self.groups)
            for key, given in {id(given): given for given in maps.values()}.items()
        }
        found = {}
        for (of, task), given in maps.items():
            relevance, change, sizes = both[id(given)]
            own = _quiet(column(subject, change, task), _floor(subject, task)[:, None])
            found[of, task] = _rank_correlation(relevance.abs(), own.abs(), sizes)
        return found


def _groups(subject: Subject, given: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """The relevance of each group [B, G], how the scores change without it [B, G, K], and how many there are [B]."""
    relevance, features = subject.features.sums(given), subject.features
    counts = features.counts.expand(len(relevance))
    sizes = counts.clamp(max=groups)
    group = places(order_of(subject, given)) * sizes[:, None] // counts[:, None]  # [B, F]
    group = torch.minimum(group, sizes[:, None] - 1)  # features that an example lacks: they are nowhere
    totals = relevance.new_zeros(len(relevance), int(sizes.max()))
    differs = features.sums((subject.inputs != subject.baseline).float())
    example, number = (totals.scatter_add(1, group, differs) > 0).nonzero().unbind(dim=1)

    def make(chunk: Tensor) -> Tensor:
        rows = example[chunk]
        gone = features.spread(group[rows] == number[chunk, None], rows)
        return torch.where(gone, subject.baseline[rows], subject.inputs[rows])

    change = subject.clean.new_zeros(*totals.shape, subject.clean.shape[1])
    change[example, number] = subject.clean[example] - subject.each(example, make)
    return totals.scatter_add(1, group, relevance), change, sizes


def _rank_correlation(first: Tensor, second: Tensor, sizes: Tensor) -> Tensor:
    """Spearman's correlation [B] of the first ``sizes[b]`` values of each row."""
    found = first.new_full((len(first),), torch.nan)
    for size in sizes.unique().tolist():
        rows = sizes == size
        found[rows] = pearson(ranks(first[rows, :size]), ranks(second[rows, :size]), dim=1)
    return found


def _responses(
    subject: Subject, terms: Tensor, samples: int, stream: int, perturb: Perturb
) -> tuple[Tensor, Tensor]:
    """What maps foretell of random perturbations, [M, samples, B], and how the scores change, [samples, B, K].

    Args:
        terms: [M, B, P], what each map says of each of P quantities.
        stream: of the random numbers.
        perturb: ``(examples [n], their generators) -> (inputs [n, *S], how much of each quantity goes [n, P])``.
    """
    size, device = len(subject.inputs), subject.inputs.device
    generators = [generator(subject.seed, subject.first + example, stream) for example in range(size)]
    example = torch.arange(size, device=device).repeat(samples)
    told = terms.new_empty(len(terms), samples * size)

    def make(chunk: Tensor) -> Tensor:
        rows = example[chunk]
        inputs, amounts = perturb(rows, [generators[row] for row in rows.tolist()])
        told[:, chunk] = (terms[:, rows] * amounts).sum(dim=2)
        return inputs

    scores = subject.each(example, make).reshape(samples, size, -1)
    return told.reshape(len(terms), samples, size), subject.clean - scores


def _removal(subject: Subject, fraction: float) -> Perturb:
    """A random fraction of the features, at least one, goes to the baseline."""
    features, size = subject.features, len(subject.inputs)
    number = features.fractions(torch.tensor([fraction], dtype=torch.float64)).clamp(min=1).expand(size, 1)
    there = features.there(size)

    def perturb(rows: Tensor, generators: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        drawn = torch.stack([torch.rand(features.count, generator=g) for g in generators]).to(rows.device)
        drawn = drawn.where(there[rows], torch.inf)
        gone = drawn <= drawn.sort(dim=1).values.gather(1, number[rows] - 1)
        wide = features.spread(gone, rows)
        return torch.where(wide, subject.baseline[rows], subject.inputs[rows]), gone

    return perturb


def _noise(subject: Subject, amount: float) -> Perturb:
    """Gaussian noise relative to each example's range is taken from the input."""
    flat = subject.inputs.flatten(1)
    spread = amount * (flat.amax(dim=1) - flat.amin(dim=1))  # [B]

    def perturb(rows: Tensor, generators: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        shape = subject.inputs.shape[1:]
        drawn = torch.stack([torch.randn(shape, generator=g) for g in generators]).to(subject.inputs)
        noisy = subject.inputs[rows] - drawn * spread[rows].reshape(-1, *[1] * len(shape))
        return noisy, (subject.inputs[rows] - noisy).flatten(1)  # what went, after rounding

    return perturb


def _floor(subject: Subject, task: str) -> Tensor:
    """Changes [B] that are no more than the rounding of a task's scores."""
    return 8 * torch.finfo(subject.clean.dtype).eps * column(subject, subject.clean, task).abs().clamp(min=1)


def _quiet(change: Tensor, floor: Tensor) -> Tensor:
    """Changes, with zeros for those within rounding: a correlation of rounding would say something of nothing."""
    return torch.where(change.abs() > floor, change, 0.0)


def pearson(first: Tensor, second: Tensor, dim: int) -> Tensor:
    """Pearson's correlation along ``dim``; NaN where one of the two is constant.

    >>> pearson(torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([2.0, 1.0, 0.0]).double(), dim=0).item()
    -1.0
    """
    a, b = (x - x.mean(dim=dim, keepdim=True) for x in (first, second))
    sizes = [d.norm(dim=dim) for d in (a, b)]
    floors = [1e-12 * x.norm(dim=dim) for x in (first, second)]
    defined = (sizes[0] > floors[0]) & (sizes[1] > floors[1])
    value = (a * b).sum(dim=dim) / (sizes[0] * sizes[1])
    return torch.where(defined, value.clamp(-1, 1), torch.nan)


def ranks(values: Tensor) -> Tensor:
    """Ranks [B, n] in float64 from 0, equal values sharing the mean of theirs.

    >>> ranks(torch.tensor([[3.0, 1.0, 3.0]])).tolist()
    [[1.5, 0.0, 1.5]]
    """
    values = values.contiguous()
    ordered = values.sort(dim=1).values
    low, high = (torch.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return (low + high - 1).double() / 2
