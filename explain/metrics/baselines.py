"""What stands for an input that is absent: a number, a tensor, the mean of each channel, or the blurred image."""

from __future__ import annotations

from math import isfinite

import torch
from torch import Tensor

from explain.names import unknown
from explain.scorer import Scorer

Baseline = float | str | Tensor
NAMED = ("zero", "mean", "blur")
BLUR = 1 / 7  # standard deviation of the blur, as a fraction of each side


def expanded(name: str, baseline: Baseline, inputs: Tensor, scorer: Scorer) -> Tensor:
    """The baseline of these rows, [B, *S] like ``inputs``.

    Args:
        name: whose option it is, for messages.
        baseline: a number; a tensor [*S], or [B, *S] for the whole batch; ``"zero"``; ``"mean"``, of each
            example (of each channel of an image); or ``"blur"``, images through a Gaussian a seventh of their side
            wide.
        inputs: [B, *S], joined where there are several.
        scorer: of the same rows.

    """
    shape, whole = inputs.shape[1:], (scorer.total, *inputs.shape[1:])
    if isinstance(baseline, str):
        if baseline not in NAMED:
            raise unknown(f"baseline of {name}", baseline, NAMED)
        parts = scorer.split(inputs)
        if baseline == "blur" and not any(part.dim() == 4 for part in parts):
            raise ValueError(f"{name}: baseline 'blur' needs an image [B, C, H, W], got {list(inputs.shape)}")
        fill = {"mean": _mean, "blur": _blurred}.get(baseline)
        return torch.zeros_like(inputs) if fill is None else scorer.join([fill(part) for part in parts])
    if isinstance(baseline, Tensor):
        if baseline.shape not in (shape, whole):
            raise ValueError(
                f"{name}: baseline must be a number, {', '.join(map(repr, NAMED))}, {list(shape)} or {list(whole)}, "
                f"got {list(baseline.shape)}"
            )
        if not torch.isfinite(baseline).all():
            raise ValueError(f"{name}: the baseline holds NaN or infinite values")
        baseline = baseline.detach().to(inputs)
        return baseline[scorer.rows] if baseline.shape == whole else baseline.expand_as(inputs)
    if isinstance(baseline, bool) or not isinstance(baseline, int | float):
        raise TypeError(
            f"{name}: baseline must be a number, a name or a tensor, got {type(baseline).__name__}"
        )
    if not isfinite(baseline):
        raise ValueError(f"{name}: baseline must be finite, got {baseline}")
    return torch.full_like(inputs, float(baseline))


def _mean(part: Tensor) -> Tensor:
    axes = (1,) if part.dim() < 4 else tuple(range(2, part.dim()))
    return part.mean(dim=axes, keepdim=True).expand_as(part)


def _blurred(part: Tensor) -> Tensor:
    """Each side through a Gaussian whose weights add up to one at the border too; zeros where it is no image."""
    if part.dim() != 4:
        return torch.zeros_like(part)
    matrices = []
    for side in part.shape[2:]:
        places = torch.arange(side, device=part.device, dtype=part.dtype)
        weights = (-0.5 * ((places[:, None] - places) / (BLUR * side)).square()).exp()
        matrices.append(weights / weights.sum(dim=1, keepdim=True))
    return matrices[0] @ part @ matrices[1].T
