"""Occlusion: the fall of the score when a window of the input is covered."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from captum.attr import Occlusion as CaptumOcclusion
from torch import Tensor

from explain.scorer import Scorer


@dataclass(frozen=True, kw_only=True)
class Occlusion:
    """Score(x) - score(x with a window covered), averaged over the windows that cover a pixel.

    Captum's module on a forward pass that gives the scores of all tasks. Source: Zeiler and Fergus 2014, section 4.2.
    Cost: one forward a window, whatever the number of tasks.

    Args:
        window: side of the window in pixels (all channels are covered); None: a seventh of the side, or one feature
            for an input [B, F].
        stride: step between windows; None: half a window.
        baseline: the value that covers.
    """

    window: int | None = None
    stride: int | None = None
    baseline: float = 0.0

    def __post_init__(self) -> None:
        for name in ("window", "stride"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"occlusion: {name} must be >= 1, got {value}")

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del first, seed
        with torch.no_grad():
            scorer(inputs)  # fixes "predicted", and the number of tasks
        sides = inputs.shape[1:] if inputs.dim() == 2 else inputs.shape[2:]
        if self.window is not None and self.window > min(sides):
            raise ValueError(
                f"occlusion: window {self.window} is larger than the input's sides {list(sides)}"
            )
        default = [1] if inputs.dim() == 2 else [max(1, round(side / 7)) for side in sides]
        window = [self.window or side for side in default]
        stride = [self.stride or max(1, side // 2) for side in window]
        if any(s > w for s, w in zip(stride, window, strict=True)):
            raise ValueError(
                f"occlusion: stride {stride} leaves gaps between windows {window}; give stride <= window"
            )
        channels = [] if inputs.dim() == 2 else [inputs.shape[1]]
        maps = CaptumOcclusion(scorer).attribute(
            inputs,
            sliding_window_shapes=(*channels, *window),
            strides=(*channels, *stride),
            baselines=self.baseline,
        )  # [B * K, *S]
        return list(maps.reshape(len(inputs), -1, *inputs.shape[1:]).unbind(dim=1))
