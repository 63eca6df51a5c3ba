"""Energy, where the machine tells it: the processors' own counters on Linux, and an NVIDIA GPU's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

POWERCAP = Path("/sys/class/powercap")


class Energy:
    """Joules used while `start` and `stop` are around something; NaN where no counter can be read.

    The counters are those of whole processor packages and of the whole GPU: other programs' work is in them. Linux lets
    root alone read the packages' by default (``chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj`` as root); a GPU's
    needs the package ``nvidia-ml-py``.

    Args:
        device: a GPU's energy is added to that of the processors.
        root: where Linux shows its counters.

    Attributes:
        joules: so far.

    >>> energy = Energy(torch.device("cpu"), root=Path("nowhere"))
    >>> energy.start(), energy.stop(), energy.joules
    (None, None, nan)
    """

    def __init__(self, device: torch.device, root: Path = POWERCAP) -> None:
        self._counters = [*_packages(root), *_gpu(device)]
        self._before: list[float] = []
        self.joules = 0.0 if self._counters else float("nan")

    def start(self) -> None:
        self._before = [read() for read, _ in self._counters]

    def stop(self) -> None:
        for (read, size), before in zip(self._counters, self._before, strict=True):
            used = read() - before
            self.joules += used if used >= 0 else used + size  # it began anew at zero


Counter = tuple[Callable[[], float], float]  # joules so far, and where it begins anew


def _packages(root: Path) -> list[Counter]:
    """The counter of each processor package (AMD's too carry Intel's name there), not of the parts inside it."""
    found: list[Counter] = []
    for zone in sorted(root.glob("intel-rapl:*")):
        if zone.name.count(":") > 1 or not _text(zone / "name").startswith("package"):
            continue
        size = _text(zone / "max_energy_range_uj")
        if _text(zone / "energy_uj").isdigit() and size.isdigit():
            found.append((lambda file=zone / "energy_uj": int(file.read_text()) / 1e6, int(size) / 1e6))  # type: ignore[misc]
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:  # not there, or for root alone
        return ""


def _gpu(device: torch.device) -> list[Counter]:
    if device.type != "cuda":
        return []
    try:
        import pynvml

        nvml: Any = pynvml
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # no such package, an old driver, an old card: no number is better than a wrong one
        return []
    return [(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3, float("inf"))]
