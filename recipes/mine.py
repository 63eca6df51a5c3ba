"""Data of one's own, from a table or a folder of pictures to a report, by one YAML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.comparison import TUNING as TUNING
from recipes.comparison import ComparisonOptions, checked, compare
from recipes.config import UsageError, at_least

if TYPE_CHECKING:
    import mtl
    from recipes.runner import Job

QUESTION = "Do these tasks gain from one shared model, against one model a task, and what does each look at?"
BASELINE, REFERENCE = "single", "equal"


@dataclass(frozen=True)
class Options(ComparisonOptions):
    """A table, or a folder of pictures with a table of labels; best written into a file for --config."""

    out: Path = Path("runs/mine")
    """Folder for the run directories and report.html; must be absent or empty."""
    table: Path | None = None
    """A .csv, .tsv or .parquet file: columns are tasks, inputs, or ignored."""
    images: Path | None = None
    """A folder of pictures, in place of a table."""
    labels: Path | None = None
    """The .csv file of the pictures' names (column file) and labels."""
    tasks: dict[str, str] = field(default_factory=dict)
    """Which columns are tasks, each classification or regression."""
    auxiliary: tuple[str, ...] = ()
    """Tasks that are trained to help the others, and not scored."""
    units: dict[str, str] = field(default_factory=dict)
    """The units of regressions, shown with their scores, such as {spend: EUR}."""
    ignore: tuple[str, ...] = ()
    """Columns of the table that are neither tasks nor inputs."""
    categorical: tuple[str, ...] = ()
    """Columns of numbers that stand for categories."""
    split: str = "60/20/20"
    """Percent of train/validation/test, or the column that says train, validation or test."""
    image_size: int = 64
    """Pictures are brought to this many pixels a side."""
    cache: Path | None = None
    """A folder where the pictures are kept ready, for more of them than memory holds, and for quick starts."""
    backbone: str = "auto"
    """A name of mtl.backbone; auto: mlp for a table, convnet for pictures."""
    pieces: int = 0
    """Of a table with the mlp: numbers are ranks, in so many pieces at whose ends the model may bend, as trees can."""
    pretrained: bool = False
    """Of a timm/... or torchvision/... backbone: begin from its published weights."""
    variants: tuple[str, ...] = ("single", "equal", "upgrad")
    """single: one model per task; boosting: scikit-learn's gradient boosting (tables); others are balancers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 8, "image_size")
        at_least(self, 0, "pieces")


def variants(options: Options) -> tuple[str, ...]:
    if (options.table is None) == (options.images is None):
        raise UsageError(
            "whose data? give either table: FILE, or images: FOLDER with labels: FILE, and tasks: {COLUMN: "
            "classification or regression}, best in a YAML file for --config"
        )
    if (options.images is None) != (options.labels is None):
        raise UsageError("labels: FILE goes with images: FOLDER, and the other way round")
    data = checked(options, partial(load, options))
    if options.pieces and (options.table is None or options.backbone not in ("auto", "mlp")):
        raise UsageError(f"pieces: {options.pieces} is of a table with the backbone mlp; leave it out here")
    try:
        backbone(options, data)
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        raise UsageError(" ".join(str(error).split())) from error
    return options.variants


def load(options: Options) -> mtl.Splits:
    """The user's data."""
    import mtl

    both = {name: getattr(options, name) for name in ("tasks", "auxiliary", "units", "split")}
    if options.table is not None:
        numbers = "ranks" if options.pieces else "standardised"
        how: dict[str, Any] = {
            "ignore": options.ignore,
            "categorical": options.categorical,
            "numbers": numbers,
        }
        return mtl.dataset("table", file=options.table, **both, **how)
    how = {"image_size": options.image_size, "cache": options.cache}
    return mtl.dataset("images", folder=options.images, labels=options.labels, **both, **how)


def backbone(options: Options, data: mtl.Splits) -> Any:
    """What the options name, for these inputs."""
    import mtl

    table = data.train.inputs.ndim == 2
    name = ("mlp" if table else "convnet") if options.backbone == "auto" else options.backbone
    how: dict[str, Any] = {"in_features": data.train.inputs.shape[1]} if table else {}
    if name == "mlp" and table:
        edges = mtl.quantile_edges(data.train.inputs, pieces=options.pieces) if options.pieces else None
        how |= {"hidden": (128, 128), "dropout": 0.1, "edges": edges}
    if name == "cnn":
        how |= {"in_channels": 3, "image_size": options.image_size}
    if options.pretrained:
        how["pretrained"] = True
    return mtl.backbone(name, **how)


def train(job: Job) -> None:
    """One run: train as the variant says, test once, explain a few examples."""
    data = load(job.options)
    compare(job, data, partial(backbone, job.options, data))
