"""Jobs that several processes do together."""

import dataclasses
import sys
from pathlib import Path

from recipes.linear_regression import Options
from recipes.ranks import run_together
from recipes.runner import Job, refuse_non_empty


def jobs(folder: Path) -> list[Job]:
    """Three runs; the second diverges."""
    options = Options(out=folder, steps=12, seeds=(0,), examples=4, variants=("stochastic",))
    rates = (options.lr, 1e30, options.lr)
    return [
        Job(
            "linear_regression",
            dataclasses.replace(options, lr=lr),
            "stochastic",
            k,
            folder / f"{k}",
            1,
            ("x",),
        )
        for k, lr in enumerate(rates)
    ]


def work(folder: str) -> None:
    lines: list[str] = []
    out = Path(folder)
    status = run_together(jobs(out), lambda: refuse_non_empty(out), lines.append)
    print(status, len(lines), sum("FAILED" in line for line in lines))


def refused(folder: str) -> None:
    from recipes.config import UsageError

    try:
        run_together(jobs(Path(folder)), lambda: refuse_non_empty(Path(folder)), print)
    except UsageError as error:
        sys.exit(f"usage: {error}")
