"""Real processes over gloo: one function in each, its results back."""

import io
import multiprocessing
import os
import socket
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

ROOT = Path(__file__).parents[3]


def together(function: Callable[..., Any], world: int, *arguments: Any) -> list[Any]:
    """``function(*arguments)`` in ``world`` processes that form a group; what each gave, by rank."""
    context = _context()
    with tempfile.TemporaryDirectory() as folder:
        pipes = [context.Pipe(duplex=False) for _ in range(world)]
        processes = [
            context.Process(
                target=_inside,
                args=(function, rank, world, f"{folder}/meet", pipes[rank][1], arguments),
                daemon=True,
            )
            for rank in range(world)
        ]
        for process in processes:
            process.start()
        for _, sending in pipes:
            sending.close()
        try:
            found = [_received(receiving) for receiving, _ in pipes]
        finally:
            for process in processes:
                process.join(timeout=10)
                process.kill()
    failed = {rank: trace for rank, (good, trace) in enumerate(found) if not good}
    assert not failed, "\n".join(f"rank {rank}: {trace}" for rank, trace in failed.items())
    return [value for _, value in found]


class End(NamedTuple):
    """How a process ended, and what it said."""

    status: int | None
    out: str
    err: str


def started(function: Callable[..., Any], world: int, *arguments: Any) -> list[End]:
    """``function`` in processes with torchrun's environment, which join by `mtl.distributed.start` themselves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
    context = _context()
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder) / f"{rank}" for rank in range(world)]
        processes = [
            context.Process(
                target=_alone,
                args=(
                    function,
                    {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                    str(said[rank]),
                    arguments,
                ),
                daemon=True,
            )
            for rank in range(world)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(timeout=100)
            process.kill()
            process.join()
        texts = [[Path(f"{file}.{kind}").read_text() for kind in ("out", "err")] for file in said]
    return [End(process.exitcode, *text) for process, text in zip(processes, texts, strict=True)]


def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "mtl", "reports", "explain"])  # imported once for all tests
    return context


def _alone(
    function: Callable[..., Any], environment: dict[str, str], said: str, arguments: tuple[Any, ...]
) -> None:
    os.environ.update(environment)
    for number, kind in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{said}.{kind}", os.O_CREAT | os.O_WRONLY), number)
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    try:
        function(*arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _received(pipe: Any) -> tuple[bool, Any]:
    try:
        return torch.load(io.BytesIO(pipe.recv_bytes())) if pipe.poll(110) else (False, "no answer in time")
    except EOFError:
        return False, "ended without a word"


def _inside(
    function: Callable[..., Any], rank: int, world: int, meeting: str, pipe: Any, arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    try:
        dist.init_process_group(
            "gloo",
            init_method=Path(meeting).as_uri(),
            rank=rank,
            world_size=world,
            timeout=timedelta(seconds=60),
        )
        value = function(*arguments)
        dist.destroy_process_group()
        answer: tuple[bool, Any] = (True, value)
    except BaseException:
        answer = (False, traceback.format_exc())
    sent = io.BytesIO()
    torch.save(answer, sent)  # tensors in a pipe of their own would need their process to live on
    pipe.send_bytes(sent.getvalue())
