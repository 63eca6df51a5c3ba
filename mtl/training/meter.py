"""What a run costs: seconds, the peak of memory, energy, parameters."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from mtl.training.energy import Energy

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class Meter:
    """Wall-clock seconds and energy of each step, and the peak of memory since it was made.

    Memory is the device's allocated peak for a model on a GPU. On a CPU it is the resident set of the whole
    process, whose high-water mark is reset on Linux; elsewhere the mark may stem from earlier work.

    >>> meter = Meter(torch.device("cpu"))
    >>> with meter.step():
    ...     _ = torch.ones(10).sum()
    >>> meter.steps, meter.train_s > 0, meter.peak_memory_mib() > 1
    (1, True, True)
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds: list[float] = []
        self.energy = Energy(device)
        self._peak_before = 0.0  # of the sessions before, where a run is resumed
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif _CLEAR.exists():
            try:
                _CLEAR.write_text("5")  # reset the high-water mark of the resident set
            except OSError:
                return  # a container may forbid it; the mark then covers the whole process

    def step(self) -> Meter:
        return self

    def __enter__(self) -> None:
        self.energy.start()
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self._seconds.append(time.perf_counter() - self._start)
        self.energy.stop()

    @property
    def steps(self) -> int:
        return len(self._seconds)

    @property
    def train_s(self) -> float:
        """Seconds spent in training steps; validation and logging are not in it."""
        return sum(self._seconds)

    @property
    def step_s(self) -> float:
        """The median step's seconds."""
        return median(self._seconds) if self._seconds else float("nan")

    def peak_memory_mib(self) -> float:
        """Peak memory in MiB, as the class says."""
        return max(self._peak_before, self._peak_now())

    def state_dict(self) -> dict[str, Any]:
        """The seconds of each step, the peak, the energy."""
        return {
            "seconds": torch.tensor(self._seconds, dtype=torch.float64),
            "peak_memory_mib": self.peak_memory_mib(),
            "energy_j": self.energy.joules,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self._seconds, self._peak_before = state["seconds"].tolist(), float(state["peak_memory_mib"])
        self.energy.joules += state["energy_j"]

    def _peak_now(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        if _STATUS.exists():
            line = next(row for row in _STATUS.read_text().splitlines() if row.startswith("VmHWM"))
            return float(line.split()[1]) / 2**10
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def parameter_count(model: nn.Module) -> int:
    """Trainable parameters; one that is shared counts once.

    >>> parameter_count(nn.Linear(3, 2))
    8
    """
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
