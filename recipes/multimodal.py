"""Spoken and written digits: are both better than either, which does each task use, what if one is missing?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.config import RunOptions, UsageError, above_zero, at_least, chosen

if TYPE_CHECKING:
    from recipes.runner import Job

QUESTION = (
    "Are a picture and a recording together better than either alone, what is left when one is missing, and which of "
    "them does each task use?"
)
BASELINE, REFERENCE = None, "audio"  # alone the better of the two at what both tell
TUNING = "none: the same defaults for every variant"
ALONE = ("image", "audio")
FUSED = ("product", "late", "gated", "attention")


@dataclass(frozen=True)
class Options(RunOptions):
    """One model with an encoder an input, in four ways to fuse them; beside it a model of each input alone."""

    out: Path = Path("runs/multimodal")
    """Folder for the run directories and report.html; must be absent or empty."""
    root: Path = Path("fsdd")
    """Folder of the Free Spoken Digit Dataset (its recordings, or fsdd.npz)."""
    variants: tuple[str, ...] = (*ALONE, *FUSED)
    """image, audio: that input alone; product, late, gated, attention: both, fused so."""
    steps: int = 600
    """Training steps."""
    batch_size: int = 64
    """Pairs a step."""
    lr: float = 6e-3
    """Peak learning rate of one-cycle AdamW."""
    train: int = 6_000
    """Training pairs."""
    dropout: float = 0.5
    """Share of the training examples from which a fused model is not given one input or the other."""
    explained: int = 100
    """Test pairs whose relevance is split by input."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "steps", "batch_size", "train", "explained")
        above_zero(self, "lr")
        chosen("variants", self.variants, (*ALONE, *FUSED))
        if not 0 < self.dropout < 1:
            raise UsageError(f"dropout must be above 0 and below 1, got {self.dropout}")


def variants(options: Options) -> tuple[str, ...]:
    """Checked before anything is written: the recordings."""
    from mtl.data.avdigits import recordings

    try:
        recordings(options.root)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return options.variants


def train(job: Job) -> None:
    """One run: train on one input or both, test with both and with each alone, split the relevance by input."""
    import mtl
    from recipes.fitting import fit_model
    from recipes.record import record_fit
    from recipes.runner import run_directory

    options: Options = job.options
    names = (job.variant,) if job.variant in ALONE else ALONE
    data = mtl.dataset("avdigits", root=options.root, train=options.train)
    extra = [(name, "fraction", True) for name in extra_metrics(names)]
    with run_directory(job, data, "best mean validation accuracy, checked at each validation", extra) as run:
        branches = {
            "image": lambda: mtl.backbone("cnn", image_size=28),
            "audio": lambda: mtl.backbone("convnet", in_channels=1),
        }
        how: dict[str, Any] = {"how": job.variant, "dropout": options.dropout} if len(names) > 1 else {}

        def build() -> mtl.MultiTaskModel:
            fusion = mtl.Fusion({name: branches[name]() for name in names}, features=64, **how)
            return mtl.MultiTaskModel(fusion, data.tasks)

        result = fit_model(job, run, build, data.train.given(names), data.validation.given(names))
        own = by_input(result.model, data, names, options) if len(names) > 1 else {}
        run.finish(summary=record_fit(run, [result], data.test.given(names), own))


def extra_metrics(names: tuple[str, ...]) -> tuple[str, ...]:
    """What a fused run is judged by beside its tasks' own metrics."""
    if len(names) == 1:
        return ()
    return (*(f"accuracy, {name} only" for name in names), *(f"share of {name}" for name in names))


def by_input(model: Any, data: Any, names: tuple[str, ...], options: Options) -> dict[str, dict[str, float]]:
    """{task: accuracy with one input missing, and each input's share of the relevance}, on the test pairs.

    The relevance is that of integrated gradients from the mean training input, on which neither says anything.
    """
    import torch

    import explain
    import mtl

    found: dict[str, dict[str, float]] = {task.name: {} for task in data.tasks}
    for name in names:
        for task, scores in mtl.evaluate(model, data.test.given((name,))).items():
            found[task][f"accuracy, {name} only"] = scores["accuracy"]
    few = data.test.take(torch.arange(min(options.explained, len(data.test))))
    device = next(model.parameters()).device
    inputs = {name: few.inputs[name].to(device) for name in names}
    mean = {name: data.train.inputs[name].mean(dim=0).to(device) for name in names}
    maps = explain.saliency(model, inputs, method="integrated_gradients", baseline=mean)
    rows = explain.contributions(maps)
    for task, told in found.items():
        shares = rows[rows["task"] == task].groupby("input")["share"].mean()
        told.update({f"share of {name}": float(shares[name]) for name in names})
    return found
