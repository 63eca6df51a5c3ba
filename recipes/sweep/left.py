"""What a trial that was lost has left behind: a run that goes on, or nothing to build on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

from recipes.sweep.storage import here
from recipes.workers import Job

Left = Literal["nothing", "alive", "resumable"]


def left_behind(trial: Any, out: Path) -> Left:
    """The run of the attempt before this one.

    ``alive`` where its process is still about to end; ``resumable`` where it told that it was interrupted, or where it
    was killed on this machine. Of a run that is silent on another machine nobody here knows whether it still writes.

    Args:
        trial: a waiting Optuna trial.
        out: the sweep's folder.
    """
    from reports import sessions

    folder = trial.user_attrs.get("begun", "")
    try:
        info = json.loads((out / folder / "run.json").read_text(encoding="utf-8")) if folder else {}
        status = info.get("status")
    except (OSError, ValueError, AttributeError):
        return "nothing"
    if status == "interrupted":
        return "resumable"
    if status != "running" or not here(trial.user_attrs.get("begun_by", "")):
        return "nothing"
    return "alive" if sessions.is_alive(info) else "resumable"


def resumed(job: Job, trial: Any, out: Path) -> Job:
    """The same job, going on in the folder of the attempt before."""
    return dataclasses.replace(job, folder=out / trial.user_attrs["begun"], resume=True)
