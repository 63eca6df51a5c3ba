"""Rendered scenes: dense tasks and others on one backbone, against one model a task and against balancing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from recipes.config import RunOptions, UsageError, above_zero, at_least, chosen

if TYPE_CHECKING:
    from recipes.runner import Job

QUESTION = (
    "Do segmentation, depth, normals, boundaries, counts and relations of one picture gain from one backbone, and from "
    "balancing; and does each look at the objects?"
)
BASELINE, REFERENCE = "single", "equal"
TUNING = "none: the same defaults for every variant"
ALL = ("constant", "single", "equal", "uncertainty", "upgrad")


@dataclass(frozen=True)
class Options(RunOptions):
    """A model of one task each (single) against one for all with each balancer, at equal steps a model."""

    out: Path = Path("runs/scenes")
    """Folder for the run directories and report.html; must be absent or empty."""
    variants: tuple[str, ...] = ALL
    """constant: the best constant output; single: one model per task; any other is a balancer of a shared model."""
    tasks: tuple[str, ...] = ()
    """Tasks of the set; empty: all six."""
    backbone: str = "pyramid/convnet"
    """A pyramid of `mtl.backbone`: pyramid/convnet or pyramid/timm/MODEL."""
    decoder: int = 16
    """Channels of the decoder of each dense task."""
    dropout: float = 0.2
    """In the heads of the tasks that are not dense, which learn 10,000 pictures by heart without it."""
    steps: int = 2000
    """Training steps of each model."""
    batch_size: int = 32
    """Pictures a step."""
    lr: float = 6e-3
    """Peak learning rate of one-cycle AdamW."""
    train: int = 10_000
    """Training pictures."""
    image_size: int = 64
    """Pixels of the pictures' side, at least 32."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the training's forward passes, by autocast; scores are computed in fp32. Slow on CPUs that lack it."""
    methods: tuple[str, ...] = ("gradient", "integrated_gradients")
    """Attribution methods."""
    examples: int = 6
    """Test pictures whose maps, and whose predictions, are shown."""
    scored: int = 50
    """Test pictures on which the attributions are scored."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "steps", "batch_size", "train", "examples", "scored", "decoder")
        at_least(self, 32, "image_size")
        above_zero(self, "lr")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout must be at least 0 and below 1, got {self.dropout}")
        chosen("variants", self.variants)


def variants(options: Options) -> tuple[str, ...]:
    """Checked before anything is written: names of variants, tasks and the backbone."""
    import mtl
    from mtl.data.scenes import TASKS

    chosen("variants", options.variants, ("constant", "single", *mtl.BALANCERS))
    chosen("tasks", options.tasks or tuple(TASKS), TASKS)
    if not options.backbone.startswith("pyramid/"):
        raise UsageError(f"backbone must be pyramid/convnet or pyramid/timm/MODEL, got '{options.backbone}'")
    try:
        mtl.backbone(options.backbone)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return options.variants


def train(job: Job) -> None:
    """One run: one shared model, or one model a task; test once; explain every task; paint the predictions."""
    import torch

    import mtl
    from mtl.dense.tasks import is_dense
    from recipes.dense import constant_scores, record_maps, record_predictions
    from recipes.fitting import fit_models
    from recipes.record import record_fit
    from recipes.runner import run_directory

    options: Options = job.options
    data = mtl.dataset("scenes", train=options.train, image_size=options.image_size)
    data = narrowed(data, options.tasks) if options.tasks else data

    def build(tasks: tuple[mtl.Task, ...]) -> mtl.MultiTaskModel:
        """Dense tasks get a decoder, the others an mlp."""
        decoder = partial(mtl.dense_head, width=options.decoder)
        plain = partial(mtl.mlp_head, dropout=options.dropout)
        heads = {task.name: decoder if is_dense(task) else plain for task in tasks}
        return mtl.MultiTaskModel(mtl.backbone(options.backbone), tasks, heads)

    with run_directory(job, data, "lowest sum of validation losses, checked at each validation") as run:
        if job.variant == "constant":
            test = constant_scores(data)
            run.log(mtl.rows(test, step=1, epoch=0, split="test"))
            run.finish(summary={"test": test, "selection": "the best constant for the training labels"})
            return
        results = fit_models(job, run, data, build, select="loss", precision=options.precision)
        summary = record_fit(run, results, data.test)
        models = [result.model for result in results]
        few = torch.arange(min(options.examples, len(data.test)))
        record_predictions(run, models, data.test.take(few))
        record_maps(
            run,
            models,
            data.test,
            options.methods,
            examples=options.examples,
            scored=options.scored,
            seed=job.seed,
        )
        run.finish(summary=summary)


def narrowed(data: Any, tasks: tuple[str, ...]) -> Any:
    """The data set with some of its tasks, in its own order."""
    kept = tuple(task for task in data.tasks if task.name in tasks)
    names = [task.name for task in kept]
    splits = {split: getattr(data, split).only(names) for split in ("train", "validation", "test")}
    return replace(data, tasks=kept, **splits)
