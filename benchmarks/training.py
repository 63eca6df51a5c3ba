"""What `mtl.fit` costs beyond the training itself: ``python -m benchmarks.training``.

Two questions, on the article's CNN and MultiMNIST. Which share of its time does training wait for data: in memory,
and as a Dataset that is read row by row, with workers and without? And what does a step of `mtl.fit` cost against a
loop written by hand, with the same balancer, optimizer and schedule? Both sides take turns in one process; medians of
the rounds, and of each round's ratio. ``--parts precisions`` times a step in each precision.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

import mtl
from benchmarks.measure import each_round
from mtl.inputs import channels_last

LR = 6e-3


class Rows(Dataset):
    """The same examples, read one by one."""

    def __init__(self, data: mtl.TaskData) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> tuple[Tensor, dict[str, Tensor]]:
        return self.data.inputs[row], {name: target[row] for name, target in self.data.targets.items()}


def new_model(data: mtl.Splits, device: torch.device) -> mtl.MultiTaskModel:
    with mtl.seeded(0):
        return mtl.MultiTaskModel(mtl.backbone("cnn", image_size=36), data.tasks).to(device)


def by_fit(
    data: mtl.Splits, name: str, steps: int, batch_size: int, device: torch.device, **options: Any
) -> Callable[[], object]:
    model, balancer = new_model(data, device), mtl.Balancer(name)
    return lambda: mtl.fit(
        model, data.train, balancer=balancer, steps=steps, batch_size=batch_size, lr=LR, progress=False,
        **{"dynamics_every": None, **options},
    )  # fmt: skip


def by_hand(
    data: mtl.Splits, name: str, steps: int, batch_size: int, device: torch.device
) -> Callable[[], None]:
    """What one would write without `mtl.fit`, and as fast: the same memory format, indexing and schedule."""
    model, balancer = new_model(data, device), mtl.Balancer(name)
    model.to(memory_format=torch.channels_last)

    def call() -> None:
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=LR, total_steps=steps)
        order = torch.randperm(len(data.train))
        for rows in order.split(batch_size)[:steps]:
            inputs = channels_last(data.train.inputs.index_select(0, rows).to(device))
            targets = {n: t.index_select(0, rows).to(device) for n, t in data.train.targets.items()}
            optimizer.zero_grad()
            balancer.backward(model.losses(model(inputs), targets), model)
            optimizer.step()
            schedule.step()

    return call


def waiting(data: mtl.Splits, names: list[str], steps: int, batch_size: int, device: torch.device) -> None:
    """The share of a training's time outside its steps: all waiting for data, and what little else there is."""
    print(f"\nwaiting for data, share of {steps} steps of {batch_size} (everything outside the steps)")
    rows = Rows(data.train)
    sources: dict[str, tuple[Any, int]] = {
        "in memory": (data.train, 0), "row by row": (rows, 0), "row by row, 1 worker": (rows, 1),
    }  # fmt: skip
    for name in names:
        for source, (train, workers) in sources.items():
            model, start = new_model(data, device), time.perf_counter()
            result = mtl.fit(
                model, train, balancer=name, steps=steps, batch_size=batch_size, lr=LR, dynamics_every=None,
                data_workers=workers, progress=False,
            )  # fmt: skip
            wall = time.perf_counter() - start
            print(f"{name:10} {source:22} {1 - result.train_s / wall:7.1%}")


def overhead(
    data: mtl.Splits, names: list[str], steps: int, batch_size: int, rounds: int, device: torch.device
) -> None:
    print(f"\na step of mtl.fit against a loop by hand, medians of {rounds} rounds of {steps} steps")
    print(f"{'':26} {'ms':>8} {'ratio':>7} {'CPU ms':>8} {'ratio':>7}")
    for name in names:
        times = each_round(
            {
                "by hand": by_hand(data, name, steps, batch_size, device),
                "mtl.fit": by_fit(data, name, steps, batch_size, device),
                "mtl.fit, measuring": by_fit(data, name, steps, batch_size, device, dynamics_every=50),
            },
            rounds,
            device,
        )
        report(name, times, "by hand", steps)


def precisions(
    data: mtl.Splits, names: list[str], steps: int, batch_size: int, rounds: int, device: torch.device
) -> None:
    print(f"\na step in each precision, medians of {rounds} rounds of {steps} steps")
    print(f"{'':26} {'ms':>8} {'ratio':>7} {'CPU ms':>8} {'ratio':>7}")
    for name in names:
        calls = {
            precision: by_fit(data, name, steps, batch_size, device, precision=precision)
            for precision in ("fp32", "bf16", "fp16")
        }
        report(name, each_round(calls, rounds, device), "fp32", steps)


def report(name: str, times: dict[str, list[tuple[float, float]]], base: str, steps: int) -> None:
    """A line for each side: a step's milliseconds and its ratio to the base's, by the clock and in CPU time."""
    for side, values in times.items():
        cells = []
        for clock in (0, 1):
            ratios = [ours[clock] / theirs[clock] for ours, theirs in zip(values, times[base], strict=True)]
            cells.append(f"{median(v[clock] for v in values) / steps:8.2f} {median(ratios):7.3f}")
        print(f"{name:7} {side:18} {cells[0]} {cells[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--balancers", nargs="*", default=["equal", "upgrad"])
    parser.add_argument("--steps", type=int, default=50, help="of a training in one round")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--train", type=int, default=20_000, help="training pairs")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--parts", nargs="*", default=["waiting", "overhead"],
                        choices=["waiting", "overhead", "precisions"])  # fmt: skip
    options = parser.parse_args()
    device = torch.device(options.device)
    gpu = torch.cuda.get_device_name() if device.type == "cuda" else ""
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores" if hasattr(os, "getloadavg") else ""
    print(f"{platform.machine()} {gpu}, {torch.get_num_threads()} threads, torch {torch.__version__}, {load}")
    data = mtl.dataset("multimnist", train=options.train)
    if "waiting" in options.parts:
        waiting(data, options.balancers, options.steps, options.batch_size, device)
    for part, measure in (("overhead", overhead), ("precisions", precisions)):
        if part in options.parts:
            measure(data, options.balancers, options.steps, options.batch_size, options.rounds, device)


if __name__ == "__main__":
    main()
