"""Where runs lie, told so that the same runs give the same page wherever they were copied to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from reports.reading import Run
from reports.remarks import clean


def places(runs: Sequence[Run]) -> list[str]:
    """The folder of each run, relative to the folder that holds them all.

    >>> places([Run(Path("x/a/equal--s0"), {}), Run(Path("x/b/equal--s0"), {})])
    ['a/equal--s0', 'b/equal--s0']
    >>> places([Run(Path("x/equal--s0"), {})])
    ['equal--s0']
    """
    folders = [Path(os.path.abspath(run.path)) for run in runs]  # noqa: PTH100 - links keep the names they have here
    shared = Path(os.path.commonpath([folder.parent for folder in folders])) if folders else Path()
    return [str(clean(folder.relative_to(shared).as_posix())) for folder in folders]
