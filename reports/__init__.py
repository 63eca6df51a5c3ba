"""Run directories, their statistics, and the comparison report; nothing here needs torch."""

from reports.page import build
from reports.reading import Attribution, Examples, Run, read_run, read_runs
from reports.rundir import RunWriter

__all__ = ["Attribution", "Examples", "Run", "RunWriter", "build", "read_run", "read_runs"]
