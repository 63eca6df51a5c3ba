"""One task with few labels: alone, or beside an auxiliary task that has all of its labels; augmented or not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.config import RunOptions, UsageError, above_zero, at_least, chosen

if TYPE_CHECKING:
    from recipes.runner import Job

QUESTION = (
    "How does a task's score depend on its share of labels, and what do an auxiliary task and augmentation give where "
    "labels are scarce?"
)
BASELINE, REFERENCE = "single", None
TUNING = "none: the same defaults for every variant"
ALL = ("single", "single_augmented", "shared", "shared_augmented")
SCORED, AUXILIARY = "left", "right"


@dataclass(frozen=True)
class Options(RunOptions):
    """MultiMNIST: the left digit is scored, the right one is the auxiliary task; each share of labels is a column."""

    out: Path = Path("runs/few_labels")
    """Folder for the run directories and report.html; must be absent or empty."""
    variants: tuple[str, ...] = ALL
    """single: the scored task alone, on its labelled images; shared: beside the auxiliary task, on all images."""
    shares: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    """Shares of the training images that have a label of the scored task."""
    steps: int = 300
    """Training steps of each model."""
    batch_size: int = 64
    """Images a step."""
    lr: float = 6e-3
    """Peak learning rate of one-cycle AdamW."""
    train: int = 10_000
    """Training images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "steps", "batch_size", "train")
        above_zero(self, "lr")
        chosen("variants", self.variants, ALL)
        if not self.shares or len(set(self.shares)) < len(self.shares):
            raise UsageError(f"shares must be different numbers, got {list(self.shares)}")
        for share in self.shares:
            if not 0 < share <= 1 or round(share * self.train) < 1:
                raise UsageError(
                    f"each of shares must be above 0 and at most 1, and give a label at least, got {share}"
                )


def variants(options: Options) -> tuple[str, ...]:
    return options.variants


def train(job: Job) -> None:
    """One run: a model for each share of labels, each tested on all test images."""
    import mtl
    from recipes.fitting import fit_model
    from recipes.record import record_fit
    from recipes.runner import run_directory

    options: Options = job.options
    data = mtl.dataset("multimnist", train=options.train)
    scored: Any = next(task for task in data.tasks if task.name == SCORED)
    told = tuple(replace(scored, name=name_of(share)) for share in options.shares)
    scale = {"scale": "share of labels", "unit": "fraction"}
    places = {name_of(share): {**scale, "value": share} for share in options.shares}
    rule, results = "best validation accuracy of the scored task", []
    with run_directory(job, replace(data, tasks=told), rule, places=places) as run:
        for share, column in zip(options.shares, told, strict=True):
            tasks, learned = labelled(data, column, share, job)
            names = {column.name: SCORED}
            result = fit_model(
                job,
                run,
                partial(built, tasks),
                learned,
                renamed(data.validation, names),
                folder=column.name.replace("%", ""),
                batch_size=min(options.batch_size, len(learned)),
                augment=mtl.random_shift if job.variant.endswith("augmented") else None,
                dynamics_every=None,
                log=lambda rows: run.log([row for row in rows if row["task"] != AUXILIARY]),
            )
            results.append(result)
        run.finish(summary=record_fit(run, results, renamed(data.test, {t.name: SCORED for t in told})))


def built(tasks: tuple[Any, ...]) -> Any:
    """The model of these tasks."""
    import mtl

    return mtl.MultiTaskModel(mtl.backbone("cnn", image_size=36), tasks)


def name_of(share: float) -> str:
    """How a share of the labels is called in the report.

    >>> name_of(0.03), name_of(1.0)
    ('3% of labels', '100% of labels')
    """
    return f"{100 * share:g}% of labels"


def labelled(data: Any, column: Any, share: float, job: Job) -> tuple[tuple[Any, ...], Any]:
    """The tasks and training images of one model: the labels that are kept are the same for all variants of a seed."""
    from mtl.data.task_data import split_rows
    from mtl.tasks import MISSING
    from mtl.training.streams import generator

    rows = split_rows(len(data.train), (round(share * len(data.train)),), generator(job.seed, "labels"))[0]
    kept = rows.sort().values
    if job.variant.startswith("single"):  # an image without any label teaches it nothing
        return (column,), renamed(data.train.take(kept), {column.name: SCORED})
    targets = data.train.targets[SCORED].clone()
    missing = targets.new_full(targets.shape, MISSING)
    missing[kept] = targets[kept]
    auxiliary = next(task for task in data.tasks if task.name == AUXILIARY)
    own = {column.name: missing, AUXILIARY: data.train.targets[AUXILIARY]}
    return (column, auxiliary), replace(data.train, targets=own, masks={})


def renamed(data: Any, names: dict[str, str]) -> Any:
    """The same examples with the labels of ``names``, {name there: name here}."""
    return replace(data, targets={new: data.targets[old] for new, old in names.items()}, masks={})
