"""Work on [T, P] matrices coordinate by coordinate, in blocks of columns, so that what comes between fits in the
cache: whole temporaries of 100 MB cost five times as much, most of it for pages that the system has to find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

_NUMBERS = 1 << 18  # in a block


def blocks(matrix: Tensor) -> Iterator[slice]:
    """Slices of the columns of ``matrix`` [T, P], in order.

    >>> import torch
    >>> list(blocks(torch.empty(2, 300_000)))
    [slice(0, 131072, None), slice(131072, 262144, None), slice(262144, 300000, None)]
    """
    T, P = matrix.shape
    width = max(1024, _NUMBERS // max(T, 1))
    for start in range(0, P, width):
        yield slice(start, min(start + width, P))


def by_columns(function: Callable[..., Tensor], matrix: Tensor, *others: Tensor) -> Tensor:
    """``function`` of blocks of columns of a matrix [T, P] and of others [..., P]; its results [P] put together.

    >>> import torch
    >>> by_columns(lambda rows: rows.amax(dim=0), torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
    tensor([3., 2.])
    """
    found = matrix.new_empty(matrix.shape[1])
    for block in blocks(matrix):
        found[block] = function(matrix[:, block], *(other[..., block] for other in others))
    return found
