"""Every way of balancing two digit tasks, at an equal budget, against a tuned plain sum."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from recipes.config import RunOptions, UsageError, at_least, chosen

if TYPE_CHECKING:
    from recipes.runner import Job

QUESTION = "Which way of balancing is worth its cost, against a plain sum whose weights and learning rate were tuned?"
BASELINE, REFERENCE = "tuned_sum", "equal"
TUNING = (
    "every variant: the learning rate, by validation accuracy over --lrs; tuned_sum: also the weights, over --shares; "
    "each variant otherwise with its defaults"
)
TIMED = "@seconds"  # the suffix of a variant that gets the plain sum's time, and as many steps as fit


@dataclass(frozen=True)
class Options(RunOptions):
    """Every balancer on MultiMNIST with hard sharing: equal steps, and on request equal seconds."""

    out: Path = Path("runs/balancers")
    """Folder for the run directories and report.html; must be absent or empty."""
    variants: tuple[str, ...] = ()
    """tuned_sum and names of balancers, each also with @seconds; empty: tuned_sum and all balancers."""
    budgets: tuple[str, ...] = ("steps",)
    """steps: --steps for each; seconds: in addition a variant@seconds, with the plain sum's time."""
    steps: int = 300
    """Training steps of each model (for @seconds: of the plain sum)."""
    batch_size: int = 64
    """Pairs a step."""
    train: int = 20_000
    """Training pairs."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the training's forward passes, by autocast; scores are computed in fp32. Slow on CPUs that lack it."""
    lrs: tuple[float, ...] = (3e-3, 6e-3, 1.2e-2)
    """Peak learning rates of one-cycle AdamW to choose from."""
    shares: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7)
    """Shares of the left task's weight that tuned_sum chooses from."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "steps", "batch_size", "train")
        chosen("budgets", self.budgets, ("steps", "seconds"))
        if not self.lrs or not all(lr > 0 for lr in self.lrs):
            raise UsageError(f"lrs must be numbers above zero, got {list(self.lrs)}")
        if not self.shares or not all(0 < share < 1 for share in self.shares):
            raise UsageError(f"shares must be between 0 and 1, got {list(self.shares)}")


def variants(options: Options) -> tuple[str, ...]:
    import mtl

    plain = ("tuned_sum", *mtl.BALANCERS)
    names = options.variants or plain
    chosen("variants", names, (*plain, *(name + TIMED for name in plain)))
    if "seconds" in options.budgets:
        timed = [name + TIMED for name in names if not name.endswith(TIMED)]
        names = tuple(dict.fromkeys([*(names if "steps" in options.budgets else ()), *timed]))
    return names


def train(job: Job) -> None:
    """One run: candidates by validation, the best one tested once."""
    import mtl
    from recipes.record import record_fit
    from recipes.runner import run_directory

    options: Options = job.options
    data = mtl.dataset("multimnist", train=options.train)
    name, timed = job.variant.removesuffix(TIMED), job.variant.endswith(TIMED)
    extra = [("learning_rate", "", True), ("candidates", "trainings", False)]
    with run_directory(
        job, data, "best mean validation accuracy, over candidates and validations", extra
    ) as run:
        steps = timed_steps(job, data, name) if timed else options.steps
        pairs = [(lr, balancer) for balancer in candidates(name, options) for lr in options.lrs]
        found = [(lr, fit(job, data, balancer, lr, steps, n)) for n, (lr, balancer) in enumerate(pairs)]
        lr, best = max(found, key=lambda candidate: validation_accuracy(candidate[1]))
        run.log(best.records)
        chosen_by = {task.name: {"learning_rate": lr, "candidates": float(len(found))} for task in data.tasks}
        run.finish(summary=record_fit(run, [best], data.test, chosen_by))
    shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)  # of all candidates: too many to keep


def candidates(name: str, options: Options) -> list[tuple[str, dict[str, Any]]]:
    """Balancers with their options: one, or for tuned_sum one for each share."""
    if name != "tuned_sum":
        return [(name, {})]
    return [("static", {"weights": [2 * share, 2 * (1 - share)]}) for share in options.shares]


def fit(job: Job, data: Any, balancer: tuple[str, dict[str, Any]], lr: float, steps: int, number: int) -> Any:
    """A shared model trained with one candidate; the same initial weights and data order for all of a seed."""
    import mtl

    options: Options = job.options
    with mtl.seeded(job.seed):
        model = mtl.MultiTaskModel(mtl.backbone("cnn", image_size=36), data.tasks).to(options.device)
    name, settings = balancer
    return mtl.fit(
        model,
        data.train,
        data.validation,
        balancer=mtl.Balancer(name, seed=job.seed, **settings),
        steps=steps,
        batch_size=options.batch_size,
        lr=lr,
        validate_every=max(1, steps // 8),
        dynamics_every=max(1, steps // 20),
        checkpoints=job.folder / "checkpoints" / f"candidate-{number}",
        resume=job.resume,
        allow_change=job.allow_change,
        precision=options.precision,
        progress=False,
        seed=job.seed,
    )


def timed_steps(job: Job, data: Any, name: str) -> int:
    """The steps for the plain sum's time; measured once, for a run that is resumed must do as many."""
    file = job.folder / "steps.json"
    if not file.exists():
        share = step_seconds(job, data, "equal") / step_seconds(job, data, name)
        file.write_text(json.dumps(max(1, round(job.options.steps * min(1.0, share)))))
    return int(json.loads(file.read_text()))


def step_seconds(job: Job, data: Any, name: str) -> float:
    """Seconds a step, from twelve steps of a model that is thrown away."""
    import mtl

    model = mtl.MultiTaskModel(mtl.backbone("cnn", image_size=36), data.tasks).to(job.options.device)
    balancer = mtl.Balancer("static" if name == "tuned_sum" else name)
    result = mtl.fit(
        model,
        data.train,
        balancer=balancer,
        steps=12,
        batch_size=job.options.batch_size,
        dynamics_every=None,
        precision=job.options.precision,
        progress=False,
    )
    return float(result.step_s)


def validation_accuracy(result: Any) -> float:
    """The best mean over tasks, over the validations of a training."""
    best: dict[int, list[float]] = {}
    for record in result.records:
        if record["split"] == "validation" and record["metric"] == "accuracy":
            best.setdefault(record["step"], []).append(record["value"])
    return max((sum(values) / len(values) for values in best.values()), default=float("-inf"))
