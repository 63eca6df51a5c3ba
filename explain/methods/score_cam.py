"""Score-CAM: channels weighted by the score that is left when only their part of the image is shown."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from explain.batching import stacked
from explain.methods.cam import check, enlarged, run, spread
from explain.methods.cam_layout import Kind
from explain.scorer import Scorer


@dataclass(frozen=True, kw_only=True)
class ScoreCam:
    """Score-CAM: each channel, upsampled and scaled to 0..1, masks the image; the masked scores are its weights.

    The weights are the softmax over channels of score(x * mask) - score(0), in which the baseline's score cancels, so
    it is not computed. All tasks share the masked forwards. A channel that is the same everywhere cannot be scaled to
    0..1; it says nothing of places and takes no part. The map is signed where the activation is, unless ``relu``.
    Source: Wang et al. 2020, section 3 and algorithm 1. Cost: one forward, and one more for each channel.

    Args:
        layer: as in ``grad_cam``.
        relu: keep only the positive part, as the paper does.
        layout: as in ``grad_cam``.
        channels: use only so many channels of each example, those of the largest variance over places; None: all. Not
            in the paper: it bounds the cost.
    """

    layer: str | nn.Module | None = None
    relu: bool = False
    layout: Kind | None = None
    channels: int | None = None

    def __post_init__(self) -> None:
        check("score_cam", self)
        if self.channels is not None and (not isinstance(self.channels, int) or self.channels < 1):
            raise ValueError(f"score_cam: channels must be an integer >= 1, got {self.channels!r}")

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del first, seed
        seen = run("score_cam", self, scorer, inputs, gradients=False)
        activation = seen.activation
        if self.channels is not None and self.channels < activation.shape[1]:
            activation = _most_varied(activation, self.channels)
        scores = _masked_scores(scorer, inputs, seen.place, activation)  # [c, B, K]
        flat = activation.flatten(2).amax(2) == activation.flatten(2).amin(2)  # [B, c]
        scores = scores.masked_fill(flat.T[:, :, None], -torch.inf)
        weights = torch.softmax(scores, dim=0).nan_to_num(
            0.0
        )  # all channels the same everywhere: a map of zeros
        cams = [(w.T[:, :, None, None] * activation).sum(1, keepdim=True) for w in weights.unbind(dim=2)]
        return spread(cams, self.relu, scorer, inputs, seen.place)


def _most_varied(activation: Tensor, channels: int) -> Tensor:
    """The ``channels`` channels [B, channels, h, w] of each example whose variance over places is largest."""
    order = activation.flatten(2).var(2).argsort(dim=1, descending=True, stable=True)[:, :channels]
    return activation.gather(1, order[:, :, None, None].expand(-1, -1, *activation.shape[2:]))


@torch.no_grad()
def _masked_scores(scorer: Scorer, inputs: Tensor, place: int, activation: Tensor) -> Tensor:
    """Scores [c, B, K] of the inputs with the image masked by each channel, scaled to 0..1 at its resolution."""
    parts = scorer.split(inputs)
    image, channels = parts[place], activation.shape[1]
    scores = []
    for some in scorer.steps(list(stacked(channels, inputs))):
        masks = enlarged(activation[:, some.start : some.stop], image)  # [B, n, H, W]
        low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
        masks = (masks - low) / torch.where(high > low, high - low, 1)
        copies = [part.repeat(len(some), *[1] * (part.dim() - 1)) for part in parts]
        copies[place] = copies[place] * masks.transpose(0, 1).flatten(0, 1)[:, None].to(
            image.dtype
        )  # [n B, C, H, W]
        scores.append(scorer(scorer.join(copies)).reshape(len(some), len(inputs), len(scorer.tasks)))
    return torch.cat(scores)
