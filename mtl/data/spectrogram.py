"""Sound as a picture: log-mel spectrograms."""

from __future__ import annotations

import torch
from torch import Tensor


def log_mel(
    waves: Tensor, rate: int, *, bands: int = 32, window: int = 256, hop: int = 250, floor_db: float = 80.0
) -> Tensor:
    """The power of each mel band over time, in dB below the loudest of its own recording, scaled to 0..1.

    Args:
        waves: float [N, S], samples.
        rate: samples a second.
        bands: M, triangular filters of equal width on the mel scale, from 0 to half the rate.
        window, hop: samples of a Hann window, and between two.
        floor_db: what is so much below the loudest, or less, is 0.

    Returns:
        float [N, 1, M, T] in 0..1, low bands first, T = S // hop + 1.

    Source: the mel scale of O'Shaughnessy 1987, 2595 log10(1 + f / 700).

    >>> tone = torch.sin(torch.arange(8000) * 2 * torch.pi * 1000 / 8000)[None]
    >>> picture = log_mel(tone, 8000)
    >>> picture.shape, int(picture.mean(dim=3).argmax())     # 1 kHz lies in band 14 of 32
    (torch.Size([1, 1, 32, 33]), 14)
    """
    spectrum = torch.stft(
        waves, window, hop, window=torch.hann_window(window, dtype=waves.dtype), return_complex=True
    )
    power = _filters(rate, bands, window).to(waves.dtype) @ spectrum.abs().square()  # [N, M, T]
    loudest = power.amax(dim=(1, 2), keepdim=True).clamp_min(1e-20)
    decibel = 10 * torch.log10((power / loudest).clamp_min(1e-20))
    return (1 + decibel / floor_db).clamp_min(0)[:, None]


def _filters(rate: int, bands: int, window: int) -> Tensor:
    """[M, window // 2 + 1] triangles, each from the middle of the band below to that of the band above."""
    frequencies = torch.linspace(0, rate / 2, window // 2 + 1, dtype=torch.float64)
    top = 2595 * torch.log10(torch.tensor(1 + rate / 2 / 700, dtype=torch.float64))
    edges = 700 * (10 ** (torch.linspace(0, float(top), bands + 2, dtype=torch.float64) / 2595) - 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    filters = torch.minimum(rising, falling).clamp_min(0)
    # the lowest bands may be narrower than the step between two frequencies: the nearest one then stands for them
    empty = filters.sum(dim=1) == 0
    nearest = (frequencies - middle).abs().argmin(dim=1)
    filters[empty, nearest[empty]] = 1.0
    return filters
