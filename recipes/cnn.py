"""The article's CNN on real digits: its literal training beside a sound one, and what each looks at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.config import RunOptions, above_zero, at_least, chosen

if TYPE_CHECKING:
    from recipes.runner import Job

QUESTION = (
    "What does a sound training of a small CNN gain over ten steps of plain SGD, and what does each look at?"
)
BASELINE, REFERENCE = None, "article"
TUNING = "none: defaults"
ALL = ("article", "sound")


@dataclass(frozen=True)
class Options(RunOptions):
    """The article trains by full batch, SGD, lr 0.001, 10 steps; sound by one-cycle AdamW on shifted digits."""

    out: Path = Path("runs/cnn")
    """Folder for the run directories and report.html; must be absent or empty."""
    variants: tuple[str, ...] = ALL
    """Which variants to run."""
    steps: int = 1000
    """Training steps of the sound variant."""
    batch_size: int = 64
    """Examples a step of the sound variant."""
    lr: float = 6e-3
    """Peak learning rate of the sound variant."""
    methods: tuple[str, ...] = ("gradient", "integrated_gradients", "grad_cam")
    """Attribution methods."""
    examples: int = 8
    """Test images in the gallery."""
    scored: int = 100
    """Test images on which the attributions are scored."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "steps", "batch_size", "examples", "scored")
        above_zero(self, "lr")
        chosen("variants", self.variants, ALL)


def variants(options: Options) -> tuple[str, ...]:
    return options.variants


def train(job: Job) -> None:
    """One run: train as the variant says, test once, explain."""
    import mtl
    from recipes.record import record_explanations, record_fit
    from recipes.runner import run_directory

    options: Options = job.options
    data = mtl.dataset("mnist5k")
    if job.variant == "article":
        how: dict[str, Any] = {
            "steps": 10,
            "batch_size": len(data.train),
            "optimizer": "sgd",
            "lr": 0.001,
            "weight_decay": 0.0,
            "schedule": "constant",
            "select": "last",
            "validate_every": 1,
        }
    else:
        how = {
            "steps": options.steps,
            "batch_size": options.batch_size,
            "lr": options.lr,
            "augment": mtl.random_shift,
            "validate_every": max(1, options.steps // 10),
        }
    with run_directory(job, data, "article: the last step; sound: best validation accuracy") as run:
        with mtl.seeded(job.seed):
            model = mtl.MultiTaskModel(mtl.backbone("cnn", image_size=28), data.tasks).to(options.device)
        result = mtl.fit(
            model,
            data.train,
            data.validation,
            log=run.log,
            checkpoints=job.folder / "checkpoints",
            resume=job.resume,
            allow_change=job.allow_change,
            dynamics_every=None,
            progress=False,
            seed=job.seed,
            **how,
        )
        summary = record_fit(run, [result], data.test)
        record_explanations(
            run,
            [model],
            data.test,
            options.methods,
            examples=options.examples,
            scored=options.scored,
            seed=job.seed,
        )
        run.finish(summary=summary)
