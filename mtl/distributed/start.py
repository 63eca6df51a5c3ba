"""From torchrun's environment to a process group, and an end that all processes share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store

from mtl.distributed.ranks import Ranks, ranks

_FAILED = "mtl/failed"


@contextmanager
def start(*, timeout_s: float = 600.0) -> Iterator[Ranks | None]:
    """Join the processes that torchrun started, for the time of the block; gives `Ranks`, or None for one process.

    gloo on a CPU; with GPUs, NCCL on ``cuda:LOCAL_RANK``, which becomes the current device. Where a group is there
    already, or torchrun is not, nothing is done. Where a process fails, its line goes to standard error with its
    rank, and the others end with it at their next exchange, in ``timeout_s`` seconds at the latest.

    Raises:
        RuntimeError: another process has failed; the message names it.

    >>> with start() as together:
    ...     together is None
    True
    """
    if ranks() is not None or int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        yield ranks()
        return
    if not dist.is_available():
        raise RuntimeError("this build of torch has no torch.distributed, so it cannot run several processes")
    store = _open(timeout_s)
    together = replace(ranks() or Ranks(0, 1), store=store)
    try:
        yield together
    except BaseException as error:
        _tell_or_blame(store, together, error)
        raise
    finally:
        with suppress(RuntimeError):  # the others may be gone
            dist.destroy_process_group()


def _open(timeout_s: float) -> Store:
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ValueError(f"WORLD_SIZE is set and {missing} not; start several processes with torchrun")
    from torch.distributed.rendezvous import rendezvous

    timeout, device = timedelta(seconds=timeout_s), None
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if device.index >= torch.cuda.device_count():
            raise ValueError(
                f"process {device.index} of this machine has no GPU of its own, there are "
                f"{torch.cuda.device_count()}: lower --nproc-per-node, or hide them (CUDA_VISIBLE_DEVICES=)"
            )
        torch.cuda.set_device(device)
    store, rank, world = next(rendezvous("env://", timeout=timeout))
    store.set_timeout(timeout)
    dist.init_process_group(
        "gloo" if device is None else "cpu:gloo,cuda:nccl",
        store=PrefixStore("mtl", store),
        rank=rank,
        world_size=world,
        timeout=timeout,
    )
    return store


def _tell_or_blame(store: Store, together: Ranks, error: BaseException) -> None:
    """Say which process failed first: this one, or the one that has written so to the store."""
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return
    try:
        theirs = store.get(_FAILED).decode() if store.check([_FAILED]) else None
    except RuntimeError:  # the store went with its process
        theirs = None
    if theirs is None and not _lost(error):
        lines = str(error).splitlines() or [""]
        line = f"rank {together.rank} of {together.world} failed: {type(error).__name__}: {lines[0]}"
        with suppress(RuntimeError):
            store.set(_FAILED, line)
        sys.stderr.write(f"{line}; all ranks end\n")
    elif _lost(error):
        own = f"rank {together.rank} of {together.world} lost the others: one has ended"
        raise RuntimeError(theirs or own) from error


def _lost(error: BaseException) -> bool:
    """Whether this is how a collective ends when another process is gone or does not answer."""
    return isinstance(error, RuntimeError) and any(
        word in str(error)
        for word in ("gloo", "Gloo", "NCCL", "closed by peer", "Timed out", "timed out", "reset")
    )
