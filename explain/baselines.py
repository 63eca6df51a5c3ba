"""What stands for "absent": a number, a tensor, or a baseline by name, as a tensor like the inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from explain.names import unknown
from explain.scorer import Scorer

Single = float | str | Tensor
Baseline = Single | Sequence[Single] | Mapping[str, Single]
BaselineSet = float | Tensor | Sequence[Tensor] | Mapping[str, Tensor]
NAMED = ("zero", "mean", "blur")
BLUR = 1 / 7  # standard deviation of the blur, as a fraction of each side


def expanded(name: str, baseline: Baseline, inputs: Tensor, scorer: Scorer) -> Tensor:
    """The baseline of these rows, [B, *S].

    Args:
        name: of the method, for messages.
        baseline: a number; a tensor [*S], or [B, *S] for the whole batch; ``"zero"``; ``"mean"``, of each example (of
            each channel of an image); or ``"blur"``, images through a Gaussian a seventh of their side wide. Where the
            model takes several inputs: one for all, or a tuple or dict with one for each that is explained.
        inputs: [B, *S] of one micro-batch.
        scorer: of the same rows.
    """
    parts = scorer.split(inputs)
    if isinstance(baseline, str):
        if baseline not in NAMED:
            raise unknown(f"baseline of {name}", baseline, NAMED)
        if baseline == "blur" and not any(part.dim() == 4 for part in parts):
            raise ValueError(f"{name}: baseline 'blur' needs an image [B, C, H, W], got {list(inputs.shape)}")
        return scorer.join(
            [
                _named(name, baseline if part.dim() == 4 or baseline != "blur" else "zero", part)
                for part in parts
            ]
        )
    if isinstance(baseline, Tensor | Real):
        return _one(name, baseline, inputs, scorer)
    given = _each(name, baseline, scorer.names)
    return scorer.join([_one(name, one, part, scorer) for one, part in zip(given, parts, strict=True)])


def expanded_set(name: str, baselines: BaselineSet, inputs: Tensor, scorer: Scorer) -> Tensor:
    """A set of baselines [N, *S], the same for every example, from a number, [N, *S], or one set for each input."""
    if isinstance(baselines, float | int):
        if not isfinite(baselines):
            raise ValueError(f"{name}: baselines must be finite, got {baselines}")
        return torch.full_like(inputs[:1], float(baselines))
    if isinstance(baselines, Tensor):
        return _set(name, baselines, inputs)
    given = _each(name, baselines, scorer.names)
    sets = [_set(name, one, part) for one, part in zip(given, scorer.split(inputs), strict=True)]
    if len({len(one) for one in sets}) > 1:
        raise ValueError(
            f"{name}: the baselines of all inputs must be as many, got {[len(one) for one in sets]}"
        )
    return scorer.join(sets)


def _set(name: str, baselines: Any, inputs: Tensor) -> Tensor:
    shape = f"[N, {', '.join(map(str, inputs.shape[1:]))}]"
    if not isinstance(baselines, Tensor):
        raise TypeError(f"{name}: baselines must be a number or {shape}, got {type(baselines).__name__}")
    if baselines.shape[1:] != inputs.shape[1:] or not len(baselines):
        raise ValueError(f"{name}: baselines must be a number or {shape}, got {list(baselines.shape)}")
    if not torch.isfinite(baselines).all():
        raise ValueError(f"{name}: the baselines hold NaN or infinite values")
    return baselines.to(inputs)


def _each(name: str, baseline: Any, names: Sequence[str]) -> list[Any]:
    """One baseline for each explained input."""
    if isinstance(baseline, Mapping) and len(names) > 0 and names != ("",):
        for key in baseline:
            if key not in names:
                raise unknown(f"input of the baseline of {name}", key, names)
        if len(baseline) == len(names):
            return [baseline[key] for key in names]
    if isinstance(baseline, tuple | list) and len(baseline) == len(names) and names != ("",):
        return list(baseline)
    if names == ("",):
        raise TypeError(
            f"{name}: baseline must be a number, a name or a tensor, got {type(baseline).__name__}"
        )
    raise ValueError(
        f"{name}: baseline must be one for all inputs, or a tuple or dict with one for each of {list(names)}, got "
        f"{type(baseline).__name__}" + (f" of {len(baseline)}" if hasattr(baseline, "__len__") else "")
    )


def _one(name: str, baseline: Any, inputs: Tensor, scorer: Scorer) -> Tensor:
    """The baseline of one input [B, *S]."""
    if isinstance(baseline, str):
        return _named(name, baseline, inputs)
    if not isinstance(baseline, Tensor):
        if isinstance(baseline, bool) or not isinstance(baseline, Real):
            raise TypeError(
                f"{name}: baseline must be a number, a name or a tensor, got {type(baseline).__name__}"
            )
        if not isfinite(baseline):
            raise ValueError(f"{name}: baseline must be finite, got {baseline}")
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


def _named(name: str, baseline: str, part: Tensor) -> Tensor:
    if baseline == "zero":
        return torch.zeros_like(part)
    if baseline == "mean":
        return _mean(part)
    if baseline != "blur":
        raise unknown(f"baseline of {name}", baseline, NAMED)
    if part.dim() != 4:
        raise ValueError(f"{name}: baseline 'blur' needs an image [B, C, H, W], got {list(part.shape)}")
    return _blurred(part)


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
