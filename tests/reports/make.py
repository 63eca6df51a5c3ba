"""Run directories as a recipe would write them, with chosen numbers."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reports import RunWriter

QUESTION = "Does it help?"


def describe(name: str, metrics: Mapping[str, bool] | None = None, classes: int = 3) -> dict[str, Any]:
    """A task with fraction metrics {name: higher is better} and a loss."""
    declared = [
        {"name": metric, "unit": "fraction", "higher_is_better": better}
        for metric, better in (metrics or {"accuracy": True}).items()
    ]
    loss = {"name": "loss", "unit": "nats", "higher_is_better": False, "diagnostic": True}
    return {
        "name": name,
        "kind": "classification",
        "classes": [f"class {c}" for c in range(classes)],
        "metrics": [*declared, loss],
    }


def write_run(
    root: Path,
    variant: str,
    seed: int,
    test: Mapping[str, Mapping[str, float]],
    *,
    tasks: list[dict[str, Any]] | None = None,
    experiment: Mapping[str, Any] | None = None,
    maps: bool = True,
    own: float = 0.6,
    image: float = 0.3,
    cosine: float = 0.1,
    parameters: int = 100,
    config: Mapping[str, Any] | None = None,
    command: list[str] | None = None,
    feature_names: list[str] | None = None,
) -> Path:
    """A finished run: test scores {task: {metric: value}}, two validations, dynamics, cost, maps and their scores."""
    names = list(test)
    folder = root / f"{re.sub(r'[^ -.0-~]', '_', variant)[:60]}--s{seed}"
    rng = np.random.default_rng(seed)
    with RunWriter(
        folder,
        experiment={
            "name": "toy",
            "question": QUESTION,
            "baseline": "single",
            "reference": "equal",
            **(experiment or {}),
        },
        variant=variant,
        seed=seed,
        tasks=tasks or [describe(name, dict.fromkeys(test[name], True)) for name in names],
        config=config or {"steps": 5},
        command=command or ["python", "-m", "toy"],
        data={"toy": "sha256:00"},
        selection="best validation accuracy",
        tuning_budget="none",
    ) as run:
        for step in (1, 2):
            run.log(
                rows(
                    {t: {m: v - 0.1 / step for m, v in s.items()} for t, s in test.items()},
                    step,
                    "validation",
                )
            )
        run.log(rows(test, 2, "test"))
        T = len(names)
        if T > 1 and variant != "single":
            cosines = np.full((3, T, T), cosine) + np.eye(T) * (1 - cosine)
            run.dynamics(
                step=[1, 2, 3], tasks=names, groups=["low", "high"], losses=np.ones((3, T)), weights=np.ones((3, T)),
                norms=np.ones((3, T)), cosines=cosines, group_cosines=np.stack([cosines, cosines], axis=1),
            )  # fmt: skip
        run.cost(train_s=1.5, step_s=0.01, steps=2, parameters=parameters, peak_memory_mib=10)
        if maps:
            _write_maps(run, names, {"own": own, "image": image}, rng, feature_names)
        run.finish(summary={"test": test})
    return folder


def _write_maps(
    run: RunWriter,
    names: list[str],
    mass: Mapping[str, float],
    rng: np.random.Generator,
    feature_names: list[str] | None,
) -> None:
    n, shape = 2, (len(feature_names),) if feature_names else (8, 8)
    fixed = np.random.default_rng(0)
    inputs = fixed.random((n, *shape)) if feature_names else fixed.random((n, 1, *shape))
    masks = {}
    if not feature_names:
        for i, name in enumerate(names):
            masks[name] = np.zeros((n, 8, 8), dtype=bool)
            masks[name][:, i : i + 3, i : i + 3] = True
    run.save_examples(inputs=inputs, masks=masks, feature_names=feature_names)
    scores = []
    for task in names:
        run.save_attribution(
            "gradient", task, maps=rng.standard_normal((n, *shape)),
            prediction=np.array([0, 1]), label=np.array([0, 2]), details={},
        )  # fmt: skip
        for region in masks:
            values = {"given": mass["own"] if region == task else 0.2, "random": 0.15, "image": mass["image"]}
            scores += [
                {"example": i, "task": task, "method": "gradient", "metric": metric, "region": region, "map": kind,
                     "value": value + 0.01 * rng.random(), "higher_is_better": region == task}
                for i in range(n) for kind, value in values.items() for metric in ("relevance_mass", "pointing_game")
            ]  # fmt: skip
    if scores:
        run.save_scores(pd.DataFrame(scores))


def rows(scores: Mapping[str, Mapping[str, float]], step: int, split: str) -> list[dict[str, Any]]:
    return [
        {"step": step, "epoch": 1, "split": split, "task": task, "metric": metric, "value": value}
        for task, metrics in scores.items()
        for metric, value in metrics.items()
    ]


def three_variants(root: Path, gain: float = 0.0, seeds: int = 3, **options: Any) -> Path:
    """single, equal and upgrad with seed noise of a percent; upgrad is ``gain`` above equal."""
    for seed in range(seeds):
        noise = 0.01 * (seed - 1)
        for variant, level in (("single", 0.80), ("equal", 0.82), ("upgrad", 0.82 + gain)):
            small = 0.0005 * ((seed * 7 + len(variant)) % 3 - 1)
            test = {task: {"accuracy": level + noise + small} for task in ("left", "right")}
            write_run(
                root, variant, seed, test, **{"parameters": 200 if variant == "single" else 100, **options}
            )
    return root
