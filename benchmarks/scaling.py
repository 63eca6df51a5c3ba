"""Images a second of one process and of two that share each batch, each with one thread; and the bytes they send.

``python -m benchmarks.scaling``: the article's CNN on pairs of digits, AdamW, batches in memory. Rounds of one and two
processes take turns; the best of each is compared, as other work on the machine only ever slows a round down.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import mtl
from mtl.distributed import share

METHODS = ("equal", "upgrad")


def steps_of(rank: int, world: int, meeting: str, batch: int, steps: int, pipe: Any) -> None:
    """Send {method: (images a second, bytes a step)} through ``pipe``."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        own = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {own[rank % len(own)]})  # one core each
    if world > 1:
        dist.init_process_group("gloo", init_method=Path(meeting).as_uri(), rank=rank, world_size=world)
    found = {}
    for method in METHODS:
        generator = torch.Generator().manual_seed(0)
        tasks = [mtl.Classification("left", classes=10), mtl.Classification("right", classes=10)]
        with mtl.seeded(0):
            model = mtl.MultiTaskModel(mtl.backbone("cnn", image_size=36), tasks)
        model.to(memory_format=torch.channels_last)
        images = share(torch.rand(batch, 1, 36, 36, generator=generator)).contiguous(
            memory_format=torch.channels_last
        )
        targets = {t.name: share(torch.randint(0, 10, (batch,), generator=generator)) for t in tasks}
        optimizer, balancer = torch.optim.AdamW(model.parameters()), mtl.Balancer(method)
        for number in range(-5, steps):  # five to warm up
            if number == 0:
                begin = time.perf_counter()
            optimizer.zero_grad()
            balancer.backward(model.losses(model(images), targets), model)
            optimizer.step()
        assert balancer.last is not None
        found[method] = (batch * steps / (time.perf_counter() - begin), balancer.last.sent_bytes)
    if world > 1:
        dist.destroy_process_group()
    pipe.send(found)


def measure(world: int, batch: int, steps: int) -> dict[str, tuple[float, float]]:
    """What the first of ``world`` processes found."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "mtl"])
    with tempfile.TemporaryDirectory() as folder:
        receiving, sending = context.Pipe(duplex=False)
        processes = [
            context.Process(target=steps_of, args=(rank, world, f"{folder}/meet", batch, steps, sending))
            for rank in range(world)
        ]
        for process in processes:
            process.start()
        found: dict[str, tuple[float, float]] = receiving.recv()
        for process in processes:
            process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--batch", type=int, nargs="+", default=[64, 256], help="images a step, of all processes"
    )
    parser.add_argument("--steps", type=int, default=40, help="steps a round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, load of the machine {os.getloadavg()[0]:.1f}")
    for batch in options.batch:
        rounds = [
            (measure(1, batch, options.steps), measure(2, batch, options.steps))
            for _ in range(options.rounds)
        ]
        for method in METHODS:
            one, two = (max(found[w][method][0] for found in rounds) for w in (0, 1))
            sent = rounds[0][1][method][1]
            print(
                f"batch {batch:4} {method:8} one process {one:7.0f} images/s, two {two:7.0f} images/s, "
                f"ratio {two / one:.2f}; {sent / 1e3:.0f} kB a step and process"
            )


if __name__ == "__main__":
    main()
