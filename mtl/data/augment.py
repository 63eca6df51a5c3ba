"""Augmentation of whole batches: ``(images, generator) -> images``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def random_shift(images: Tensor, generator: torch.Generator, *, pixels: int = 2) -> Tensor:
    """Each image [B, C, H, W] moved by up to ``pixels`` in both directions, zeros coming in at the edge.

    >>> image = torch.zeros(1, 1, 5, 5)
    >>> image[0, 0, 2, 2] = 1.0
    >>> float(random_shift(image, torch.Generator().manual_seed(0)).sum())
    1.0
    """
    batch, _, height, width = images.shape
    padded = F.pad(images, (pixels,) * 4)
    offsets = torch.randint(2 * pixels + 1, (2, batch, 1), generator=generator).to(images.device)
    rows = (offsets[0] + torch.arange(height, device=images.device))[:, :, None]  # [B, H, 1]
    columns = (offsets[1] + torch.arange(width, device=images.device))[:, None, :]  # [B, 1, W]
    examples = torch.arange(batch, device=images.device)[:, None, None]
    return padded[examples, :, rows, columns].permute(0, 3, 1, 2)  # indexing puts C last
