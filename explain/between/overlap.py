"""Do two tasks look at the same evidence, and more so than by chance?"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import prod

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import Tensor

from explain.between.chance import holm, orders, p_value
from explain.between.maps import Map, checked, flat, mass, places
from explain.names import unknown

NULLS = ("images", "shifts", "shuffles")
AT_ONCE = 2**22  # numbers of displaced maps in memory


def overlap(
    maps: Mapping[str, Map],
    *,
    null: str = "images",
    by: str = "pair",
    top: float = 0.1,
    channels: str = "sum",
    draws: int = 999,
    seed: int = 0,
) -> pd.DataFrame:
    """How much the maps of every two tasks overlap, beside what unrelated maps would.

    | measure | what it is | range |
    |---|---|---|
    | ``cosine`` | of the signed maps: same evidence with the same sign | -1..1 |
    | ``rank_correlation`` | Spearman's, of the absolute values: same order of importance | -1..1 |
    | ``top_iou`` | intersection over union of the ``top`` largest absolute values | 0..1 |
    | ``shared_mass`` | sum of min(p, q), p and q the absolute maps of unit sum (Swain and Ballard 1991, eq. 1) | 0..1 |

    Values that tie at the edge of the top belong to it by the share that fits, so that the order of a map's pixels
    does not matter; zeros never belong. Of a map of zeros every measure is NaN, of a constant one the rank correlation.

    Maps of any two tasks overlap to some degree: objects are in the middle, and a map is smooth or sparse for
    reasons of its own. So each value stands beside a null distribution, which is a choice of question:

    - ``"images"``: task a's map of an image beside task b's map of *another* image. Controls for what the maps of all
      images share: the middle, fixed regions. Asks: do the tasks agree on *this* image? Tasks that read fixed places
      (a linear model) agree on every image alike, and so are never significant: look at the value, and at "shifts".
    - ``"shifts"``: b's maps, all moved by the same way around the edges. Keeps the maps' smoothness and what they have
      in common. Asks: are the places the same? Objects in the middle of every image count as agreement here.
    - ``"shuffles"``: the elements in another order, the same for all examples. For features of a table, which have no
      neighbours; for images it calls any two smooth maps related.

    No null controls for the image's content: a method that multiplies by the input puts every map on the ink. Compare
    with a control given as one more task, ``overlap({**maps, "image": images})``, or with maps of an untrained head.

    Args:
        maps: {task: [B, *S]}, as `explain.saliency` gives; of several inputs too.
        null: one of the above.
        by: "pair": a row for two tasks and a measure, averaged over the examples; "example": a row an example.
        top: which fraction of the elements is the top.
        channels: "sum": images [B, C, H, W] are compared pixel by pixel; "each": element by element.
        draws: random orders or displacements; all are taken where there are no more.
        seed: of the draws.

    Returns:
        task_a, task_b, measure, value; null_mean, null_low, null_high: mean and 2.5 and 97.5% quantiles of the null;
        p_value: two-sided, the observed arrangement counted among the draws: with n images of null "images" no less
        than 1 / n for an example, and 1 / min(n!, draws + 1) for a pair. By pair also p_holm, corrected over the pairs
        of tasks within a measure (Holm 1979), and examples: how many the mean is over. By example also example; its
        p-values are not corrected.

    Raises:
        ValueError: fewer than two tasks, maps of different shapes or not finite, unknown names, options out of range.

    Cost: no forward pass; for N elements, B^2 N a pair and measure with "images", draws B N with the others.

    >>> same = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    >>> frame = overlap({"a": same, "b": 2 * same})
    >>> frame["value"].round(6).tolist(), bool((frame["p_value"] == 1 / 24).all())  # one order in 4!
    ([1.0, 1.0, 1.0, 1.0], True)
    """
    options = {
        "null": (null, NULLS),
        "by": (by, ("pair", "example")),
        "channels": (channels, ("sum", "each")),
    }
    for option, (value, known) in options.items():
        if value not in known:
            raise unknown(option, value, known)
    if not 0 < top < 1:
        raise ValueError(f"top must be a fraction between 0 and 1, got {top}")
    if not isinstance(draws, int) or draws < 1:
        raise ValueError(f"draws must be an integer >= 1, got {draws!r}")
    compared = {task: places(parts, channels) for task, parts in checked(maps, at_least=2).items()}
    first = next(iter(compared.values()))
    moves = None if null == "images" else partial(_moves, null, first, draws, seed)
    examples, pairs = [], []
    for name, measure in _measures(top).items():
        points = {task: measure.embed(flat(parts)) for task, parts in compared.items()}
        for a, b in combinations(points, 2):
            row = {"task_a": a, "task_b": b, "measure": name}
            table = _against(measure.compare, points[a], points[b], moves)
            if by == "example":
                examples += [{"example": i, **row, **entry} for i, entry in table.examples()]
            else:
                pairs.append({**row, **table.pair(draws, seed)})
    if by == "example":
        frame = pd.DataFrame(examples)
        return frame.sort_values(["task_a", "task_b", "example"], kind="stable", ignore_index=True)
    frame = pd.DataFrame(pairs)
    frame.insert(8, "p_holm", frame.groupby("measure")["p_value"].transform(lambda p: holm(p.to_numpy())))
    return frame


@dataclass(frozen=True)
class _Measure:
    """embed: maps [B, N] -> [B, N], NaN rows where not defined; compare: of those [n, N] x [m, N] -> [n, m]."""

    embed: Callable[[Tensor], Tensor]
    compare: Callable[[Tensor, Tensor], Tensor]


def _measures(top: float) -> dict[str, _Measure]:
    return {
        "cosine": _Measure(_unit, lambda a, b: a @ b.T),
        "rank_correlation": _Measure(_ranks, lambda a, b: a @ b.T),
        "top_iou": _Measure(lambda maps: _membership(maps, top), _iou),
        # min(p, q) = (p + q - |p - q|) / 2
        "shared_mass": _Measure(_mass, lambda a, b: 1 - torch.cdist(a, b, p=1) / 2),
    }


def _unit(maps: Tensor) -> Tensor:
    largest = maps.abs().amax(1, keepdim=True)
    scaled = maps / largest  # NaN where the map is zero
    return scaled / scaled.norm(dim=1, keepdim=True)


def _ranks(maps: Tensor) -> Tensor:
    ranks = torch.from_numpy(rankdata(maps.abs().numpy(), axis=1))
    ranks = ranks - ranks.mean(1, keepdim=True)
    return ranks / ranks.norm(dim=1, keepdim=True)


def _mass(maps: Tensor) -> Tensor:
    return torch.where(maps.any(dim=1, keepdim=True), mass(maps), torch.nan)


def _membership(maps: Tensor, top: float) -> Tensor:
    """[B, N]: the chance that an element is in the top when ties are broken at random; NaN where the map is zero."""
    amounts = maps.abs()
    k = max(1, round(top * amounts.shape[1]))
    edge = amounts.topk(k, dim=1).values[:, -1:]
    above, tied = amounts > edge, (amounts == edge) & (edge > 0)
    share = (k - above.sum(1, keepdim=True)).double() / tied.sum(1, keepdim=True).clamp(min=1)
    return torch.where(amounts.any(dim=1, keepdim=True), above + tied * share, torch.nan)


def _iou(a: Tensor, b: Tensor) -> Tensor:
    sizes = a.sum(1)[:, None] + b.sum(1)[None]
    both = (sizes - torch.cdist(a, b, p=1)) / 2  # the sum of min
    return both / (sizes - both)


@dataclass(frozen=True)
class _Table:
    """values [B, D] of one measure for two tasks, by example and draw; observed [B] is one of the draws.

    Where ``images``, D = B and column j has task b's map of image j; else column 0 is the observed one.
    """

    values: np.ndarray
    images: bool

    @property
    def observed(self) -> np.ndarray:
        return np.diagonal(self.values) if self.images else self.values[:, 0]

    def examples(self) -> Iterator[tuple[int, dict[str, float]]]:
        for i, value in enumerate(self.observed):
            draws = self.values[i][~np.isnan(self.values[i])]
            others = np.delete(self.values[i], i if self.images else 0)
            others = others[~np.isnan(others)]
            centre = float(draws.mean()) if len(draws) else np.nan
            yield i, {"value": float(value), **_summary(others), "p_value": p_value(value, draws, centre)}

    def pair(self, draws: int, seed: int) -> dict[str, float]:
        defined = np.flatnonzero(~np.isnan(self.observed))
        n = len(defined)
        if n == 0:
            nothing = dict.fromkeys(["value", "null_mean", "null_low", "null_high", "p_value"], np.nan)
            return {**nothing, "examples": 0}
        value = float(self.observed[defined].mean())
        if self.images:
            square = self.values[np.ix_(defined, defined)]
            arranged = orders(n, draws, seed)
            means = square[np.arange(n), arranged].mean(axis=1)  # [D]; the first is the observed arrangement
            centre = float(square.mean())  # the exact mean over all orders
            # what another image gives: the mean without the observed pairs
            apart = (square.sum() - np.trace(square)) / (n * (n - 1)) if n > 1 else np.nan
            summary = {**_summary(means[1:]), "null_mean": float(apart)}
        else:
            means = self.values[defined].mean(axis=0)
            centre, summary = float(means.mean()), _summary(means[1:])
        return {"value": value, **summary, "p_value": p_value(value, means, centre), "examples": n}


def _summary(draws: np.ndarray) -> dict[str, float]:
    if not len(draws):
        return dict.fromkeys(["null_mean", "null_low", "null_high"], np.nan)
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"null_mean": float(draws.mean()), "null_low": float(low), "null_high": float(high)}


def _against(
    compare: Callable[[Tensor, Tensor], Tensor],
    a: Tensor,
    b: Tensor,
    moves: Callable[[], Iterator[Tensor]] | None,
) -> _Table:
    if moves is None:
        return _Table(compare(a, b).numpy(), images=True)
    pieces = []
    for index in moves():  # [d, N]
        rows = [compare(mine[None], other[index])[0] for mine, other in zip(a, b, strict=True)]
        pieces.append(torch.stack(rows))
    return _Table(torch.cat(pieces, dim=1).numpy(), images=False)


def _moves(null: str, parts: list[Tensor], draws: int, seed: int) -> Iterator[Tensor]:
    """Orders of the elements [d, N] for "shifts" and "shuffles", some at a time; the first changes nothing."""
    elements = sum(part[0].numel() for part in parts)
    together = max(1, AT_ONCE // elements)
    if null == "shuffles":
        yield from torch.from_numpy(orders(elements, draws, seed)).split(together)
        return
    # every way of moving each part around its sides, as one number; channels move together
    sides = [tuple(part.shape[-2:]) if part.dim() > 2 else tuple(part.shape[1:]) for part in parts]
    ways = prod(prod(side) for side in sides)
    many = ways - 1 > draws
    chosen = [0, *random.Random(seed).sample(range(1, ways), draws)] if many else list(range(ways))
    for start in range(0, len(chosen), together):
        yield torch.stack([_moved(parts, sides, way) for way in chosen[start : start + together]])


def _moved(parts: list[Tensor], sides: list[tuple[int, ...]], way: int) -> Tensor:
    pieces, offset = [], 0
    for part, side in zip(parts, sides, strict=True):
        way, here = divmod(way, prod(side))
        index = torch.arange(offset, offset + part[0].numel()).reshape(part.shape[1:])
        shift = [int(s) for s in np.unravel_index(here, side)]
        pieces.append(index.roll(shift, dims=list(range(-len(side), 0))).flatten())
        offset += index.numel()
    return torch.cat(pieces)
