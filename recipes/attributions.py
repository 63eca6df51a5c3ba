"""Every attribution method on trained models: scores, controls, sanity checks, and a verdict a method in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.config import RunOptions, above_zero, at_least, chosen

if TYPE_CHECKING:
    from recipes.runner import Job

QUESTION = "Which attribution methods may be trusted on these models, by which measure, and which show little of them?"
BASELINE, REFERENCE = None, "multimnist"
TUNING = "none: defaults"
MODELS = ("multimnist", "cnn")
CONTROLS = ("random", "image", "edges")
AGAIN = {  # metrics that explain each image again and again: fewer times than their defaults
    "max_sensitivity": {"samples": 3},
    "local_lipschitz": {"samples": 3},
    "parameter_randomisation": {"steps": 4},
}
FEWER = {"rise": {"samples": 300}, "shapley_sampling": {"permutations": 5}}


@dataclass(frozen=True)
class Options(RunOptions):
    """multimnist: two digits, two heads on a shared CNN; cnn: the article's CNN on single digits."""

    out: Path = Path("runs/attributions")
    """Folder for the run directories and report.html; must be absent or empty."""
    variants: tuple[str, ...] = MODELS
    """Which models to train and explain."""
    steps: int = 400
    """Training steps of each model."""
    batch_size: int = 64
    """Examples a step."""
    lr: float = 6e-3
    """Peak learning rate of one-cycle AdamW."""
    train: int = 20_000
    """Training pairs of multimnist."""
    methods: tuple[str, ...] = ()
    """Attribution methods; empty: all of them."""
    metrics: tuple[str, ...] = ()
    """Attribution metrics; empty: all of them."""
    examples: int = 3
    """Test images in the gallery."""
    scored: int = 16
    """Test images on which the maps are scored."""
    checked: int = 4
    """Test images for the sanity checks and the metrics that explain again."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "steps", "batch_size", "train", "examples", "scored", "checked")
        above_zero(self, "lr")
        chosen("variants", self.variants, MODELS)


def variants(options: Options) -> tuple[str, ...]:
    import explain

    chosen("methods", options.methods or tuple(explain.METHODS), explain.METHODS)
    chosen("metrics", options.metrics or tuple(explain.METRICS), explain.METRICS)
    return options.variants


def train(job: Job) -> None:
    """One run: train a model, test it once, explain it by every method, score and check the maps."""
    import mtl
    from recipes.record import record_fit
    from recipes.runner import run_directory

    options: Options = job.options
    double = job.variant == "multimnist"
    data = mtl.dataset("multimnist", train=options.train) if double else mtl.dataset("mnist5k")
    with run_directory(job, data, "best mean validation accuracy, checked at each validation") as run:
        with mtl.seeded(job.seed):
            backbone = mtl.backbone("cnn", image_size=36 if double else 28)
            model = mtl.MultiTaskModel(backbone, data.tasks).to(options.device)
        result = mtl.fit(
            model,
            data.train,
            data.validation,
            steps=options.steps,
            batch_size=options.batch_size,
            lr=options.lr,
            augment=None if double else mtl.random_shift,
            validate_every=max(1, options.steps // 8),
            dynamics_every=None,
            log=run.log,
            checkpoints=job.folder / "checkpoints",
            resume=job.resume,
            allow_change=job.allow_change,
            progress=False,
            seed=job.seed,
        )
        summary = record_fit(run, [result], data.test)
        explain_all(job, run, result.model, data)
        run.finish(summary=summary)


def explain_all(job: Job, run: Any, model: Any, data: Any) -> None:
    """Maps, scores and sanity checks of every method; controls are scored once and stand beside each."""
    import pandas as pd
    import torch

    import explain
    from recipes.record import save_maps

    options: Options = job.options
    test = data.test.take(torch.arange(min(len(data.test), max(options.scored, options.examples))))
    inputs, shown, few = test.inputs.to(options.device), slice(0, options.examples), slice(0, options.checked)
    with torch.no_grad():
        outputs = model.eval()(inputs[shown])
    masks = {name: mask[shown].numpy() for name, mask in test.masks.items()}
    run.save_examples(inputs=test.inputs[shown].numpy(), masks=masks)
    scores, checks, beside = [], [], pd.DataFrame()
    for method in options.methods or tuple(m for m in explain.METHODS if m not in CONTROLS):
        settings = settings_of(method, data, options.device)
        maps = explain.saliency(model, inputs, method=method, seed=job.seed, **settings)
        given = score_all(job, model, test, maps, method, settings, () if len(beside) else CONTROLS)
        beside = beside if len(beside) else given[given["map"] != "given"]
        both = pd.concat([given[given["map"] == "given"], beside], ignore_index=True)
        scores.append(both.assign(method=method))
        sanity = explain.sanity(
            model, inputs[few], method=method, method_options=settings, steps=4, draws=1, seed=job.seed
        )
        checks.append(sanity.assign(method=method))
        save_maps(run, method, maps, outputs, test, shown, job.seed)
    run.save_scores(pd.concat(scores, ignore_index=True))
    run.save_sanity(pd.concat(checks, ignore_index=True))


def score_all(
    job: Job,
    model: Any,
    test: Any,
    maps: Any,
    method: str,
    settings: dict[str, Any],
    controls: tuple[str, ...],
) -> Any:
    """Every metric of the maps of all tasks; those that explain again on the first few images."""
    import pandas as pd

    import explain

    names = job.options.metrics or tuple(explain.METRICS)
    again = [name for name in names if explain.METRICS[name].kind == "method"]
    frames = []
    for metrics, count in (
        (again, job.options.checked),
        ([n for n in names if n not in again], job.options.scored),
    ):
        rows = slice(0, count)
        if metrics:
            frames.append(
                explain.evaluate(
                    model,
                    test.inputs[rows].to(job.options.device),
                    {task: m[rows] for task, m in maps.items()},
                    metrics=metrics,
                    masks={name: mask[rows] for name, mask in test.masks.items()},
                    method=method,
                    method_options=settings,
                    controls=controls,
                    options={name: AGAIN[name] for name in metrics if name in AGAIN},
                    seed=job.seed,
                )
            )
    return pd.concat(frames, ignore_index=True)


def settings_of(method: str, data: Any, device: str) -> dict[str, Any]:
    """Options of a method: baselines from the training images where it takes several, fewer samples of slow ones."""
    if method in ("gradient_shap", "deeplift_shap"):
        return {"baselines": data.train.inputs[:10].to(device)}
    return dict(FEWER.get(method, {}))
