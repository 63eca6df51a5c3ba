"""What the recipes on any data share: one model a task, a shared one with a balancer, and boosted trees beside them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Any

from recipes.config import RunOptions, UsageError, above_zero, at_least, chosen

if TYPE_CHECKING:
    import mtl
    from recipes.runner import Job

ALL = ("single", "equal", "uncertainty", "upgrad", "boosting")
TUNING = "none: the same defaults for every variant"


@dataclass(frozen=True)
class ComparisonOptions(RunOptions):
    """Of the training and of what is shown."""

    variants: tuple[str, ...] = ALL
    """single: one model per task; boosting: scikit-learn's gradient boosting; any other name is a balancer."""
    steps: int = 1500
    """Training steps of each model; the best of 20 checkpoints is kept."""
    batch_size: int = 128
    """Rows a step."""
    lr: float = 3e-3
    """Peak learning rate of one-cycle AdamW."""
    methods: tuple[str, ...] = ("integrated_gradients",)
    """Attribution methods."""
    examples: int = 6
    """Test rows whose attributions are shown."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "steps", "batch_size", "examples")
        above_zero(self, "lr")
        chosen("variants", self.variants)


def checked(options: ComparisonOptions, load: Callable[[], mtl.Splits]) -> mtl.Splits:
    """The data, read once before a run starts, so that its mistakes are found then.

    Raises:
        UsageError: a variant that does not exist, or data that cannot be read.
    """
    import mtl

    chosen("variants", options.variants, ("single", "boosting", *mtl.BALANCERS))
    try:
        data = load()
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(" ".join(str(error).split())) from error
    if "boosting" in options.variants and (not _is_table(data) or not all(map(_boosted, data.tasks))):
        raise UsageError("variants: boosting needs a table whose tasks are classes or single numbers")
    return data


def compare(job: Job, data: mtl.Splits, backbone: Callable[[], Any]) -> None:
    """One run: train as the variant says, test once, explain a few rows.

    Args:
        job: the run; its options are `ComparisonOptions`.
        data: the tasks and splits.
        backbone: builds what the heads stand on.
    """
    import mtl
    from mtl.training.selection import Selection
    from recipes.fitting import fit_models
    from recipes.record import record_fit
    from recipes.runner import run_directory

    options = job.options
    selection = Selection("auto", data.tasks, has_validation=True).rule
    if job.variant == "boosting":
        with run_directory(job, data, "none: the last tree") as run:
            run.finish(summary=record_boosting(run, data, job.seed))
        return
    with run_directory(job, data, selection) as run:
        often = max(1, options.steps // 20)
        results = fit_models(
            job, run, data, lambda tasks: mtl.MultiTaskModel(backbone(), tasks), validate_every=often
        )
        summary = record_fit(run, results, data.test)
        explain_examples(run, [result.model for result in results], data, options, job.seed)
        run.finish(summary=summary)


def record_boosting(run: Any, data: mtl.Splits, seed: int) -> dict[str, Any]:
    """Test scores of scikit-learn's histogram gradient boosting with its defaults, one a task; the summary.

    A tenth of the training rows stops it early.
    """
    import torch

    import mtl
    from mtl.metrics import Scores

    test: dict[str, dict[str, float]] = {}
    seconds = 0.0
    for task in data.tasks:
        if getattr(task, "auxiliary", False):
            continue
        learned, tested = (split.only([task.name]).labelled() for split in (data.train, data.test))
        labels, outputs = learned.targets[task.name].numpy(), _boosted(task)
        if outputs is None:
            raise ValueError(
                f"task '{task.name}': boosting needs classes or a single number, it is {task.kind}"
            )
        began = time.perf_counter()
        found = outputs(learned.inputs.numpy(), labels, tested.inputs.numpy(), seed)
        seconds += time.perf_counter() - began
        scores = Scores([task])
        scores.update({task.name: torch.from_numpy(found).float()}, tested.targets)
        test |= scores.compute()
    run.log(mtl.rows(test, step=1, epoch=0, split="test"))
    run.cost(
        train_s=seconds, step_s=nan, steps=0, parameters=0, peak_memory_mib=nan
    )  # trees have none of these
    return {"test": test, "selection": "the last tree"}


def _is_table(data: Any) -> bool:
    return getattr(data.train.inputs, "ndim", 0) == 2


def _boosted(task: Any) -> Callable[..., Any] | None:
    """(inputs, labels, test inputs, seed) -> outputs as the task's head would give them; None where trees cannot."""
    if task.kind == "classification":
        return lambda *given: _boosted_classes(task, *given)
    return (
        (lambda *given: _boosted_number(task, *given))
        if task.kind == "regression" and task.size == 1
        else None
    )


def _boosted_classes(task: Any, inputs: Any, labels: Any, test: Any, seed: int) -> Any:
    import numpy as np
    from sklearn.ensemble import HistGradientBoostingClassifier

    outputs = np.full((len(test), task.output_size), 1e-7)  # of classes that no training row has
    seen, counts = np.unique(labels, return_counts=True)
    if len(seen) == 1:
        outputs[:, seen[0]] = 1.0
        return np.log(outputs)
    early = "auto" if counts.min() > 10 else False  # a class of few rows cannot be divided
    model = HistGradientBoostingClassifier(random_state=seed, early_stopping=early).fit(inputs, labels)
    outputs[:, model.classes_] = model.predict_proba(test)
    return np.log(outputs.clip(1e-7))


def _boosted_number(task: Any, inputs: Any, labels: Any, test: Any, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(random_state=seed, early_stopping="auto").fit(inputs, labels)
    return (model.predict(test)[:, None] - task.mean) / task.deviation


def explain_examples(run: Any, models: Sequence[Any], data: mtl.Splits, options: Any, seed: int) -> None:
    """Maps of every task on the first test rows, with prediction and label in the target's unit."""
    import torch

    import explain
    import mtl

    test = data.test.take(torch.arange(min(options.examples, len(data.test))))
    inputs = test.inputs.to(options.device)
    pictures = inputs.dim() == 4
    run.save_examples(
        inputs=test.inputs.numpy(),
        masks={},
        **({} if pictures else {"feature_names": list(data.feature_names)}),
    )
    for model in models:
        with torch.no_grad():
            outputs = model(inputs)
        bends = any(isinstance(module, mtl.PiecewiseLinear) for module in model.modules())
        for method in options.methods:
            # a model of pieces bends hundreds of times on the line from the baseline: 1% would take ever more steps
            how: dict[str, Any] = {"tolerance": 0.05} if bends and method == "integrated_gradients" else {}
            for name, maps in explain.saliency(model, inputs, method=method, seed=seed, **how).items():
                task, output = next(t for t in model.tasks if t.name == name), outputs[name].cpu()
                classes = task.kind == "classification"
                said = output.argmax(dim=1) if classes else output[:, 0] * task.deviation + task.mean
                run.save_attribution(
                    method,
                    name,
                    maps=((maps.sum(dim=1) if pictures else maps) + 0.0).cpu().numpy(),  # -0 reads badly
                    prediction=said.numpy(),
                    label=test.targets[name].numpy(),
                    details={"target": "predicted", "seed": seed, **how},
                )
