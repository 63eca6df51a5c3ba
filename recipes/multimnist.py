"""Two digits on one canvas: one model a task, hard sharing, and balancing beyond the plain sum."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from recipes.config import RunOptions, above_zero, at_least, chosen

if TYPE_CHECKING:
    from recipes.runner import Job

QUESTION = (
    "Does sharing a backbone help two digit tasks, does balancing help beyond the plain sum, "
    "and does each head look at its own digit?"
)
BASELINE, REFERENCE = "single", "equal"
TUNING = "none: the same defaults for every variant"
ALL = ("single", "equal", "uncertainty", "pcgrad", "upgrad")


@dataclass(frozen=True)
class Options(RunOptions):
    """One model per task (single) against hard sharing with each balancer, at equal steps a model."""

    out: Path = Path("runs/multimnist")
    """Folder for the run directories and report.html; must be absent or empty."""
    variants: tuple[str, ...] = ALL
    """single: one model per task; any other name is a balancer of a shared model."""
    steps: int = 300
    """Training steps of each model."""
    batch_size: int = 64
    """Pairs a step."""
    lr: float = 6e-3
    """Peak learning rate of one-cycle AdamW."""
    train: int = 20_000
    """Training pairs."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the training's forward passes, by autocast; scores are computed in fp32. Slow on CPUs that lack it."""
    methods: tuple[str, ...] = ("gradient", "integrated_gradients", "grad_cam")
    """Attribution methods."""
    examples: int = 8
    """Test images in the gallery."""
    scored: int = 100
    """Test images on which the attributions are scored."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "steps", "batch_size", "train", "examples", "scored")
        above_zero(self, "lr")
        chosen("variants", self.variants)


def variants(options: Options) -> tuple[str, ...]:
    import mtl

    chosen("variants", options.variants, ("single", *mtl.BALANCERS))
    return options.variants


def train(job: Job) -> None:
    """One run: one shared model, or one model a task; test once; explain every task."""
    import mtl
    from recipes.fitting import fit_models
    from recipes.record import record_explanations, record_fit
    from recipes.runner import run_directory

    options: Options = job.options
    data = mtl.dataset("multimnist", train=options.train)

    def build(tasks: tuple[mtl.Task, ...]) -> mtl.MultiTaskModel:
        return mtl.MultiTaskModel(mtl.backbone("cnn", image_size=36), tasks)

    with run_directory(job, data, "best mean validation accuracy, checked at each validation") as run:
        results = fit_models(job, run, data, build, precision=options.precision)
        summary = record_fit(run, results, data.test)
        record_explanations(
            run,
            [result.model for result in results],
            data.test,
            options.methods,
            examples=options.examples,
            scored=options.scored,
            seed=job.seed,
        )
        run.finish(summary=summary)
