"""Micro-batches, and random numbers that do not depend on them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

ROWS = 64  # examples a forward pass: more leave the cache of a CPU, and are slower there


def micro_batches(total: int, rows: int) -> Iterator[slice]:
    """Slices of at most ``rows`` that cover 0..total.

    >>> list(micro_batches(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for start in range(0, total, rows):
        yield slice(start, min(start + rows, total))


def noise_like(inputs: Tensor, seed: int, first: int, sample: int = 0) -> Tensor:
    """Standard normal numbers [B, *S], a stream of its own for every (seed, example, sample).

    So neither the micro-batch nor the other examples change an example's numbers; drawn on the CPU in float32, so that
    every device gets the same.

    Args:
        inputs: [B, *S], whose shape, dtype and device the noise takes.
        seed: the call's seed.
        first: the place of inputs[0] in the whole batch.
        sample: which draw.

    >>> one, two = torch.zeros(1, 3), torch.zeros(2, 3)
    >>> bool((noise_like(two, 0, first=4)[1] == noise_like(one, 0, first=5)[0]).all())
    True
    """
    drawn = []
    for example in range(first, first + len(inputs)):
        state = np.random.SeedSequence((seed, example, sample)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
        drawn.append(torch.randn(inputs.shape[1:], generator=generator))
    return torch.stack(drawn).to(inputs)
