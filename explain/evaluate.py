"""Scores of maps, one number an example, always beside controls that know nothing of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from explain.batching import noise_like
from explain.inputs import check_tensor
from explain.metrics import GROUPS, METRICS
from explain.names import lookup
from explain.outputs import SINGLE
from explain.targets import Target

COLUMNS = ["example", "task", "metric", "region", "map", "value", "higher_is_better"]


def evaluate(
    model: nn.Module,
    inputs: Tensor,
    maps: Tensor | Mapping[str, Tensor],
    *,
    metrics: Sequence[str] = ("localisation",),
    masks: Mapping[str, Tensor] | None = None,
    target: Target | Mapping[str, Target] = "predicted",
    seed: int = 0,
) -> pd.DataFrame:
    """Score maps, and beside each the same score of a random map and of the image itself.

    Args:
        model: the module that was explained (localisation does not run it).
        inputs: [B, C, H, W] or [B, H, W].
        maps: {task: [B, *S]} as `saliency` gives, or one tensor.
        metrics: names in `explain.METRICS`; ``"localisation"`` stands for relevance mass and pointing game.
        masks: {task: bool [B, H, W]}, where the evidence for each task is known to be; may hold more tasks than
            ``maps``. Every map is scored in every mask: in its own task's (higher is better) and in the others', where
            it is leakage (lower is better).
        target: what was explained, as for `saliency`.
        seed: of the random control.

    Returns:
        One row a number: example, task (whose map), metric, region (the task whose mask it is), map ("given",
        "random", "image"), value, higher_is_better. NaN where a score is not defined (an empty mask, a map of zeros).
        Averages and intervals are for the reader of the table: examples of one model are not independent models.

    Raises:
        ValueError: unknown metrics, masks that are missing or misshapen, maps that do not fit the inputs.

    >>> import torch
    >>> images, masks = torch.rand(2, 1, 4, 4), {"a": torch.ones(2, 4, 4, dtype=torch.bool)}
    >>> frame = evaluate(torch.nn.Identity(), images, {"a": images}, masks=masks)
    >>> frame.groupby(["metric", "map"])["value"].mean().unique().tolist()
    [1.0]
    """
    del model, target  # localisation needs neither; they are here for the metrics that do
    check_tensor("inputs", inputs)
    if isinstance(metrics, str):
        metrics = [metrics]
    names = [name for asked in metrics for name in GROUPS.get(asked, (asked,))]
    for name in names:
        lookup("metric", name, dict(METRICS) | dict.fromkeys(GROUPS))
    if isinstance(maps, Tensor):
        maps = {SINGLE: maps}
    masks = _checked_masks(masks, inputs)
    controls = {"random": noise_like(inputs.cpu(), seed, 0), "image": inputs.detach().cpu()}
    frames = []
    for task, given in maps.items():
        if not isinstance(given, Tensor) or given.shape != inputs.shape:
            got = list(given.shape) if isinstance(given, Tensor) else type(given).__name__
            raise ValueError(
                f"the map of task '{task}' must be like the inputs, {list(inputs.shape)}, got {got}"
            )
        for name in dict.fromkeys(names):
            for region, mask in masks.items():
                for kind, attribution in {"given": given.detach().cpu(), **controls}.items():
                    frames.append(
                        pd.DataFrame(
                            {
                                "example": range(len(inputs)),
                                "task": task,
                                "metric": name,
                                "region": region,
                                "map": kind,
                                "value": METRICS[name].values(attribution, mask).numpy(),
                                "higher_is_better": region == task or (task == SINGLE and len(masks) == 1),
                            }
                        )
                    )
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)


def _checked_masks(masks: Mapping[str, Tensor] | None, inputs: Tensor) -> dict[str, Tensor]:
    """The masks on the CPU; the controls and scores are computed there, so that every device gives the same."""
    if not masks:
        raise ValueError("localisation needs masks={task: bool [B, H, W]}")
    if inputs.dim() not in (3, 4):
        raise ValueError(f"localisation needs inputs [B, C, H, W] or [B, H, W], got {list(inputs.shape)}")
    expected = [len(inputs), *inputs.shape[-2:]]
    for task, mask in masks.items():
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or list(mask.shape) != expected:
            got = f"{mask.dtype} {list(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(f"the mask of task '{task}' must be bool {expected}, got {got}")
    return {task: mask.cpu() for task, mask in masks.items()}
