"""Pictures from files, all of one size, with the file and the row that names it in every error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor


def pictures(files: Iterable[Path], size: int | None, *, where: Sequence[str] = ()) -> Tensor:
    """Pictures as uint8 [N, 3, S, S]: the shorter side brought to ``size``, the middle cut out.

    Args:
        files: the pictures.
        size: S; None: as they are, and then all must be of one size.
        where: of each picture what names it, for errors ("labels.csv, row 3").

    Raises:
        FileNotFoundError: a picture that is not there.
        ValueError: one that cannot be read, is cut off, or is of another size than the first.
    """
    found: list[np.ndarray] = []
    for number, file in enumerate(files):
        named = f" ({where[number]})" if where else ""
        try:
            with Image.open(file) as picture:
                upright = ImageOps.exif_transpose(picture).convert("RGB")
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{file} is not there{named}") from error
        except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise ValueError(
                f"{file} cannot be read as a picture{named}: {' '.join(str(error).split())}"
            ) from error
        if size is not None:
            upright = ImageOps.fit(upright, (size, size), Image.Resampling.BILINEAR)
        found.append(np.asarray(upright))
        if found[-1].shape != found[0].shape:
            (height, width, _), (first_height, first_width, _) = found[-1].shape, found[0].shape
            raise ValueError(
                f"{file} is {width}x{height}{named}, the first picture is {first_width}x{first_height}; give "
                "image_size= to bring all to one size"
            )
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).contiguous()


def scaled(images: Tensor, train: Tensor) -> Tensor:
    """Pictures uint8 [N, C, H, W] as floats with the training pictures' mean 0 and deviation 1 in each channel."""
    mean, deviation = channel_moments(images[train])
    return (images.float() - mean[:, None, None]) / deviation[:, None, None]


def channel_moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation [C] of pictures uint8 [N, C, H, W], without a copy of all of them in floats."""
    counts = torch.stack(
        [images[:, c].flatten().bincount(minlength=256) for c in range(images.shape[1])]
    ).double()
    values = torch.arange(256.0, dtype=torch.float64)
    share = counts / counts.sum(dim=1, keepdim=True)
    mean = share @ values
    deviation = (share @ values.square() - mean.square()).clamp(min=0).sqrt()
    return mean.float(), deviation.where(deviation > 0, 1.0).float()
