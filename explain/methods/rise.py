"""RISE: the mean of random smooth masks, weighted by the scores of the input behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from explain.baselines import Baseline, expanded
from explain.batching import generator, stacked
from explain.coalitions import check_repeatable
from explain.features import thin
from explain.options import check_count
from explain.scorer import Scorer

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True, kw_only=True)
class Rise:
    """The sum of scores times masks, divided by samples times p.

    A mask is a small grid of cells, each kept with probability p, enlarged linearly and moved by less than a cell; of
    [B, F] columns and of [B, L, D] tokens are kept or not, each by itself. The masks are the same for all examples.
    As in the paper an element's value is the mean score where it is kept, so that a map lies around the mean score of
    masked inputs and only differences within it say something; ``centred`` takes that score off first: 0 then means
    that keeping the element makes no difference, and the map is much less noisy at the same cost.
    Source: Petsiuk et al. 2018, equation 6 and section 3.2. Cost: ``samples`` forwards, whatever the number of tasks.

    Args:
        samples: masks; 4000 to 8000 in the paper.
        cells: of the grid along each side of an image, fewer where the side is shorter.
        p: the probability that a cell is kept.
        centred: whether scores are taken relative to their mean over the masks.
        baseline: what is behind the masks: a number, [*S], [B, *S], "zero", "mean" or "blur".
    """

    samples: int = 1000
    cells: int = 7
    p: float = 0.5
    centred: bool = False
    baseline: Baseline = 0.0

    def __post_init__(self) -> None:
        for name in ("samples", "cells"):
            check_count("rise", name, getattr(self, name))
        if not (isinstance(self.p, float) and 0 < self.p < 1):
            raise ValueError(f"rise: p must be between 0 and 1, got {self.p}")

    @torch.no_grad()
    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del first
        full = scorer(inputs.clone())  # first: "predicted" means the prediction here
        parts = scorer.split(inputs)
        baseline = expanded("rise", self.baseline, inputs, scorer)
        check_repeatable("rise", scorer, inputs, baseline, full)
        behind = scorer.split(baseline)
        draws = [self._draws(part, generator(seed, 0, i)) for i, part in enumerate(parts)]
        sums: list[Tensor] = []  # of scores times masks, of masks, of scores
        for chunk in scorer.steps(list(stacked(self.samples, inputs))):
            masks = [_masks(part, drawn, chunk) for part, drawn in zip(parts, draws, strict=True)]
            scores = self._scores(scorer, parts, behind, masks).reshape(len(chunk), *full.shape)
            flat, scores = torch.cat([m.flatten(1) for m in masks], dim=1).double(), scores.double()  # [n, P]
            new = [torch.einsum("nbk,np->kbp", scores, flat), flat.sum(0), scores.sum(0)]
            sums = [a + b for a, b in zip(sums, new, strict=True)] if sums else new
        weighted, kept, scored = sums
        if self.centred:
            weighted = weighted - (scored / self.samples).T[:, :, None] * kept
        return self._maps(scorer, parts, weighted / (self.samples * self.p))

    def _draws(self, part: Tensor, stream: torch.Generator) -> tuple[Tensor, Tensor]:
        """All masks before they are enlarged, and how far each is moved: the same for all examples.

        So they cost little, and neither the micro-batch nor other examples change anything.
        """
        shape = thin(part)
        if part.dim() >= 4:
            shape = (1, *(min(self.cells, side) for side in part.shape[2:]))
        kept = torch.rand(self.samples, *shape, generator=stream) < self.p
        return kept, torch.rand(self.samples, len(shape) - 1, generator=stream)

    def _scores(
        self, scorer: Scorer, parts: Sequence[Tensor], behind: Sequence[Tensor], masks: Sequence[Tensor]
    ) -> Tensor:
        """[n B, K]."""
        mixed = [
            torch.lerp(low, part, mask[:, None]).flatten(0, 1)
            for low, part, mask in zip(behind, parts, masks, strict=True)
        ]
        return scorer(scorer.join(mixed))

    def _maps(self, scorer: Scorer, parts: Sequence[Tensor], values: Tensor) -> list[Tensor]:
        """From [K, B, P], a value for each element of a mask, to K maps like the inputs."""
        shapes = [thin(part) for part in parts]
        pieces = values.split([prod(shape) for shape in shapes], dim=2)
        maps = [
            piece.reshape(*piece.shape[:2], *shape).expand(-1, *part.shape).to(part)
            for piece, shape, part in zip(pieces, shapes, parts, strict=True)
        ]
        return [scorer.join([m[k] for m in maps]) for k in range(len(values))]


def _masks(part: Tensor, drawn: tuple[Tensor, Tensor], chunk: range) -> Tensor:
    """The masks of these samples: [n, 1, *P] for images, [n, L, 1] for tokens, [n, F] for columns."""
    kept, moved = (d[chunk.start : chunk.stop] for d in drawn)
    if part.dim() < 4:
        return kept.to(part)
    sides, cells = part.shape[2:], kept.shape[2:]
    lengths = [ceil(side / along) for side, along in zip(sides, cells, strict=True)]
    large = [(along + 1) * length for along, length in zip(cells, lengths, strict=True)]
    whole = interpolate(kept.float(), size=large, mode=MODES[len(sides)], align_corners=False)
    starts = (moved * torch.tensor(lengths)).long().tolist()
    windows = [[slice(a, a + side) for a, side in zip(start, sides, strict=True)] for start in starts]
    return torch.stack([mask[:, *window] for mask, window in zip(whole, windows, strict=True)]).to(part)
