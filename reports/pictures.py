"""Pictures: inputs and signed maps as small palette PNGs, outlines of masks as paths."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

COVERED = 0.995  # of a map's pixels lie inside the colour scale


def scale_end(values: np.ndarray) -> float:
    """Where the colour scale of a map ends: a few pixels of thousands would else leave the rest white."""
    sizes = np.abs(values[np.isfinite(values)])
    return (float(np.quantile(sizes, COVERED)) or float(sizes.max())) if sizes.size else 0.0


def signed_png(values: np.ndarray, scale: float) -> str:
    """A signed map [H, W] as a palette PNG: blue below zero, white at zero, red above; -scale..scale."""
    share = np.nan_to_num(values / scale if scale else values * 0.0)
    return _png(np.clip(np.rint(127 + 127 * share), 0, 254).astype(np.uint8), _PALETTE)


def image_png(values: np.ndarray) -> str:
    """An input [C, H, W] or [H, W]: RGB for three channels, else grey; uint8 as it is, else from minimum to maximum."""
    pixels = np.asarray(values)
    if pixels.dtype != np.uint8:
        values = np.nan_to_num(np.asarray(values, dtype=float))
        low, high = values.min(), values.max()
        pixels = np.rint(255 * (values - low) / (high - low if high > low else 1)).astype(np.uint8)
    if pixels.ndim == 3:
        if len(pixels) == 3:
            return _png(pixels.transpose(1, 2, 0), None)
        pixels = pixels.mean(0).astype(np.uint8)
    return _png(pixels, None)


def outline(mask: np.ndarray) -> str:
    """The border of a mask [H, W] as an SVG path in pixel units, straight runs in one stroke.

    >>> outline(np.array([[True, True]]))
    'M0 0H2M0 1H2M0 0V1M2 0V1'
    """
    padded = np.pad(np.asarray(mask, dtype=bool), 1)
    path = []
    for across in (True, False):
        grid = padded if across else padded.T
        edges = grid[1:, 1:-1] != grid[:-1, 1:-1]  # [rows + 1, columns]: an edge above each pixel
        for line, row in enumerate(edges):
            change = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
            for start, end in zip(change[::2], change[1::2], strict=True):
                path.append(f"M{start} {line}H{end}" if across else f"M{line} {start}V{end}")
    return "".join(path)


def _png(pixels: np.ndarray, palette: bytes | None) -> str:
    picture = Image.fromarray(pixels)
    if palette is not None:
        picture.putpalette(palette)
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _diverging() -> bytes:
    """255 colours from blue over white to red (the ends and middle of ColorBrewer's RdBu)."""
    stops = np.array([[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]], dtype=float)
    at = np.linspace(0, 4, 255)
    rows = np.stack([np.interp(at, range(5), stops[:, c]) for c in range(3)], axis=1)
    return bytes(np.rint(rows).astype(np.uint8).flatten().tolist()) + bytes(3)


_PALETTE = _diverging()
