"""Photographs and an ImageNet classifier: class maps, contrasts, and whether the maps show what was learned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.config import RunOptions, UsageError, at_least, chosen, nearest

if TYPE_CHECKING:
    from recipes.runner import Job

QUESTION = (
    "On photographs, what speaks for the class that a network sees, what for it rather than for another, does that lie "
    "on the object, and does it go away when the weights are random?"
)
BASELINE, REFERENCE = None, "pretrained"
TUNING = "none: nothing is trained"
ALL = ("pretrained", "random_weights")


@dataclass(frozen=True)
class Options(RunOptions):
    """Maps of EfficientNet-Lite0 with ImageNet weights and with random ones; each seed crops and draws weights anew."""

    out: Path = Path("runs/photographs")
    """Folder for the run directories and report.html; must be absent or empty."""
    variants: tuple[str, ...] = ALL
    """pretrained: ImageNet weights; random_weights: the same network before any training."""
    photos: Path | None = None
    """Folder of .jpg or .png photographs, NAME_alpha.png the matte of NAME; none: those of scikit-image."""
    only: tuple[str, ...] = ()
    """Names of photographs to take (files without ending); empty: all."""
    against: str | None = None
    """ImageNet class that the first one is contrasted with; none: each photograph's second."""
    methods: tuple[str, ...] = (
        "grad_cam",
        "integrated_gradients",
        "smoothgrad",
        "input_x_gradient",
        "gradient",
    )
    """Attribution methods."""
    size: int = 224
    """Pixels of the crop's side that the network sees."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 32, "size")
        chosen("variants", self.variants, ALL)


def variants(options: Options) -> tuple[str, ...]:
    """Checked before anything is written: weights, photographs and the class to contrast with."""
    from mtl import pretrained
    from mtl.data.photographs import photographs

    if not pretrained.has_weights():
        raise UsageError(pretrained.missing())
    try:
        photographs(options.photos, only=options.only, size=options.size)
    except ValueError as error:
        raise UsageError(str(error)) from error
    known = pretrained.imagenet_classes()
    if options.against is not None and options.against not in known:
        near = nearest(options.against, known).partition(" known:")[0]
        raise UsageError(f"against: ImageNet has no class '{options.against}'; {near}")
    return options.variants


def train(job: Job) -> None:
    """One run, without training: two classes of each photograph, their scores, the maps and the maps' scores."""
    import torch

    import mtl
    from mtl.data.photographs import photographs
    from mtl.pretrained import efficientnet_lite0, imagenet_classes
    from recipes.runner import Number, Stated, StatedData, run_directory

    options: Options = job.options
    data = photographs(options.photos, only=options.only, size=options.size, seed=job.seed)
    names, rule = imagenet_classes(), "none: nothing is trained"
    tasks = (
        Stated("class", (Number("probability", "fraction", True),), names),
        Stated("contrast", (Number("margin", "logits", True),), names),
    )
    with run_directory(job, StatedData("photographs", tasks, data.fingerprint), rule) as run:
        images = ((data.images - 127) / 128).to(options.device)
        learned = efficientnet_lite0().to(options.device)
        with mtl.seeded(job.seed):
            random = efficientnet_lite0(pretrained=False).to(options.device)
        model = learned if job.variant == "pretrained" else random
        with torch.no_grad():
            first, second = learned(images).topk(2).indices.T  # [N] each, the same for both variants
            if options.against is not None:
                given = torch.full_like(first, names.index(options.against))
                second = second.where(first == given, given)
            logits = model(images)
        sure = logits.softmax(dim=1).gather(1, first[:, None])[:, 0]
        margin = (logits.gather(1, first[:, None]) - logits.gather(1, second[:, None]))[:, 0]
        test = {"class": {"probability": float(sure.mean())}, "contrast": {"margin": float(margin.mean())}}
        run.log(mtl.rows(test, step=1, epoch=0, split="photographs"))
        pairs = [(names[a], names[b]) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
        captions = {
            "class": [f"{a}, {p:.1%}" for (a, _), p in zip(pairs, sure, strict=True)],
            "contrast": [f"{a} rather than {b}, {m:+.1f}" for (a, b), m in zip(pairs, margin, strict=True)],
        }
        predicted = logits.argmax(dim=1).cpu().numpy()
        compared = learned if model is random else None
        record_maps(job, run, data, images, (model, compared), (first, second), captions, predicted)
        run.finish(summary={"test": test, "selection": rule})


def record_maps(
    job: Job, run: Any, data: Any, images: Any, models: Any, classes: Any, captions: Any, predicted: Any
) -> None:
    """The maps of the first model; in the mattes where it is alone, else their likeness to those of the second."""
    import pandas as pd

    import explain
    from recipes.record import map_correlations

    model, compared = models
    mattes = dict.fromkeys(captions, data.mattes) if bool(data.has_matte.any()) else {}
    shown = {task: matte.numpy() for task, matte in mattes.items()}
    run.save_examples(data.images.byte().numpy(), shown, names=data.names)
    frames = []
    for method in job.options.methods:
        maps = explained(model, images, classes, method, job.seed)
        for task, attribution in maps.items():
            run.save_attribution(
                method,
                task,
                maps=attribution.sum(dim=1).cpu().numpy(),
                prediction=predicted,
                label=0 * predicted - 1,  # nobody says what it is
                captions=captions[task],
                details={"target": captions[task], "seed": job.seed},
            )
            if mattes and compared is None:  # each by itself: the two share the region
                masks = {task: mattes[task].to(images.device)}
                scores = explain.evaluate(model, images, {task: attribution}, masks=masks, seed=job.seed)
                frames.append(scores.assign(method=method))
        if compared is not None:
            before = explained(compared, images, classes, method, job.seed)
            frames.append(map_correlations(before, maps).assign(method=method))
    if frames:
        run.save_scores(pd.concat(frames, ignore_index=True))


def explained(model: Any, images: Any, classes: Any, method: str, seed: int) -> dict[str, Any]:
    """{task: maps [N, 3, S, S]}: what speaks for each photograph's first class, and for it rather than its second.

    A photograph at a time, for each has classes of its own; both maps from the same forward passes.
    """
    import torch

    import explain

    class Twice(torch.nn.Module):
        """The logits under two names."""

        def __init__(self) -> None:
            super().__init__()
            self.classifier = model

        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return dict.fromkeys(("class", "contrast"), self.classifier(images))

    found = []
    for image, a, b in zip(images, *(c.tolist() for c in classes), strict=True):
        target = {"class": a, "contrast": lambda out, a=a, b=b: out[:, a] - out[:, b]}
        found.append(explain.saliency(Twice(), image[None], method=method, target=target, seed=seed))
    return {task: torch.cat([maps[task] for maps in found]) for task in ("class", "contrast")}
