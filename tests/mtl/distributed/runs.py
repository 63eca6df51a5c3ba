"""Runs of `mtl.fit` that one process does alone, and several do together."""

from __future__ import annotations

import signal
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

import mtl
from mtl.distributed import ranks

TASKS = (mtl.Classification("sign", classes=2), mtl.Regression("sum"), mtl.MultiLabel("two", labels=2))


def table(rows: int, seed: int = 0) -> mtl.TaskData:
    """Three numbers a row; half of the sums missing, and all of the second half's signs."""
    inputs = torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    sign, total = (inputs[:, 0] > 0).long(), inputs.sum(dim=1)
    total[::2] = torch.nan
    sign[rows // 2 :] = -1
    return mtl.TaskData(inputs, {"sign": sign, "sum": total, "two": (inputs[:, 1:] > 0).double()})


class Rows(Dataset[Any]):
    """The same as a map-style Dataset."""

    def __init__(self, data: mtl.TaskData) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> Any:
        return self.data.inputs[row], {name: target[row] for name, target in self.data.targets.items()}


def model(normalised: bool = True, seed: int = 0) -> mtl.MultiTaskModel:
    """Seeded by the rank: `mtl.fit` is to give all the first one's weights."""
    group = ranks()
    with mtl.seeded(seed if group is None else seed + group.rank):
        middle = [nn.BatchNorm1d(8)] if normalised else []
        body = nn.Sequential(nn.Linear(3, 8), *middle, nn.ReLU(), nn.Linear(8, 6))
        return mtl.MultiTaskModel(body, TASKS, features=6).double()


def numbers(result: mtl.FitResult) -> list[Any]:
    """All that a run gives: weights and buffers, records, dynamics."""
    arrays = result.dynamics.arrays()
    return [
        [tensor.detach().clone() for tensor in result.model.state_dict().values()],
        torch.tensor([record["value"] for record in result.records], dtype=torch.float64).nan_to_num(-1.0),
        [
            torch.tensor(arrays[name]).nan_to_num(-7.0)
            for name in ("losses", "weights", "gramian", "group_gramian")
        ],
        torch.tensor([result.steps, result.best_step]),
    ]


def fitted() -> dict[str, Any]:
    """Runs of several balancers and kinds of data; batches of 16, the last of 2 rows."""
    train, validation = table(50), table(21, 1)
    how: dict[str, Any] = {"epochs": 2, "batch_size": 16, "lr": 0.02, "dynamics_every": 3, "seed": 4}
    found: dict[str, Any] = {}
    for balancer in ("equal", "upgrad", "famo", "graddrop"):
        found[balancer] = numbers(mtl.fit(model(), train, validation, balancer=balancer, **how))
    found["dataset"] = numbers(mtl.fit(model(), Rows(train), Rows(validation), balancer="pcgrad", **how))
    for balancer in ("upgrad", "famo", "gradnorm"):  # dropout and batch norm see micro-batches: without them
        net = model(normalised=False)
        found[f"{balancer}, accumulated"] = numbers(
            mtl.fit(net, train, validation, balancer=balancer, accumulate=3, **how)
        )
    found["one row at last"] = numbers(
        mtl.fit(model(normalised=False), table(17), table(1), balancer="cagrad", **how)
    )
    found["scores"] = torch.tensor(
        [
            value
            for scores in mtl.evaluate(model(seed=9 - _rank()), table(33)).values()
            for value in scores.values()
        ]
    )
    return found


def compiled(yes: bool) -> list[Any]:
    """A run with batch normalisation, several passes through the trunk and an uneven last batch."""
    import torch._inductor.config

    how: dict[str, Any] = {"balancer": "upgrad", "epochs": 1, "batch_size": 16, "lr": 0.02, "seed": 4}
    with warnings.catch_warnings(), torch._inductor.config.patch(compile_threads=1):
        warnings.simplefilter("ignore")  # torch's compiler warns of its own code
        return numbers(mtl.fit(model(), table(50), table(21, 1), compile=yes, **how))


def resumed(stopped: bool, folder: str) -> list[Any]:
    """A run that ends in one go, or is stopped in its fifth step by a signal to the last process, and resumed."""
    train, validation, steps = table(50), table(21, 1), 0

    def augment(inputs: Tensor, _: torch.Generator) -> Tensor:
        nonlocal steps
        steps += 1
        if stopped and steps == 5 and _rank() == 1:
            signal.raise_signal(signal.SIGTERM)
        return inputs

    how: dict[str, Any] = {"epochs": 3, "batch_size": 16, "lr": 0.02, "balancer": "famo", "augment": augment}
    how |= {"checkpoints": Path(folder), "resume": True}
    if stopped:
        with pytest.raises(mtl.Interrupted) as end:
            mtl.fit(model(), train, validation, **how)
        assert end.value.result.steps == 5  # for all
    result = mtl.fit(model(), train, validation, **how)
    return numbers(result)


def looked_at() -> list[int]:
    """How many rows this process looks at where 33 are scored in batches of 16, in memory and by a Dataset."""
    seen: list[int] = []
    net = model()
    net.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    counts = []
    for data in (table(33), Rows(table(33))):
        mtl.evaluate(net, data, batch_size=16)
        counts.append(sum(seen))
        seen.clear()
    return counts


def _rank() -> int:
    group = ranks()
    return 0 if group is None else group.rank


def written() -> dict[str, Any]:
    """Who logs, writes and shows; what is refused."""
    folder, logged, group = Path(tempfile.mkdtemp()), list[Any](), ranks()
    assert group is not None
    data = table(32)
    result = mtl.fit(model(), data, data, epochs=1, log=logged.extend, checkpoints=folder, progress=True)
    refused = {}
    calls = {
        "loader": lambda: mtl.fit(model(), DataLoader(Rows(data), batch_size=4), epochs=1),
        "seeds": lambda: mtl.fit(model(), data, epochs=1, seed=group.rank),
        "models": lambda: mtl.fit(model(normalised=group.rank == 0), data, epochs=1),
        "plain dict": lambda: mtl.Balancer().backward(dict(_losses()), model()),
        "one rank's NaN": lambda: mtl.Balancer().backward(
            _losses(torch.nan if group.rank == 1 else 1.0), model()
        ),
        "no loss on one": lambda: mtl.Balancer().backward(_without(group.rank == 1), model()),
        "an error on one": lambda: mtl.Balancer().backward(_unknown(group.rank == 1), model()),
        "two methods": lambda: mtl.Balancer("equal" if group.rank else "static").backward(_losses(), model()),
        "one row to normalise": lambda: mtl.fit(model(), table(1), epochs=1),
    }
    for name, call in calls.items():
        try:
            call()
        except ValueError as error:
            refused[name] = str(error)
    sampler: DistributedSampler[Any] = DistributedSampler(Rows(data), shuffle=False)
    loader: DataLoader[Any] = DataLoader(Rows(data), batch_size=8, sampler=sampler)
    sampled = mtl.fit(model(), loader, epochs=2)
    return {
        "files": sorted(file.name for file in folder.iterdir()),
        "logged": len(logged),
        "records": len(result.records),
        "refused": refused,
        "steps": sampled.steps,
        "epochs": sampler.epoch,
        "classes": sorted({type(m).__name__ for m in result.model.modules()}),
        "draws": _drawn(),
    }


def _losses(factor: float = 1.0) -> mtl.Losses:
    net, data = model(), table(6)
    losses = net.losses(net(data.inputs), data.targets)
    losses["sum"] = factor * losses["sum"]
    return losses


def _without(leave_out: bool) -> mtl.Losses:
    losses = _losses()
    kept = {name: loss for name, loss in losses.items() if name != "sum" or not leave_out}
    return mtl.Losses(kept, {name: losses.counts[name] for name in kept})


def _unknown(add: bool) -> mtl.Losses:
    losses = _losses()
    return mtl.Losses({**losses, "size": losses["sum"]}, {**losses.counts, "size": 1}) if add else losses


def _drawn() -> Tensor:
    """What dropout and augmentation draw in a run."""
    seen: list[Tensor] = []

    def keep(inputs: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(torch.cat([torch.rand(2, generator=generator), torch.rand(2)]))
        return inputs

    mtl.fit(model(), table(32), steps=1, augment=keep)
    return seen[0]
