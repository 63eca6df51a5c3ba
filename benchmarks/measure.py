"""Time of calls side by side, and how many bytes of tensors are alive at once."""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Peak(TorchDispatchMode):
    """Within it, counts the storages that operations make (also those of a backward pass), as long as they live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.now = self.most = 0
        self._known = weakref.WeakKeyDictionary[torch.UntypedStorage, int]()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage not in self._known:
                    self._known[storage] = storage.nbytes()
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self._gone, storage.nbytes())
        self.most = max(self.most, self.now)
        return out

    def _gone(self, size: int) -> None:
        self.now -= size


def peak_bytes(call: Callable[[], object]) -> int:
    """The most bytes alive at once of what the call makes."""
    with Peak() as peak:
        call()
    return peak.most


def interleaved(
    calls: dict[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, float]:
    """Median milliseconds of each, as `each_round` times them."""
    times = each_round(calls, rounds, device)
    return {name: statistics.median(wall for wall, _ in values) for name, values in times.items()}


def each_round(
    calls: dict[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, list[tuple[float, float]]]:
    """Milliseconds of each, by the clock and of this process's CPU time: all called once a round, after a call that is
    not timed.

    Without that call a side would pay for what the one before it left: threads that still spin, another cache. CPU
    time tells more than the clock where other processes share the machine.
    """

    def finished() -> tuple[float, float]:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()

    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            start = finished()
            call()
            end = finished()
            times[name].append((1000 * (end[0] - start[0]), 1000 * (end[1] - start[1])))
    return times
