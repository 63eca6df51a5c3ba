"""Search the learning rate, each task's head and the layer where each task branches off; is the search worth it?"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from recipes.config import RunOptions, above_zero, at_least, chosen

if TYPE_CHECKING:
    from recipes.runner import Job

QUESTION = (
    "Does a search of learning rate, head sizes and branch points beat the defaults at what number of parameters, "
    "and what mattered?"
)
BASELINE, REFERENCE = None, "default"
TUNING = (
    "random and tpe: --trials trainings, chosen by mean validation accuracy; default: one training, no search"
)
ALL = ("default", "random", "tpe")
LAYERS = 4  # of the CNN: two convolutions, 120 units, 84 units
WIDTHS = (0, 32, 128)  # of a head's hidden layer; 0: none


@dataclass(frozen=True)
class Options(RunOptions):
    """Optuna inside each run: random and TPE searches with equal trials, against hard sharing with the defaults."""

    out: Path = Path("runs/automation")
    """Folder for the run directories and report.html; must be absent or empty."""
    variants: tuple[str, ...] = ALL
    """default: no search; random, tpe: the samplers."""
    trials: int = 12
    """Trainings of each search; the first is the default's configuration."""
    steps: int = 100
    """Training steps of each."""
    batch_size: int = 64
    """Pairs a step."""
    train: int = 10_000
    """Training pairs."""
    lr: float = 6e-3
    """The default's peak learning rate; searched from a tenth of it to ten times as much."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "steps", "batch_size", "train")
        at_least(self, 2, "trials")
        above_zero(self, "lr")
        chosen("variants", self.variants, ALL)


def variants(options: Options) -> tuple[str, ...]:
    if set(options.variants) - {"default"}:
        from recipes.sweep.storage import need_optuna

        need_optuna()
    return options.variants


def train(job: Job) -> None:
    """One run: the trials by validation, the best one tested once, the front and what mattered beside it."""
    import mtl
    from recipes.record import record_fit
    from recipes.runner import run_directory

    data = mtl.dataset("multimnist", train=job.options.train)
    names = [task.name for task in data.tasks]
    searched = ("lr", *(f"{what}_{name}" for name in names for what in ("head", "branch")))
    extra = [("trials_on_front", "trials", True)]
    extra += [(f"chosen_{name}", "", True) for name in ("lr", "head", "branch")]
    extra += [(f"importance_{name}", "fraction", True) for name in searched]
    with run_directory(job, data, "best mean validation accuracy, over trials and validations", extra) as run:
        default: dict[str, Any] = {"lr": job.options.lr}
        default |= {f"head_{name}": 0 for name in names} | {f"branch_{name}": LAYERS for name in names}
        alone = job.variant == "default"
        trials = [(default, fit(job, data, default, 0))] if alone else search(job, data, default)
        params, best = max(trials, key=lambda trial: fmean(accuracies(trial[1]).values()))
        run.log(best.records)
        on_front = front_of(trials)
        mattered = importances(trials, names) if len(trials) > len(searched) else {name: {} for name in names}
        notes = {
            name: {
                "chosen_lr": params["lr"],
                "chosen_head": float(params[f"head_{name}"]),
                "chosen_branch": float(params[f"branch_{name}"]),
                "trials_on_front": float(len(on_front)),
                **{f"importance_{key}": value for key, value in mattered[name].items()},
            }
            for name in names
        }
        best.train_s = sum(result.train_s for _, result in trials)  # a search costs all its trainings
        best.energy_j = sum(result.energy_j for _, result in trials)
        summary = record_fit(run, [best], data.test, notes)
        table = [
            {**params, **accuracies(result), "parameters": result.parameters, "on_front": i in on_front}
            for i, (params, result) in enumerate(trials)
        ]
        run.finish(summary={**summary, "trials": table})
    for number, (_, result) in enumerate(trials):  # megabytes each, and of no more use
        if result is not best:
            shutil.rmtree(job.folder / "checkpoints" / f"trial-{number}")


def search(job: Job, data: Any, default: dict[str, Any]) -> list[tuple[dict[str, Any], Any]]:
    """The trainings of one search: parameters and result of each, in order."""
    import optuna

    options: Options = job.options
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    random, tpe = optuna.samplers.RandomSampler, partial(optuna.samplers.TPESampler, n_startup_trials=5)
    samplers = {"random": random, "tpe": tpe}
    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=samplers[job.variant](seed=job.seed)
    )
    study.enqueue_trial(default)
    found = []
    for _ in range(options.trials):
        trial = study.ask()
        params = {"lr": trial.suggest_float("lr", options.lr / 10, options.lr * 10, log=True)}
        for task in data.tasks:
            params[f"head_{task.name}"] = trial.suggest_categorical(f"head_{task.name}", WIDTHS)
            params[f"branch_{task.name}"] = trial.suggest_int(f"branch_{task.name}", 1, LAYERS)
        result = fit(job, data, params, trial.number)
        study.tell(trial, [fmean(accuracies(result).values()), result.parameters])
        found.append((params, result))
    return found


def fit(job: Job, data: Any, params: dict[str, Any], number: int) -> Any:
    """Training ``number`` of the run, in a resumed one only what is left; every one has the data in the same order."""
    import mtl
    from recipes.branches import branched

    options: Options = job.options
    with mtl.seeded(job.seed):
        model = branched(
            data.tasks,
            branches=[params[f"branch_{task.name}"] for task in data.tasks],
            widths=[params[f"head_{task.name}"] for task in data.tasks],
            image_size=36,
        ).to(options.device)
    return mtl.fit(
        model,
        data.train,
        data.validation,
        steps=options.steps,
        batch_size=options.batch_size,
        lr=params["lr"],
        validate_every=max(1, options.steps // 4),
        dynamics_every=None,
        checkpoints=job.folder / "checkpoints" / f"trial-{number}",
        resume=job.resume,
        allow_change=job.allow_change,
        progress=False,
        seed=job.seed,
    )


def accuracies(result: Any) -> dict[str, float]:
    """{task: validation accuracy} of the selected checkpoint."""
    return {
        record["task"]: record["value"]
        for record in result.records
        if (record["split"], record["metric"], record["step"]) == ("validation", "accuracy", result.best_step)
    }


def front_of(trials: list[tuple[dict[str, Any], Any]]) -> list[int]:
    """Indices of the trials on the Pareto front of accuracy and parameters."""
    from recipes.sweep.objective import parse_objective
    from recipes.sweep.results import front

    values = [(fmean(accuracies(result).values()), float(result.parameters)) for _, result in trials]
    return front(values, (parse_objective("max:accuracy"), parse_objective("min:cost.parameters")))


def importances(trials: list[tuple[dict[str, Any], Any]], names: list[str]) -> dict[str, dict[str, float]]:
    """{task: {parameter: share of the variance of its validation accuracy}}, by Optuna's fANOVA; from few trials."""
    import optuna

    rates = [params["lr"] for params, _ in trials]
    ranges: dict[str, Any] = {"lr": optuna.distributions.FloatDistribution(min(rates), max(rates), log=True)}
    for name in names:
        ranges[f"head_{name}"] = optuna.distributions.CategoricalDistribution(WIDTHS)
        ranges[f"branch_{name}"] = optuna.distributions.IntDistribution(1, LAYERS)
    found = {}
    for name in names:
        study = optuna.create_study(direction="maximize")
        for params, result in trials:
            study.add_trial(
                optuna.create_trial(params=params, distributions=ranges, value=accuracies(result)[name])
            )
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        found[name] = dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
    return found
