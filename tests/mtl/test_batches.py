"""Batches: in memory by index, and read by workers whose random numbers follow the run's seed."""

import os
import random
import signal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, get_worker_info

import mtl
from mtl.training.batches import batches

TASKS = (mtl.Regression("sum"),)
# Python says so of every fork of a process with threads, and torch has some
forking = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Shaken(Dataset):
    """Rows that are changed at random, by three generators, when they are read."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, row: int) -> tuple[Tensor, dict[str, Tensor]]:
        x = torch.full((3,), float(row)) + torch.rand(3) + random.random()
        x = x + float(np.random.rand())  # noqa: NPY002  # what data sets in the wild draw from
        return x, {"sum": x.sum()}


class Killed(Shaken):
    """A worker that the system ends, as it does when memory runs out."""

    def __getitem__(self, row: int) -> tuple[Tensor, dict[str, Tensor]]:
        if get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(row)


def model(dropout: float = 0.0) -> mtl.MultiTaskModel:
    with mtl.seeded(0):
        return mtl.MultiTaskModel(mtl.backbone("mlp", in_features=3, hidden=(8,), dropout=dropout), TASKS)


def weights(m: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in m.parameters()])


@forking
def test_workers_follow_the_seed() -> None:
    def fitted(seed: int) -> Tensor:
        how = {"data_workers": 2, "epochs": 2, "batch_size": 8}
        return weights(mtl.fit(model(), Shaken(), seed=seed, **how).model)

    first = fitted(0)
    torch.rand(1)
    random.random()  # what the caller draws does not matter
    assert torch.equal(first, fitted(0))
    assert not torch.equal(first, fitted(1))


@forking
def test_workers_draw_anew_in_each_batch_and_epoch() -> None:
    order = torch.Generator().manual_seed(0)
    epochs = [torch.cat([x for x, _ in batches(Shaken(), 8, order, workers=2)]) for _ in range(2)]
    fractions = torch.cat(epochs) % 1
    assert len(fractions.flatten().unique()) == fractions.numel()
    assert not torch.equal(epochs[0].sort(dim=0).values, epochs[1].sort(dim=0).values)


def test_validation_on_a_data_set_leaves_training_as_it_was() -> None:
    """It drew from the stream of dropout."""
    held = table(16)
    pairs = [(held.inputs[k], {"sum": held.targets["sum"][k]}) for k in range(16)]
    runs = [
        mtl.fit(model(dropout=0.5), table(32), validation, steps=6, batch_size=8, select="last")
        for validation in (None, pairs)
    ]
    assert torch.equal(*(weights(run.model) for run in runs))


def table(rows: int) -> mtl.TaskData:
    inputs = torch.randn(rows, 3, generator=torch.Generator().manual_seed(0))
    return mtl.TaskData(inputs, {"sum": inputs.sum(dim=1)})


def test_in_memory_batches() -> None:
    data = mtl.TaskData(
        {"x": torch.arange(10.0), "y": torch.arange(20).view(10, 2)}, {"sum": torch.arange(10.0)}
    )
    shuffled = list(batches(data, 4, torch.Generator().manual_seed(0)))
    rows = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    assert [len(targets["sum"]) for _, targets in shuffled] == [4, 4, 2]
    assert torch.equal(torch.cat([inputs["y"] for inputs, _ in shuffled]), data.inputs["y"][rows])
    assert torch.equal(torch.cat([targets["sum"] for _, targets in shuffled]), rows.float())
    in_order = list(batches(data, 4))
    assert [inputs["x"].tolist() for inputs, _ in in_order] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert in_order[1][0]["y"].data_ptr() == data.inputs["y"][4:].data_ptr()  # no copy


@forking
def test_a_worker_that_is_killed_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match=r"ended \(DataLoader worker .*lower data_workers or batch_size"):
        mtl.fit(model(), Killed(), data_workers=1, steps=2)


@pytest.mark.parametrize(
    ("train", "workers", "message"),
    [
        (Shaken(), -1, "data_workers must be >= 0, got -1"),
        (table(8), 2, "a TaskData is in memory and needs none"),
        (DataLoader(Shaken()), 2, "a DataLoader has its own num_workers"),
    ],
)
def test_options_that_cannot_be(train: object, workers: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mtl.fit(model(), train, data_workers=workers)


@pytest.mark.gpu
def test_pinned_batches_reach_the_gpu() -> None:
    inputs, targets = next(batches(table(8), 4, torch.Generator(), pin=True))
    assert inputs.is_pinned()
    assert targets["sum"].is_pinned()
    mtl.fit(model().cuda(), Shaken(), data_workers=2, steps=4, batch_size=8)
