"""Micro-batches, and random numbers that do not depend on them."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
import torch
from torch import Tensor

MOST, LEAST = 32, 4  # examples a forward pass: more leave the cache of a CPU, and are slower there
VALUES = 2**19  # numbers in the inputs of a forward pass: large images in fewer at a time, for memory


def rows_at_once(shape: torch.Size) -> int:
    """How many examples of this shape [*S] go through a forward pass together: a number that depends on nothing else.

    So memory does not grow with the number of examples, of steps or of windows.

    >>> rows_at_once(torch.Size([1, 36, 36])), rows_at_once(torch.Size([3, 224, 224]))
    (32, 4)
    """
    return max(LEAST, min(MOST, VALUES // max(1, prod(shape))))


def micro_batches(total: int, rows: int) -> Iterator[slice]:
    """Slices of at most ``rows`` that cover 0..total.

    >>> list(micro_batches(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for start in range(0, total, rows):
        yield slice(start, min(start + rows, total))


def stacked(total: int, inputs: Tensor) -> Iterator[range]:
    """Which of ``total`` perturbed copies of ``inputs`` [B, *S] go through a forward pass together.

    >>> list(stacked(5, torch.zeros(16, 3)))
    [range(0, 2), range(2, 4), range(4, 5)]
    """
    together = max(1, rows_at_once(inputs.shape[1:]) // len(inputs))
    for start in range(0, total, together):
        yield range(start, min(start + together, total))


def generator(seed: int, example: int, sample: int = 0) -> torch.Generator:
    """A generator of its own for every (seed, example, sample), on the CPU.

    >>> one, two = (torch.rand(1, generator=generator(0, example=5)) for _ in range(2))
    >>> torch.equal(one, two)
    True
    """
    state = np.random.SeedSequence((seed, example, sample)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


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
    drawn = [
        torch.randn(inputs.shape[1:], generator=generator(seed, example, sample))
        for example in range(first, first + len(inputs))
    ]
    return torch.stack(drawn).to(inputs)
