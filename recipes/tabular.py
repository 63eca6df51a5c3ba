"""Several targets in one table: one network each, a shared one with balancers, and gradient boosting beside them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from recipes.comparison import TUNING as TUNING
from recipes.comparison import ComparisonOptions, checked, compare
from recipes.config import UsageError, at_least

if TYPE_CHECKING:
    import mtl
    from recipes.runner import Job


class Suited(NamedTuple):
    """What the options are where they are not given; docs/recipes.md says which of them were compared, and how."""

    pieces: int
    dropout: float


SUITED = {
    "adult": Suited(48, 0.3),
    "qm9": Suited(0, 0.0),
    "sarcos": Suited(0, 0.0),
    "school": Suited(0, 0.1),
    "table": Suited(0, 0.1),
    "tox21": Suited(0, 0.1),
}
QUESTION = "Does one network for all targets of a table beat one a target, and how far is gradient boosting?"
BASELINE, REFERENCE = "single", "equal"


@dataclass(frozen=True)
class Options(ComparisonOptions):
    """A published table that lies in a folder, or a CSV or Parquet file of one's own."""

    out: Path = Path("runs/tabular")
    """Folder for the run directories and report.html; must be absent or empty."""
    data: Literal["adult", "sarcos", "qm9", "tox21", "school", "table"] = "table"
    """A data set whose files lie in --root, or table: the file of --file."""
    root: Path = Path("data")
    """The folder with the files of a published data set, as they are published (docs/data.md)."""
    file: Path | None = None
    """A table of one's own: .csv, .tsv or .parquet."""
    tasks: dict[str, str] = field(default_factory=dict)
    """Of the own table: which columns are tasks, each classification or regression."""
    ignore: tuple[str, ...] = ()
    """Columns of the own table that are no inputs."""
    split: str = "60/20/20"
    """Of the own table: percent of train/validation/test, or the column that says which."""
    sampling: Literal["proportional", "equal", "temperature"] = "proportional"
    """How often rows of each task are drawn, where tasks have rows of their own (school)."""
    batch_size: int = 256
    """Rows a step."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the shared layers."""
    dropout: float | None = None
    """After each shared layer; None: what suits the data set (docs/recipes.md)."""
    pieces: int | None = None
    """Pieces of each column, at whose ends the model may bend, as trees can (an own table's numbers are then ranks);
    0: columns as they are; None: what suits the data set (docs/recipes.md)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.hidden or min(self.hidden) < 1:
            raise UsageError(f"hidden must be one or more widths of at least 1, got {list(self.hidden)}")
        for name in ("dropout", "pieces"):
            if getattr(self, name) is not None:
                at_least(self, 0, name)
        if self.dropout is not None and self.dropout >= 1:
            raise UsageError(f"dropout must be below 1, got {self.dropout}")


def variants(options: Options) -> tuple[str, ...]:
    if options.data == "table" and options.file is None:
        raise UsageError(
            "which table? give --data adult (or sarcos, qm9, tox21, school) with --root FOLDER, or a table of your own "
            "with --file FILE.csv --tasks COLUMN classification OTHER regression"
        )
    if options.data != "table" and (options.file is not None or options.tasks):
        raise UsageError(f"--file and --tasks are of --data table, this is --data {options.data}")
    checked(options, partial(load, options))
    return options.variants


def load(options: Options) -> mtl.Splits:
    """The splits that the options name."""
    import mtl

    if options.data != "table":
        data = mtl.dataset(options.data, root=options.root)
        return replace(data, train=mtl.mixture(data.train, sampling=options.sampling))
    return mtl.dataset(
        "table",
        file=options.file,
        tasks=options.tasks,
        ignore=options.ignore,
        split=options.split,
        numbers="ranks" if options.pieces else "standardised",
    )


def train(job: Job) -> None:
    """One run: train as the variant says, test once, explain a few rows."""
    import mtl

    options: Options = job.options
    data = load(options)
    inputs, suited = data.train.inputs, SUITED[options.data]
    dropout = suited.dropout if options.dropout is None else options.dropout
    pieces = suited.pieces if options.pieces is None else options.pieces
    edges = mtl.quantile_edges(inputs, pieces=pieces) if pieces else None
    how = {"in_features": inputs.shape[1], "hidden": options.hidden, "dropout": dropout, "edges": edges}
    compare(job, data, lambda: mtl.backbone("mlp", **how))
