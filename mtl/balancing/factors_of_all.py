"""Layers as factors among several processes: A and D_t of all examples are gathered, where that is less than rows.

The rows of a linear layer are T in x out numbers to add up and in x out to gather; its factors are n x (in + T out).
Where the examples of the joined batch are few against the layer, they are sent, and every process has the whole layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from mtl.balancing.factors import Factor, all_factors
from mtl.distributed.ranks import Ranks


@dataclass(frozen=True)
class Gathered(Factor):
    """A layer's factor over all processes: ``rows`` is A [n, in] of the joined batch."""

    rows: Tensor

    def given(self) -> Tensor:
        return self.rows


def agreed_factors(
    roots: Sequence[GradientEdge], shared: Sequence[nn.Parameter], tasks: int, together: Ranks
) -> tuple[list[Factor], Tensor]:
    """The layers that every process finds and that are cheaper sent as factors; how many rows each has, [W, layers]."""
    places = {id(p): place for place, p in enumerate(shared)}
    found = {places[id(factor.weight)]: factor for factor in all_factors(roots, shared) or []}
    own = torch.tensor([found[k].n if k in found else -1 for k in range(len(shared))])
    of_all = together.gather(own).view(together.world, -1)
    here = [
        k
        for k in sorted(found)
        if bool((of_all[:, k] >= 0).all()) and _pays(found[k], tasks, int(of_all[:, k].sum()))
    ]
    return [found[k] for k in here], of_all[:, here]


def _pays(factor: Factor, T: int, n: int) -> bool:
    """Whether fewer numbers are sent, and the products [n, n] stay small beside the rows [T, in, out]."""
    fan_in = factor.weight.numel() // factor.out
    return n * (fan_in + T * factor.out) < (T + 1) * fan_in * factor.out and n <= 4 * T * factor.out


def gathered(
    factors: Sequence[Factor], signals: Sequence[Tensor], sizes: Tensor, together: Ranks
) -> tuple[list[Factor], list[Tensor]]:
    """The factors and signals D [T, n, out] over all processes, from those of this one, by one exchange."""
    T = len(signals[0])
    fans = [factor.weight.numel() // factor.out for factor in factors]
    widths = [fan + T * factor.out for fan, factor in zip(fans, factors, strict=True)]  # a row
    longest = int((sizes * torch.tensor(widths)).sum(dim=1).max())
    part = signals[0].new_zeros(longest)
    own = [
        piece.flatten()
        for factor, D in zip(factors, signals, strict=True)
        for piece in ((factor.given() if factor.n else D.new_empty(0)), D)
    ]
    torch.cat([piece.to(part) for piece in own], out=part[: sum(piece.numel() for piece in own)])
    whole = together.gather(part).view(together.world, longest)
    inputs: list[list[Tensor]] = [[] for _ in factors]
    outputs: list[list[Tensor]] = [[] for _ in factors]
    for row, counts in zip(whole, sizes.tolist(), strict=True):
        at = 0
        for k, (factor, n) in enumerate(zip(factors, counts, strict=True)):
            middle, end = at + n * fans[k], at + n * widths[k]
            inputs[k].append(row[at:middle].view(n, fans[k]))
            outputs[k].append(row[middle:end].view(T, n, factor.out))
            at = end
    joined = [
        Gathered(f.node, f.weight, f.bias, sum(counts), f.out, f.outputs_first, torch.cat(A))
        for f, A, counts in zip(factors, inputs, sizes.T.tolist(), strict=True)
    ]
    return list(joined), [torch.cat(D, dim=1) for D in outputs]
