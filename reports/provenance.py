"""Where a run came from: code, versions, hardware."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "candelabra", "torch", "torchvision", "captum", "timm", "torchmetrics", "numpy", "scipy", "pandas", "matplotlib",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Python's and the packages' versions, without importing any of them.

    >>> "python" in versions() and "numpy" in versions()
    True
    """
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit(folder: Path) -> tuple[str | None, bool | None]:
    """The git commit of ``folder`` and whether files differ from it; (None, None) outside git."""
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return head, bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def hardware() -> dict[str, Any]:
    """Processor, cores this process may use, memory, operating system.

    >>> sorted(hardware())
    ['cores', 'cpu', 'memory_mib', 'system']
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu_model(),
        "cores": usable,
        "memory_mib": _memory_mib(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except (OSError, UnicodeDecodeError):
        pass  # not Linux
    return platform.processor() or platform.machine()


def _memory_mib() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (AttributeError, OSError, ValueError):  # not every system tells
        return None
