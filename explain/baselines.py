"""What stands for "absent": a number, a tensor, or a baseline by name, as a tensor like the inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from explain.names import unknown
from explain.scorer import Scorer

Baseline = float | str | Tensor
NAMED = ("zero", "mean", "blur")
BLUR = 1 / 7  # standard deviation of the blur, as a fraction of each side


def expanded(name: str, baseline: Baseline, inputs: Tensor, scorer: Scorer) -> Tensor:
    """The baseline of these rows, [B, *S].

    Args:
        name: of the method, for messages.
        baseline: a number; a tensor [*S], or [B, *S] for the whole batch; ``"zero"``; ``"mean"``, of each example (of
            each channel of an image); or ``"blur"``, images through a Gaussian a seventh of their side wide.
        inputs: [B, *S] of one micro-batch.
        scorer: of the same rows.
    """
    if isinstance(baseline, str):
        return _named(name, baseline, inputs, scorer)
    if not isinstance(baseline, Tensor):
        return torch.full_like(inputs, float(baseline))
    if not torch.isfinite(baseline).all():
        raise ValueError(f"{name}: the baseline holds NaN or infinite values")
    if baseline.shape == inputs.shape[1:]:
        return baseline.to(inputs).expand_as(inputs)
    if baseline.shape == (scorer.total, *inputs.shape[1:]):
        return baseline.to(inputs)[scorer.rows]
    raise ValueError(
        f"{name}: baseline must be a number, {', '.join(map(repr, NAMED))}, {list(inputs.shape[1:])} or "
        f"{[scorer.total, *inputs.shape[1:]]}, got {list(baseline.shape)}"
    )


def _named(name: str, baseline: str, inputs: Tensor, scorer: Scorer) -> Tensor:
    if baseline not in NAMED:
        raise unknown(f"baseline of {name}", baseline, NAMED)
    if baseline == "zero":
        return torch.zeros_like(inputs)
    parts = scorer.split(inputs)
    if baseline == "mean":
        return scorer.join([_mean(part) for part in parts])
    if not any(part.dim() == 4 for part in parts):
        raise ValueError(f"{name}: baseline 'blur' needs an image [B, C, H, W], got {list(inputs.shape)}")
    return scorer.join([_blurred(part) if part.dim() == 4 else torch.zeros_like(part) for part in parts])


def _mean(part: Tensor) -> Tensor:
    """[B, F]: of the row; [B, L, D]: of the tokens; [B, C, *P]: of each channel."""
    axes = (1,) if part.dim() < 4 else tuple(range(2, part.dim()))
    return part.mean(dim=axes, keepdim=True).expand_as(part)


def _blurred(images: Tensor) -> Tensor:
    """Each side through a Gaussian, weights normalised at the border: two matrix products."""
    matrices = []
    for side in images.shape[2:]:
        places = torch.arange(side, device=images.device, dtype=images.dtype)
        weights = (-0.5 * ((places[:, None] - places) / (BLUR * side)).square()).exp()
        matrices.append(weights / weights.sum(dim=1, keepdim=True))
    return matrices[0] @ images @ matrices[1].T
