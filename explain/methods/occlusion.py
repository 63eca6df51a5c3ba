"""Occlusion: the fall of the score when a window of the input is covered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil

import torch
from torch import Tensor

from explain.baselines import Baseline, expanded
from explain.batching import stacked
from explain.coalitions import check_repeatable
from explain.options import check_count
from explain.scorer import Scorer

Sides = int | Sequence[int] | None
Window = tuple[int, tuple[slice, ...]]  # which part of the input, and where in it [*S]


@dataclass(frozen=True, kw_only=True)
class Occlusion:
    """Score(x) - score(x with a window covered), averaged over the windows that cover an element.

    Equal to Captum's module; here copies of the batch stay where they are, and windows are covered and uncovered in
    place. Source: Zeiler and Fergus 2014, section 4.2. Cost: one forward a window, whatever the number of tasks.

    Args:
        window: side of the window in pixels or tokens (all channels are covered), or sides for each dimension [*S] of
            the input; None: a seventh of an image's sides, one token of [B, L, D], one column of [B, F]. Of several
            inputs a number is for the images.
        stride: step between windows, in the same form; None: half a window. The last window of a row is cut off at the
            border where the stride does not divide.
        baseline: what covers: a number, [*S], [B, *S], "zero", "mean" or "blur".
    """

    window: Sides = None
    stride: Sides = None
    baseline: Baseline = 0.0

    def __post_init__(self) -> None:
        for name in ("window", "stride"):
            value = getattr(self, name)
            if value is not None:
                for side in value if isinstance(value, tuple | list) else [value]:
                    check_count("occlusion", name, side)

    @torch.no_grad()
    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del first, seed
        full = scorer(inputs.clone())  # [B, K]; first: this fixes "predicted"
        cover = expanded("occlusion", self.baseline, inputs, scorer)
        check_repeatable("occlusion", scorer, inputs, cover, full)
        parts, covers = scorer.split(inputs), scorer.split(cover)
        windows = self._windows(parts)
        falls = full - _covered(scorer, inputs, parts, covers, windows)  # [W, B, K]
        maps = [part.new_zeros(falls.shape[2], *part.shape) for part in parts]  # [K, B, *S]
        counts = [part.new_zeros(part.shape[1:]) for part in parts]
        for (at, where), fall in zip(windows, falls, strict=True):
            maps[at][:, :, *where] += fall.T.reshape(*fall.T.shape, *[1] * len(where))
            counts[at][where] += 1
        means = [m / count for m, count in zip(maps, counts, strict=True)]
        return [scorer.join([mean[k] for mean in means]) for k in range(falls.shape[2])]

    def _windows(self, parts: Sequence[Tensor]) -> list[Window]:
        """Every window of every part, in the order of the input."""
        windows: list[Window] = []
        if (self.window or self.stride) and len(parts) > 1 and all(part.dim() < 4 for part in parts):
            raise ValueError(
                "occlusion: of several inputs, window and stride are for the images, and there are none"
            )
        for at, part in enumerate(parts):
            shape = part.shape[1:]
            own = len(parts) == 1 or len(shape) >= 3  # a number is not for the words beside an image
            image = tuple(max(1, round(side / 7)) for side in shape[1:])
            default = _sides("window", image if len(shape) >= 3 else 1, shape)
            window = _sides("window", self.window, shape) if own and self.window else default
            half = tuple(
                max(1, side // 2) if side < whole else whole
                for side, whole in zip(window, shape, strict=True)
            )
            stride = _sides("stride", self.stride, shape) if own and self.stride else half
            if any(side > whole for side, whole in zip(window, shape, strict=True)):
                raise ValueError(
                    f"occlusion: window {list(window)} is larger than the input's sides {list(shape)}"
                )
            if any(w < whole and s > w for s, w, whole in zip(stride, window, shape, strict=True)):
                raise ValueError(
                    f"occlusion: stride {list(stride)} leaves gaps between windows {list(window)}; "
                    "give stride <= window"
                )
            starts = [
                [step * s for step in range(ceil((whole - w) / s) + 1)]
                for whole, w, s in zip(shape, window, stride, strict=True)
            ]
            windows += [
                (at, tuple(slice(a, a + w) for a, w in zip(corner, window, strict=True)))
                for corner in product(*starts)
            ]
        return windows


def _sides(option: str, given: int | Sequence[int], shape: torch.Size) -> tuple[int, ...]:
    """One side for each dimension of [*S]: all channels of an image and the whole embedding of a token."""
    moving = range(1, len(shape)) if len(shape) >= 3 else range(1)
    if isinstance(given, int):
        return tuple(given if axis in moving else whole for axis, whole in enumerate(shape))
    if len(given) == len(moving) < len(shape):
        given = (shape[0], *given) if len(shape) >= 3 else (*given, *shape[1:])
    if len(given) != len(shape):
        raise ValueError(
            f"occlusion: {option} must be one number, or {len(shape)} for the input's sides {list(shape)}, "
            f"got {list(given)}"
        )
    return tuple(given)


def _covered(
    scorer: Scorer,
    inputs: Tensor,
    parts: Sequence[Tensor],
    covers: Sequence[Tensor],
    windows: Sequence[Window],
) -> Tensor:
    """Scores [W, B, K] with each window covered."""
    rows, scores = len(inputs), []
    copies: list[Tensor] = []
    for chunk in scorer.steps(list(stacked(len(windows), inputs))):
        if len(copies) == 0 or len(copies[0]) != len(chunk) * rows:
            copies = [part.repeat(len(chunk), *[1] * (part.dim() - 1)) for part in parts]
        here = [(slice(i * rows, (i + 1) * rows), *windows[w]) for i, w in enumerate(chunk)]
        for copy, at, where in here:
            copies[at][copy, *where] = covers[at][:, *where]
        versions = [part._version for part in copies]
        scores.append(scorer(scorer.join(copies)).reshape(len(chunk), rows, -1))
        if versions != [part._version for part in copies]:  # the model writes into its input
            copies = []
            continue
        for copy, at, where in here:  # uncovered again: cheaper than new copies
            copies[at][copy, *where] = parts[at][:, *where]
    return torch.cat(scores)
