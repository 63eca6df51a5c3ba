"""What a recipe writes about its trained models: test scores, cost, dynamics, maps and their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

import explain
import mtl
import reports
from explain.batching import noise_like
from explain.metrics.localisation import pointing_game, relevance_mass
from explain.metrics.similarity import SIMILARITIES

EVALUATED = ["example", "task", "metric", "region", "map", "value", "higher_is_better"]


def record_fit(
    run: reports.RunWriter,
    results: Sequence[mtl.FitResult],
    test: mtl.TaskData,
    extra: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, Any]:
    """Test scores of the selected checkpoints, cost and dynamics; gives the summary for ``run.finish``.

    A run of one model per task has several results; costs add up, and the memory peak is the largest.

    Args:
        run: the open run directory.
        results: what `mtl.fit` gave, one for each model.
        test: the test split, used here and nowhere before; a task without labels there (an auxiliary one) has no score.
        extra: {task: {metric: value}} of the recipe's own, logged beside the test scores.
    """
    scores: dict[str, dict[str, float]] = {}
    for result in results:
        names = [task.name for task in result.model.tasks if task.name in test.targets]
        rows = mtl.evaluate(result.model, test.only(names))
        for task, values in (extra or {}).items():
            if task in rows:
                rows[task].update(values)
        run.log(mtl.rows(rows, step=max(1, result.best_step), epoch=0, split="test"))
        scores.update(rows)
        if result.dynamics.step:
            run.dynamics(**result.dynamics.arrays())
    run.cost(
        train_s=sum(result.train_s for result in results),
        step_s=sum(result.step_s for result in results),
        steps=max(result.steps for result in results),
        parameters=sum(result.parameters for result in results),
        peak_memory_mib=max(result.peak_memory_mib for result in results),
        energy_j=sum(result.energy_j for result in results),
    )
    skipped = sum(result.skipped_steps for result in results)
    return {
        **({"skipped_steps": skipped} if skipped else {}),  # fp16 alone has any
        "test": scores,
        "selection": results[0].selection,
        "best_step": {task.name: r.best_step for r in results for task in r.model.tasks},
    }


def map_correlations(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> pd.DataFrame:
    """Spearman's correlation of two sets of maps {task: [N, C, H, W]}, signed and of absolute values (channels summed).

    Rows as `explain.evaluate` gives them, of the metrics ``parameter_randomisation`` and
    ``parameter_randomisation_absolute``.
    """
    rows = []
    for task, maps in before.items():
        pair = [found.sum(dim=1).cpu() for found in (maps, after[task])]
        for ending, values in (("", pair), ("_absolute", [found.abs() for found in pair])):
            alike = SIMILARITIES["spearman"](*values).tolist()
            rows += [
                (n, task, f"parameter_randomisation{ending}", "", "given", value, False)
                for n, value in enumerate(alike)
            ]
    return pd.DataFrame(rows, columns=EVALUATED)


def score_words(task: str, maps: Tensor, decide: Tensor, present: Tensor, seed: int) -> pd.DataFrame:
    """How much of the words' relevance lies on the words that decide, beside a random map and equal weights.

    Args:
        task: whose maps.
        maps: [N, L] signed.
        decide: bool [N, L].
        present: 1 for a word, 0 behind the last, [N, L]; as a map it stands for the input itself.
        seed: of the random map.

    Returns:
        Rows as `explain.evaluate` gives them.
    """
    kinds = {"given": maps, "random": noise_like(present, seed, 0) * present, "image": present}
    metrics = {"relevance_mass": relevance_mass, "pointing_game": pointing_game}
    rows = [
        (example, task, metric, task, kind, value, True)
        for metric, values in metrics.items()
        for kind, found in kinds.items()
        for example, value in enumerate(values(found[:, None], decide[:, None]).tolist())
    ]
    return pd.DataFrame(rows, columns=EVALUATED)


def record_explanations(
    run: reports.RunWriter,
    models: Sequence[mtl.MultiTaskModel],
    test: mtl.TaskData,
    methods: Sequence[str],
    *,
    examples: int,
    scored: int,
    seed: int,
) -> None:
    """Maps of every task on the first test images, and how much of each map lies in which mask.

    Args:
        run: the open run directory.
        models: together they serve every task once.
        test: images [N, C, H, W] with masks.
        methods: names in `explain.METHODS`.
        examples: images in the gallery.
        scored: images on which the localisation is scored, each beside a random map and the image itself.
        seed: of the methods and controls that draw.
    """
    data = test.take(torch.arange(min(max(scored, examples), len(test))))
    shown = slice(0, examples)
    device = next(models[0].parameters()).device
    inputs, masks = data.inputs.to(device), dict(data.masks)
    run.save_examples(
        inputs=data.inputs[shown].numpy(),
        masks={name: mask[shown].numpy() for name, mask in masks.items()},
    )
    frames = []
    for model in models:
        with torch.no_grad():
            outputs = model(inputs[shown])
        for method in methods:
            maps, scores = located(model, inputs, masks, method, scored=scored, seed=seed)
            frames.append(scores)
            save_maps(run, method, maps, outputs, data, shown, seed)
    run.save_scores(pd.concat(frames, ignore_index=True))


def located(
    model: mtl.MultiTaskModel,
    inputs: Tensor,
    masks: Mapping[str, Tensor],
    method: str,
    *,
    scored: int,
    seed: int,
    target: Any = "predicted",
) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """A method's maps {task: [N, C, H, W]}, and how much of each of the first ``scored`` lies in its mask."""
    maps = explain.saliency(model, inputs, method=method, target=target, seed=seed)
    scores = explain.evaluate(
        model,
        inputs[:scored],
        {name: own[:scored] for name, own in maps.items()},
        metrics=["localisation"],
        masks={name: mask[:scored] for name, mask in masks.items() if name in maps},
        seed=seed,
    )
    return maps, scores.assign(method=method)


def save_maps(
    run: reports.RunWriter,
    method: str,
    maps: Mapping[str, torch.Tensor],
    outputs: Mapping[str, torch.Tensor],
    data: mtl.TaskData,
    shown: slice,
    seed: int,
) -> None:
    """The maps of the gallery's examples, for every task, with what was predicted and what is true."""
    for task, attribution in maps.items():
        run.save_attribution(
            method,
            task,
            maps=attribution[shown].sum(dim=1).cpu().numpy(),
            prediction=outputs[task].argmax(dim=1).cpu().numpy(),
            label=data.targets[task][shown].numpy(),
            details={"target": "predicted", "seed": seed},
        )
