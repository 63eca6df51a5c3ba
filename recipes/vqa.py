"""Questions about pictures: does each answer need the image, the words or both, and which pixels and words?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from recipes.config import RunOptions, UsageError, above_zero, at_least, chosen

if TYPE_CHECKING:
    from recipes.runner import Job

QUESTION = (
    "Which answers need the image, which the words of the question, which both; and does each look at the object and "
    "at the words that decide?"
)
BASELINE, REFERENCE = None, "image_and_text"
TUNING = "none: the same defaults for every variant"
INPUTS = {
    "image_and_text": ("image", "words"),
    "image_only": ("image",),
    "text_only": ("words",),
    "majority": (),
}


@dataclass(frozen=True)
class Options(RunOptions):
    """easy-VQA with three tasks, of which each question asks one; the same model with both inputs, or one of them."""

    out: Path = Path("runs/vqa")
    """Folder for the run directories and report.html; must be absent or empty."""
    variants: tuple[str, ...] = tuple(INPUTS)
    """What the model gets; majority: the commonest training answer of each task, without a model."""
    steps: int = 1000
    """Training steps."""
    batch_size: int = 64
    """Questions a step."""
    lr: float = 1e-2
    """Peak learning rate of one-cycle AdamW."""
    train: int = 12_000
    """Training questions."""
    image_size: int = 32
    """Pixels of the images' side: 64 as they are, or a divisor of it."""
    methods: tuple[str, ...] = ("gradient", "integrated_gradients")
    """Attribution methods."""
    examples: int = 3
    """Test questions of each task in the gallery."""
    scored: int = 100
    """Test questions of each task on which the attributions are scored."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "steps", "batch_size", "train", "image_size", "examples", "scored")
        above_zero(self, "lr")
        chosen("variants", self.variants, INPUTS)


def variants(options: Options) -> tuple[str, ...]:
    """Checked before anything is written: the data and its sizes."""
    from mtl.data import easy_vqa

    if not easy_vqa.is_there():
        raise UsageError(easy_vqa.MISSING_PACKAGE)
    if options.image_size not in (4, 8, 16, 32, 64):
        raise UsageError(f"image_size must be 8, 16, 32 or 64, got {options.image_size}")
    return options.variants


def train(job: Job) -> None:
    """One run: train with the variant's inputs, test once, explain image and words together."""
    import mtl
    from recipes.runner import run_directory

    options: Options = job.options
    data = mtl.dataset("easy_vqa", train=options.train, image_size=options.image_size)
    names = INPUTS[job.variant]
    with run_directory(job, data, "best mean validation accuracy, checked at each validation") as run:
        if not names:
            run.finish(summary=record_majority(run, data))
            return
        mine = replace(
            data,
            train=part(data.train, names),
            validation=part(data.validation, names),
            test=part(data.test, names),
        )
        branches = {
            "image": lambda: mtl.backbone("convnet", in_channels=3),
            "words": lambda: mtl.backbone("bag_of_words", in_features=len(data.feature_names)),
        }
        with mtl.seeded(job.seed):
            backbone = mtl.Fusion({name: branches[name]() for name in names}, features=64)
            model = mtl.MultiTaskModel(backbone, data.tasks).to(options.device)
