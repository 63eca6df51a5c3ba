"""Run directories, their statistics, and the comparison report; nothing here needs torch.

Names are imported when they are first used, so that ``python -m reports --help`` answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.building import build, compare
    from reports.document import Report
    from reports.loading import load
    from reports.reading import Attribution, Examples, Run, read_run, read_runs
    from reports.rundir import RunWriter
    from reports.statistics import DeltaM, delta_m

_HOME = {
    "Attribution": "reading",
    "DeltaM": "statistics",
    "Examples": "reading",
    "Report": "document",
    "Run": "reading",
    "RunWriter": "rundir",
    "build": "building",
    "compare": "building",
    "delta_m": "statistics",
    "load": "loading",
    "read_run": "reading",
    "read_runs": "reading",
}

__all__ = [
    "Attribution",
    "DeltaM",
    "Examples",
    "Report",
    "Run",
    "RunWriter",
    "build",
    "compare",
    "delta_m",
    "load",
    "read_run",
    "read_runs",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'reports' has no attribute '{name}'")
    return getattr(import_module(f"reports.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
