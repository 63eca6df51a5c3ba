"""Questions about pictures: does each answer need the image, the words or both, and which pixels and words?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """Checked before anything is written: the data and the size of its images."""
    from mtl.data.easy_vqa import MISSING_PACKAGE, SIDE, is_there

    if not is_there():
        raise UsageError(MISSING_PACKAGE)
    if options.image_size < 8 or SIDE % options.image_size:  # the network halves it three times
        raise UsageError(f"image_size must be 8, 16, 32 or 64, got {options.image_size}")
    return options.variants


def train(job: Job) -> None:
    """One run: train with the variant's inputs, test once, explain image and words together."""
    import mtl
    from recipes.fitting import fit_model
    from recipes.record import record_fit
    from recipes.runner import run_directory

    options: Options = job.options
    data, names = (
        mtl.dataset("easy_vqa", train=options.train, image_size=options.image_size),
        INPUTS[job.variant],
    )
    with run_directory(job, data, "best mean validation accuracy, checked at each validation") as run:
        if not names:
            run.finish(summary=record_majority(run, data))
            return
        branches = {
            "image": lambda: mtl.backbone("convnet", in_channels=3),
            "words": lambda: mtl.backbone("bag_of_words", in_features=len(data.feature_names)),
        }

        def build() -> mtl.MultiTaskModel:
            fusion = mtl.Fusion({name: branches[name]() for name in names}, features=64)
            return mtl.MultiTaskModel(fusion, data.tasks)

        result = fit_model(job, run, build, data.train.given(names), data.validation.given(names))
        summary = record_fit(run, [result], data.test.given(names))
        explain_answers(job, run, result.model, data)
        run.finish(summary=summary)


def record_majority(run: Any, data: Any) -> dict[str, Any]:
    """The accuracy of each task's commonest training answer."""
    import mtl

    test = {}
    for task, targets in data.train.targets.items():
        answer, asked = targets[targets >= 0].mode().values, data.test.targets[task]
        test[task] = {"accuracy": float((asked[asked >= 0] == answer).double().mean())}
    run.log(mtl.rows(test, step=1, epoch=0, split="test"))
    return {"test": test, "selection": "the commonest training answer"}


def explain_answers(job: Job, run: Any, model: Any, data: Any) -> None:
    """Maps of image and words for the task that each question asks; zero where the variant lacks an input."""
    import pandas as pd
    import torch

    import explain
    from mtl.data.easy_vqa import GROUND, deciding_words, texts_of
    from recipes.record import score_words

    options, names = job.options, INPUTS[job.variant]
    asking = [(targets >= 0).nonzero()[:, 0] for targets in data.test.targets.values()]
    shown = torch.cat([rows[: options.examples] for rows in asking])
    test = data.test.take(torch.cat([shown, *(rows[: options.scored] for rows in asking)]))
    few = slice(0, len(shown))  # in the gallery; the others are scored
    image, words = test.inputs["image"], test.inputs["words"]
    present, decide = words.sum(dim=2), deciding_words(words, data.feature_names)  # [N, L]
    run.save_examples(
        inputs=((image[few] + GROUND) * 255).round().byte().numpy(),
        masks={task: mask[few].numpy() for task, mask in test.masks.items()},
        words=texts_of(words[few], data.feature_names),
    )
    inputs = {name: test.inputs[name].to(options.device) for name in names}
    with torch.no_grad():
        outputs = model(**inputs)
    frames = []
    for method in options.methods:
        found = explain.saliency(model, inputs, method=method, seed=job.seed)
        for task, maps in found.items():
            pixels = maps["image"].cpu() if "image" in maps else torch.zeros_like(image)
            of_words = (maps["words"].cpu() * words).sum(dim=2) if "words" in maps else 0 * present  # [N, L]
            asked, nothing = test.targets[task] >= 0, torch.tensor(torch.nan)
            run.save_attribution(
                method,
                task,
                maps=pixels.sum(dim=1).where(asked[:, None, None], nothing)[few].numpy(),
                prediction=outputs[task].argmax(dim=1)[few].cpu().numpy(),
                label=test.targets[task][few].numpy(),
                details={"target": "predicted", "seed": job.seed},
                words=of_words.where(asked[:, None] & (present > 0), nothing)[few].numpy(),
            )
            mine = asked.nonzero()[:, 0]
            mine = mine[mine >= len(shown)]
            if "image" in names:  # by itself: the tasks share the object
                mask = {task: test.masks[task][mine]}
                scores = explain.evaluate(model, image[mine], {task: pixels[mine]}, masks=mask, seed=job.seed)
                frames.append(scores.assign(method=method, example=mine.numpy()[scores["example"]]))
            if "words" in names and bool(decide[mine].any()):
                scores = score_words(task, of_words[mine], decide[mine], present[mine], job.seed)
                rows = mine.numpy()[
                    scores["example"]
                ]  # numbered as saved: those in the gallery have no score
                frames.append(scores.assign(method=f"{method}, words", example=rows))
    run.save_scores(pd.concat(frames, ignore_index=True))
