"""Inner products and weighted sums of the rows of a [T, P] matrix, in float64 and without a float64 copy of it."""

from collections.abc import Iterator

import torch
from torch import Tensor

_SCRATCH = 1 << 17  # float64 numbers converted at a time on a CPU (1 MiB: it stays in the cache)
_SCRATCH_ACCELERATOR = 1 << 24  # 128 MiB: few launches


def gramian(rows: Tensor) -> Tensor:
    """Inner products of the rows of ``rows`` [T, P], as [T, T] float64 on the rows' device.

    Cost: T^2 P multiplications in float64; memory: one block of columns.

    >>> gramian(torch.tensor([[1.0, 2.0], [0.0, 3.0]], dtype=torch.float16))
    tensor([[5., 6.],
            [6., 9.]], dtype=torch.float64)
    """
    T = rows.shape[0]
    products = torch.zeros(T, T, dtype=torch.float64, device=rows.device)
    for _, block in _blocks(rows):
        products.addmm_(block, block.T)
    return products


def weighted_sum(weights: Tensor, rows: Tensor) -> Tensor:
    """``weights`` [T] times ``rows`` [T, P], summed in float64 and rounded once: [P] in the rows' dtype.

    >>> weighted_sum(torch.tensor([1.0, 0.5]), torch.tensor([[1.0, 2.0], [4.0, 2.0]]))
    tensor([3., 3.])
    """
    if rows.dtype == torch.float64:
        return weights.to(rows) @ rows
    factors = weights.to(device=rows.device, dtype=torch.float64)
    total = torch.empty(rows.shape[1], dtype=rows.dtype, device=rows.device)
    for start, block in _blocks(rows):
        total[start : start + block.shape[1]] = factors @ block
    return total


def cosines(products: Tensor) -> Tensor:
    """Cosines between the rows of which ``products`` [..., T, T] is the Gramian; NaN where a row is zero.

    >>> cosines(torch.tensor([[4.0, -2.0], [-2.0, 1.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    lengths = norms(products)
    lengths = torch.where(lengths > 0, lengths, torch.nan)
    return (products / lengths[..., None] / lengths[..., None, :]).clamp(-1.0, 1.0)


def norms(products: Tensor) -> Tensor:
    """Norms of the rows of which ``products`` [..., T, T] is the Gramian: [..., T]."""
    return products.diagonal(dim1=-2, dim2=-1).clamp(min=0.0).sqrt()


def _blocks(rows: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Blocks of columns in float64 with the column each starts at; a block is valid until the next is asked for."""
    T, P = rows.shape
    if rows.dtype == torch.float64:
        yield 0, rows
        return
    width = max(1024, (_SCRATCH if rows.device.type == "cpu" else _SCRATCH_ACCELERATOR) // max(T, 1))
    scratch = torch.empty(T, min(width, P), dtype=torch.float64, device=rows.device)
    for start in range(0, P, width):
        part = rows[:, start : start + width]
        block = scratch[:, : part.shape[1]]
        block.copy_(part)
        yield start, block
