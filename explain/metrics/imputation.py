"""Pixels from their neighbours: the linear imputation of ROAD, exact, a batch of images in one banded system."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import lapack
from torch import Tensor

# neighbours that come later row by row, and their weights; those that come earlier weigh the same
LATER = ((0, 1, 1 / 6), (1, -1, 1 / 12), (1, 0, 1 / 6), (1, 1, 1 / 12))


def imputed(images: Tensor, gone: Tensor) -> Tensor:
    """Images whose missing pixels are the weighted means of their eight neighbours, missing ones included.

    Direct neighbours weigh 1/6, diagonal ones 1/12, divided by the sum of those inside the image. With the pixels in
    rows the equations of all images make one symmetric positive banded system, no wider than a row of missing pixels; a
    banded Cholesky factorisation in float64 solves it exactly, on the CPU whatever the device. Source: Rong et al.
    2022 (noisy linear imputation). Cost: at most H W (W + 2)^2 multiplications an image, for all its channels.

    Args:
        images: [n, C, H, W].
        gone: bool [n, H, W], the missing pixels; at least one of each image is there.

    >>> imputed(torch.tensor([[[[1.0, 9.0, 4.0]]]]), torch.tensor([[[False, True, False]]])).flatten().tolist()
    [1.0, 2.5, 4.0]
    """
    values, missing = images.detach().cpu().double().numpy(), gone.cpu().numpy()
    height, width = missing.shape[1:]
    number = np.cumsum(missing).reshape(missing.shape) - 1  # of each unknown
    if number.flat[-1] < 0:
        return images
    if missing.reshape(len(missing), -1).all(axis=1).any():
        raise ValueError("road: an image has no pixel left to impute from; lower the fractions")
    entries = []
    for down, right, weight in LATER:
        this = np.s_[:, : height - down, max(0, -right) : width - max(0, right)]
        other = np.s_[:, down:, max(0, right) : width - max(0, -right)]
        both = missing[this] & missing[other]
        first = number[this][both]
        entries.append((number[other][both] - first, first, weight))
    wide = max((int(distance.max()) for distance, _, _ in entries if len(distance)), default=0)
    band = np.zeros((wide + 1, number.flat[-1] + 1), order="F")  # LAPACK's lower banded form
    for distance, first, weight in entries:
        band[distance, first] = -weight
    band[0] = np.broadcast_to(_neighbours(np.ones((1, height, width))), missing.shape)[missing]
    known = _neighbours(np.where(missing[:, None], 0.0, values))
    _, solution, _ = lapack.dpbsv(band, np.moveaxis(known, 1, -1)[missing], lower=1, overwrite_ab=1)
    filled = np.moveaxis(values, 1, -1).copy()
    filled[missing] = solution
    return torch.from_numpy(np.moveaxis(filled, -1, 1)).to(images)


def _neighbours(values: np.ndarray) -> np.ndarray:
    """The weighted sum over the eight neighbours of each pixel, [..., H, W], zeros beyond the border."""
    total = np.zeros_like(values)
    for down, right, weight in LATER:
        height, width = values.shape[-2:]
        this = np.s_[..., : height - down, max(0, -right) : width - max(0, right)]
        other = np.s_[..., down:, max(0, right) : width - max(0, -right)]
        total[this] += weight * values[other]
        total[other] += weight * values[this]
    return total
