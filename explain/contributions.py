"""How much of each task's relevance lies in which input: image or sound, picture or words."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from torch import Tensor

COLUMNS = ["example", "task", "input", "contribution", "share"]


def contributions(maps: Mapping[str, Mapping[str, Tensor]]) -> pd.DataFrame:
    """The sum of each input's part of the maps, and its share of their absolute values.

    The contributions of an example's inputs add up to the sum of its whole map. Where the method is complete
    (`integrated_gradients`, `deeplift`, Shapley values), that is the output minus the output at the baseline: how much
    of the decision each input made, against a baseline in which none of them says anything. Shares are of the absolute
    values, so that parts that speak for and against do not cancel; they add up to 1.

    Args:
        maps: {task: {input name: [B, *S]}}, as `explain.saliency` gives for inputs by name.

    Returns:
        One row an example, task and input: example, task, input, contribution (in units of the explained output),
        share (0..1; NaN where an example's map is zero all over).

    Raises:
        ValueError: maps of a task that are not by input name.

    Source: shares of absolute values over modalities: Parcalabescu & Frank 2023, "MM-SHAP", equation 2.

    >>> import torch
    >>> maps = {"digit": {"image": torch.tensor([[1.0, -1.0]]), "audio": torch.tensor([[2.0]])}}
    >>> contributions(maps)[["input", "contribution", "share"]].values.tolist()
    [['image', 0.0, 0.5], ['audio', 2.0, 0.5]]
    """
    frames = []
    for task, parts in maps.items():
        if not isinstance(parts, Mapping) or not parts:
            raise ValueError(
                f"contributions: the maps of task '{task}' must be {{input name: tensor}}, as explain.saliency gives "
                "for inputs by name; a lone input has all of the relevance"
            )
        flat = {name: part.flatten(1).double() for name, part in parts.items()}
        whole = sum(part.abs().sum(dim=1) for part in flat.values())
        for name, part in flat.items():
            share = part.abs().sum(dim=1) / whole  # 0 / 0 is NaN: nothing to share
            values = {"contribution": part.sum(dim=1).tolist(), "share": share.tolist()}
            frames.append(pd.DataFrame({"example": range(len(part)), "task": task, "input": name, **values}))
    return pd.concat(frames, ignore_index=True)[COLUMNS] if frames else pd.DataFrame(columns=COLUMNS)
