"""What a recipe writes about models with dense tasks: constant predictors, maps of regions, pictures of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import explain
import mtl
import reports
from mtl.dense.tasks import is_dense
from mtl.metrics import Scores
from recipes.record import located

EXPLAINED = {  # by the kind of a task
    "segmentation": "logit of each pixel's predicted class, mean over the objects",
    "depth": "depth, mean over the objects",
    "normals": "normals' part along the view, mean over the objects",
    "boundary": "boundary logit, mean over the objects",
    "regression": "sum of the values",
    "classification": "logit of the predicted class",
}


def constant_scores(data: mtl.Splits) -> dict[str, dict[str, float]]:
    """Test scores of the best constant output of each task, chosen on the training labels.

    The shares of the classes, the median of depths, the mean normal, the share of boundary pixels, the mean of values.
    """
    scores = Scores(data.tasks)
    constants = {task.name: constant(task, data.train.targets[task.name]) for task in data.tasks}
    for start in range(0, len(data.test), 64):
        rows = slice(start, start + 64)
        targets = {name: target[rows] for name, target in data.test.targets.items()}
        outputs = {}
        for task in data.tasks:
            target = targets[task.name]
            places = target.shape[-2:] if is_dense(task) else ()
            value = constants[task.name].reshape(-1, *[1] * len(places))
            outputs[task.name] = value.expand(len(target), task.output_size, *places)
        scores.update(outputs, targets)
    return scores.compute()


def constant(task: mtl.Task, target: Tensor) -> Tensor:
    """The output [O] that serves these labels best, whatever the input.

    >>> constant(mtl.Depth("depth"), torch.tensor([[[1.0, 2.0, 9.0, float("nan")]]]))
    tensor([2.])
    """
    if task.kind == "normals":
        return target.nanmean(dim=(0, 2, 3))
    if task.kind in ("segmentation", "classification"):
        counts = torch.bincount(target[target >= 0].long(), minlength=task.output_size).float()
        return ((counts + 1) / (counts + 1).sum()).log()
    if task.kind == "boundary":
        return target[target >= 0].float().mean().logit()[None]
    if task.kind == "depth":
        return target[~target.isnan()].median()[None]
    return target.reshape(len(target), -1).nanmean(dim=0)


def target_of(task: mtl.Task, objects: Tensor) -> Any:
    """What is explained of a task, as `EXPLAINED` says it; ``objects`` bool [N, H, W]."""
    if task.kind == "segmentation":
        return explain.Region(objects, label="predicted")
    if task.kind == "normals":
        return explain.Region(objects, label=2)
    if is_dense(task):
        return explain.Region(objects)
    return "predicted" if task.kind == "classification" else lambda output: output.sum(dim=1)


def record_maps(
    run: reports.RunWriter,
    models: Sequence[mtl.MultiTaskModel],
    test: mtl.TaskData,
    methods: Sequence[str],
    *,
    examples: int,
    scored: int,
    seed: int,
) -> None:
    """Maps of every task on the first test images with an object, and how much of each map lies on its mask.

    Args:
        run: the open run directory.
        models: together they serve every task once.
        test: images with the masks of ``scenes``.
        methods: names in `explain.METHODS`.
        examples: images in the gallery.
        scored: images on which the maps are scored.
        seed: of the methods and controls that draw.
    """
    there = torch.stack([mask.flatten(1).any(dim=1) for mask in test.masks.values()]).all(dim=0)
    data = test.take(there.nonzero()[: max(examples, scored), 0])
    shown = slice(0, examples)
    inputs = data.inputs.to(next(models[0].parameters()).device)
    run.save_examples(
        inputs=(data.inputs[shown] * 255).round().byte().numpy(),
        masks={name: mask[shown].numpy() for name, mask in data.masks.items()},
    )
    frames = []
    for model in models:
        targets = {task.name: target_of(task, data.masks[task.name]) for task in model.tasks}
        for method in methods:
            maps, scores = located(
                model, inputs, data.masks, method, scored=scored, seed=seed, target=targets
            )
            frames.append(scores)
            for task in model.tasks:
                found = maps[task.name][shown].sum(dim=1).cpu().numpy()
                none = np.full(len(found), -1) if task.class_names else np.full(len(found), np.nan)
                known = task.kind == "classification"
                run.save_attribution(
                    method,
                    task.name,
                    maps=found,
                    prediction=none,
                    label=data.targets[task.name][shown].numpy() if known else none,
                    details={"target": EXPLAINED[task.kind], "seed": seed},
                    captions=[EXPLAINED[task.kind]] * len(found),
                )
    run.save_scores(pd.concat(frames, ignore_index=True))


@torch.no_grad()
def record_predictions(
    run: reports.RunWriter, models: Sequence[mtl.MultiTaskModel], data: mtl.TaskData
) -> None:
    """Each dense task's predictions for these images beside its labels, as colours.

    Pixels without a label are black in the label; both depths of an image share one scale.
    """
    images = (data.inputs.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    pictures = {}
    for model in models:
        outputs = model.eval()(data.inputs.to(next(model.parameters()).device))
        for task in filter(is_dense, model.tasks):
            pictures[task.name] = painted(task, outputs[task.name].cpu(), data.targets[task.name])
    if pictures:
        run.save_predictions(images, pictures)


def painted(task: mtl.Task, output: Tensor, target: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and label of a dense task as colours uint8 [N, H, W, 3]."""
    if task.kind == "segmentation":
        return _PALETTE[output.argmax(dim=1).numpy() % len(_PALETTE)], _PALETTE[
            target.numpy() % len(_PALETTE)
        ] * (target >= 0).numpy().astype(np.uint8)[..., None]
    if task.kind == "normals":
        output = torch.nn.functional.normalize(output, dim=1)
        both = [((part + 1) * 127.5).nan_to_num(0).round().byte() for part in (output, target)]
        return both[0].permute(0, 2, 3, 1).numpy(), both[1].permute(0, 2, 3, 1).numpy()
    if task.kind == "boundary":
        return _grey(output[:, 0].sigmoid()), _grey(target.clamp(min=0).float())
    farthest = target.nan_to_num(0).flatten(1).amax(dim=1)[:, None, None].clamp(min=1e-6)
    return _grey(1 - output[:, 0] / farthest), _grey((1 - target / farthest).nan_to_num(0))


def _grey(values: Tensor) -> np.ndarray:
    return (values.clamp(0, 1) * 255).round().byte()[..., None].expand(*values.shape, 3).numpy()


# ColorBrewer's Set3, twelve colours
_PALETTE = np.array(
    [
        [141, 211, 199], [255, 255, 179], [190, 186, 218], [251, 128, 114], [128, 177, 211], [253, 180, 98],
        [179, 222, 105], [252, 205, 229], [217, 217, 217], [188, 128, 189], [204, 235, 197], [255, 237, 111],
    ],
    dtype=np.uint8,
)  # fmt: skip
