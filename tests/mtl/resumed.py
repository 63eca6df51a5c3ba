"""A small training that can be cut anywhere and resumed, here or in a process of its own that is killed."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mtl

TASKS = (mtl.Classification("sign", classes=2), mtl.Regression("sum"), mtl.Regression("size"))
ROWS, BATCH, EPOCHS = 100, 16, 4  # 7 batches an epoch, the last of 4 rows
STEPS = EPOCHS * 7
PRECISIONS: tuple[dict[str, Any], ...] = (
    {},
    {"precision": "bf16"},
    {"precision": "fp16"},
)  # options of mtl.fit that must resume bit for bit


def table(rows: int, seed: int) -> mtl.TaskData:
    """Three numbers a row; labels are missing for some, and for whole batches of one task."""
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(rows, 3, generator=draw)
    kept = torch.rand(rows, generator=draw) < 0.9
    sums = inputs.sum(dim=1).where(kept, torch.nan)
    return mtl.TaskData(
        inputs, {"sign": (inputs[:, 0] > 0).long(), "sum": sums, "size": inputs.square().sum(dim=1) + 0.1}
    )


def count(module: nn.Module, *_: Any) -> None:
    if module.training:
        module.seen += 1


def model(seed: int = 0) -> mtl.MultiTaskModel:
    """Dropout draws from the stream ``train``; normalisation has buffers, one of them in no state dict."""
    with mtl.seeded(seed):
        trunk = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 6), nn.ReLU()
        )
        trunk.register_buffer("seen", torch.zeros(1), persistent=False)
        trunk.register_forward_hook(count)
        return mtl.MultiTaskModel(trunk, TASKS, features=6)


def jitter(inputs: Tensor, draw: torch.Generator) -> Tensor:
    return inputs + 0.1 * torch.randn(inputs.shape, generator=draw)


def fit(folder: Path | None, balancer: str = "equal", **changes: Any) -> mtl.FitResult:
    """4 epochs with a validation after each, resumed from ``folder`` where there is something."""
    options: dict[str, Any] = {
        "balancer": balancer, "epochs": EPOCHS, "batch_size": BATCH, "lr": 0.02, "dynamics_every": 5, "augment": jitter,
        "progress": False, "seed": 3, "checkpoints": folder, "resume": folder is not None,
    }  # fmt: skip
    return mtl.fit(model(), table(ROWS, 0), table(40, 1), **{**options, **changes})


class CutError(Exception):
    """The end of a session."""


def cut_at(step: int, end: Callable[[], None]) -> Callable[[Tensor, torch.Generator], Tensor]:
    """`jitter` that calls ``end`` in the middle of training step ``step`` of this session."""
    done = 0

    def jitter_until(inputs: Tensor, draw: torch.Generator) -> Tensor:
        nonlocal done
        done += 1
        if done == step:
            end()
        return jitter(inputs, draw)

    jitter_until.__qualname__ = jitter.__qualname__
    return jitter_until


def contents(result: mtl.FitResult) -> dict[str, Any]:
    """All that must be equal, without the seconds and the memory."""
    arrays = result.dynamics.arrays()
    return {
        "weights": {name: value.clone() for name, value in result.model.state_dict().items()},
        "records": [dict(row) for row in result.records],
        "dynamics": {
            n: torch.as_tensor(v) if n not in ("tasks", "groups") else list(v) for n, v in arrays.items()
        },
        "steps": result.steps,
        "best_step": result.best_step,
        "buffer": result.model.backbone.seen.clone(),
    }


def same(first: Any, second: Any) -> bool:
    """Equal to the last bit; NaN equals NaN."""
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[name], second[name]) for name in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, Tensor):
        return first.dtype == second.dtype and torch.equal(first.nan_to_num(1e9), second.nan_to_num(1e9))
    return bool(first == second or (first != first and second != second))


def session(folder: Path, balancer: str, how: dict[str, Any], steps: Connection) -> None:
    """A process of its own: trains on, tells each step when it begins, and leaves ``result.pt`` when it is done.

    A checkpoint a step, so that most kills fall into one.
    """
    torch.set_num_threads(1)
    done = 0

    def told(inputs: Tensor, draw: torch.Generator) -> Tensor:
        nonlocal done
        done += 1
        steps.send(done)
        return jitter(inputs, draw)

    told.__qualname__ = jitter.__qualname__
    torch.save(
        contents(fit(folder, balancer, augment=told, recovery_minutes=0.0, **how)), folder / "result.pt"
    )


def start(folder: Path, balancer: str, how: dict[str, Any]) -> tuple[BaseProcess, Connection]:
    """A `session` that is running, and where it tells its steps."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "mtl"])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=session, args=(folder, balancer, how, there))
    process.start()
    there.close()
    return process, here
