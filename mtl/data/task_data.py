"""Examples in memory with the labels of several tasks, and the three splits of a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from mtl.data.pixels import Pixels, blocks, subset
from mtl.inputs import each, tensors
from mtl.names import lookup
from mtl.tasks import MISSING, Task


@dataclass(frozen=True, eq=False)
class TaskData:
    """A split that fits in memory; batches are taken by index, without a worker.

    Args:
        inputs: float [N, *S], finite; or several by name, {name: [N, ...]}, which the model takes as keywords: float,
            or integers (token ids). Pictures may be `mtl.data.pixels.Pixels`: bytes, which become floats in batches.
        targets: {task: [N] or [N, O]}; a missing label is -1 (classes) or NaN (float).
        masks: {task: bool [N, H, W]}, the pixels that are the task's evidence, where they are known.

    Raises:
        TypeError: a lone input that is not float.
        ValueError: lengths that differ, or an input that is not finite (its row is named).

    >>> data = TaskData(torch.zeros(3, 2), {"y": torch.tensor([1.0, 2.0, 3.0])})
    >>> len(data), data.take(torch.tensor([2])).targets["y"]
    (3, tensor([3.]))
    """

    inputs: Any  # a tensor or Pixels, or a mapping of them
    targets: Mapping[str, Tensor]
    masks: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts: dict[str, Any] = tensors(self.inputs)
        if not parts or len(self) == 0:
            raise ValueError("TaskData.inputs is empty")
        if isinstance(self.inputs, Tensor) and not self.inputs.is_floating_point():
            raise TypeError(f"TaskData.inputs must be float, got {self.inputs.dtype}; convert with .float()")
        for kind, given in (("inputs", parts), ("targets", self.targets), ("masks", self.masks)):
            for name, tensor in given.items():
                if len(tensor) != len(self):
                    raise ValueError(
                        f"TaskData.{kind}['{name}'] has {len(tensor)} rows, inputs have {len(self)}; they must match"
                    )
        for name, tensor in parts.items():
            if isinstance(tensor, Pixels):
                continue  # bytes are finite
            finite = tensor.isfinite().reshape(len(tensor), -1).all(dim=1)
            if not bool(finite.all()):
                bad = (~finite).nonzero().flatten()
                where = "inputs" if isinstance(self.inputs, Tensor) else f"inputs['{name}']"
                raise ValueError(
                    f"TaskData.{where} has NaN or infinite values in {len(bad)} of {len(self)} rows, the first is "
                    f"row {int(bad[0])}; drop or fill them"
                )

    def __len__(self) -> int:
        return len(next(iter(tensors(self.inputs).values())))

    def order(self, generator: torch.Generator) -> Tensor:
        """The rows of one epoch of training, [N]: each once, shuffled."""
        return torch.randperm(len(self), generator=generator)

    def take(self, rows: Tensor) -> TaskData:
        """The examples at ``rows`` (indices), copied; pictures that are kept as bytes become floats."""
        return self._at(rows, lambda x: x[rows])

    def subset(self, rows: Tensor) -> TaskData:
        """The examples at ``rows`` (indices), copied, except of pictures that are kept as bytes."""
        return self._at(rows, lambda x: subset(x, rows))

    def _at(self, rows: Tensor, pick: Callable[[Any], Any], **more: Any) -> Self:
        """The examples at ``rows``, checked once; ``more``: what a subclass has for each row."""
        return replace(
            self,
            **more,
            inputs=each(pick, self.inputs),
            targets={name: target[rows] for name, target in self.targets.items()},
            masks={name: mask[rows] for name, mask in self.masks.items()},
        )

    def only(self, tasks: Iterable[str]) -> TaskData:
        """The same examples with the labels and masks of these tasks alone; nothing is copied.

        >>> data = TaskData(torch.zeros(1, 2), {"a": torch.ones(1), "b": torch.ones(1)})
        >>> list(data.only(["b"]).targets)
        ['b']
        """
        tasks = list(tasks)
        for task in tasks:
            lookup("task", task, self.targets)
        return replace(
            self,
            targets={task: self.targets[task] for task in tasks},
            masks={task: self.masks[task] for task in tasks if task in self.masks},
        )

    def labelled(self) -> TaskData:
        """The examples with a label for at least one task; nothing is copied where all have one.

        >>> data = TaskData(torch.tensor([[1.0], [2.0]]), {"y": torch.tensor([float("nan"), 5.0])})
        >>> data.labelled().inputs
        tensor([[2.]])
        """
        there = torch.stack([labels_there(target) for target in self.targets.values()]).any(dim=0)
        return self if bool(there.all()) else self.subset(there.nonzero()[:, 0])

    def given(self, names: Iterable[str]) -> TaskData:
        """The same examples with some of their named inputs alone; nothing is copied.

        >>> data = TaskData({"image": torch.zeros(1, 2), "audio": torch.ones(1, 3)}, {})
        >>> list(data.given(["audio"]).inputs)
        ['audio']
        """
        return replace(self, inputs={name: self.inputs[name] for name in names})

    def fingerprint(self) -> str:
        """sha256 over shapes, types and bytes of inputs, targets and masks."""
        digest = hashlib.sha256()
        inputs = {k if k == "inputs" else f"input:{k}": v for k, v in tensors(self.inputs).items()}
        named = {**inputs, **self.targets, **{f"mask:{k}": v for k, v in self.masks.items()}}
        for name, tensor in named.items():
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            for block in blocks(tensor):
                digest.update(block.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set: its tasks and three splits that share no source example.

    Args:
        name: the data set's name in `mtl.DATASETS`.
        tasks: in the order used for the run.
        train, validation, test: choose on validation, report test once.
        feature_names: the columns of a table, empty for images.
    """

    name: str
    tasks: tuple[Task, ...]
    train: TaskData
    validation: TaskData
    test: TaskData
    feature_names: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """sha256 over the three splits."""
        parts = [split.fingerprint() for split in (self.train, self.validation, self.test)]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def labels_there(target: Tensor) -> Tensor:
    """bool [N]: rows with a label, of targets [N, ...] whose missing ones are NaN (float) or -1.

    >>> labels_there(torch.tensor([[0.5, float("nan")], [float("nan"), float("nan")]]))
    tensor([ True, False])
    """
    there = ~target.isnan() if target.is_floating_point() else target != MISSING
    return there if there.dim() == 1 else there.flatten(1).any(dim=1)


def check_targets(data: TaskData, tasks: tuple[Task, ...], split: str) -> None:
    """Raise, naming the split, unless every target fits its task; done once before training."""
    for task in tasks:
        if task.name in data.targets:
            try:
                task.check(data.targets[task.name], len(data))
            except (TypeError, ValueError) as error:
                raise type(error)(f"{split} data: {error}") from error


def split_rows(rows: int, sizes: tuple[int, ...], generator: torch.Generator) -> list[Tensor]:
    """A random partition of ``range(rows)`` into parts of the given sizes (their sum at most ``rows``).

    >>> [len(part) for part in split_rows(10, (6, 3, 1), torch.Generator().manual_seed(0))]
    [6, 3, 1]
    """
    if sum(sizes) > rows or min(sizes) < 1:
        raise ValueError(f"cannot split {rows} examples into parts of {list(sizes)}")
    return list(torch.randperm(rows, generator=generator)[: sum(sizes)].split(list(sizes)))
