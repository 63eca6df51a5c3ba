"""Photographs for a classifier: those of a folder, or the ones that come with scikit-image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from mtl.names import unknown
from mtl.training.streams import generator

PACKAGED = ("astronaut", "camera", "chelsea", "coffee", "rocket")  # in scikit-image's wheel, all free to use
SUFFIXES = (".jpg", ".jpeg", ".png")
COMPANIONS = ("_alpha", "_trimap")  # NAME_alpha.png is the matte of NAME; a trimap is not a photograph either
WHERE = (
    "give a folder of .jpg or .png files, where NAME_alpha.png is the matte of NAME; a photograph with its matte is "
    "data/lemur of github.com/pymatting/pymatting (lemur.png, lemur_alpha.png)"
)


@dataclass(frozen=True, eq=False)
class Photographs:
    """Cropped photographs.

    Args:
        names: of the files, without their endings.
        images: float [N, 3, S, S], 0..255.
        mattes: bool [N, S, S], the object's pixels; none where there is no matte.
    """

    names: tuple[str, ...]
    images: Tensor
    mattes: Tensor

    @property
    def has_matte(self) -> Tensor:
        """bool [N]."""
        return self.mattes.flatten(1).any(dim=1)

    def fingerprint(self) -> str:
        """sha256 over names, pixels and mattes."""
        digest = hashlib.sha256(" ".join(self.names).encode())
        for tensor in (self.images, self.mattes):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()


def photographs(
    root: Path | str | None = None,
    *,
    only: Sequence[str] = (),
    size: int = 224,
    share: float = 0.875,
    seed: int = 0,
) -> Photographs:
    """Photographs cropped to squares inside their central square, at a place that the seed draws for each of them.

    Args:
        root: a folder of .jpg and .png files, read as they are (turned as their EXIF says); None: `PACKAGED`.
        only: names (file names without endings) to take; empty: all, by name.
        size: S, pixels of the result's side.
        share: the crop's side as a fraction of the photograph's shorter side.
        seed: of the places.

    Raises:
        ValueError: no such folder, no photograph in it, an unknown name, a file that is no picture, or a matte of
            another size than its photograph.

    >>> photographs(only=["coffee"], size=32).images.shape
    torch.Size([1, 3, 32, 32])
    """
    if size < 1 or not 0 < share <= 1:
        raise ValueError(f"photographs: size >= 1 and 0 < share <= 1, got {size} and {share}")
    files = {} if root is None else _files(Path(root))
    known = tuple(files) or PACKAGED
    for name in only:
        if name not in known:
            raise unknown("photograph", name, known)
    names = tuple(only) or known
    images, mattes = [], []
    for name in names:
        photo, matte = _read(files[name]) if files else _packaged(name)
        box = _crop(photo.size, share, torch.rand(2, generator=generator(seed, f"photographs {name}")))
        images.append(np.asarray(photo.resize((size, size), Image.Resampling.BICUBIC, box)))
        cut = None if matte is None else matte.resize((size, size), Image.Resampling.BILINEAR, box)
        mattes.append(np.zeros((size, size), dtype=bool) if cut is None else np.asarray(cut) > 127)
    return Photographs(
        names,
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float(),
        torch.from_numpy(np.stack(mattes)),
    )


def _files(root: Path) -> dict[str, Path]:
    """{name: file} of the photographs in a folder."""
    if not root.is_dir():
        raise ValueError(f"no photographs: {root} is not a folder; {WHERE}")
    files = {file.stem: file for file in sorted(root.iterdir()) if file.suffix.lower() in SUFFIXES}
    beside = {f"{name}{ending}" for name in files for ending in COMPANIONS}
    found = {name: file for name, file in files.items() if name not in beside}
    if not found:
        raise ValueError(f"no photographs in {root}; {WHERE}")
    return found


def _read(file: Path) -> tuple[Image.Image, Image.Image | None]:
    """A photograph and its matte."""
    photo = _open(file).convert("RGB")
    beside = file.with_name(f"{file.stem}_alpha.png")
    if not beside.is_file():
        return photo, None
    matte = _open(beside).convert("L")
    if matte.size != photo.size:
        raise ValueError(f"{beside} has {matte.size} pixels, its photograph {photo.size}; they must be alike")
    return photo, matte


def _open(file: Path) -> Image.Image:
    try:
        with Image.open(file) as picture:
            return ImageOps.exif_transpose(picture)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file} cannot be read as a picture: {' '.join(str(error).split())}") from error


def _packaged(name: str) -> tuple[Image.Image, None]:
    from skimage import data

    return Image.fromarray(getattr(data, name)()).convert("RGB"), None


def _crop(size: tuple[int, int], share: float, place: Tensor) -> tuple[float, float, float, float]:
    """(left, upper, right, lower) of a square; ``place`` [2] in 0..1 is where it lies inside the central square."""
    shorter = min(size)
    left, upper = (
        (edge - shorter) / 2 + float(p) * (1 - share) * shorter for edge, p in zip(size, place, strict=True)
    )
    return left, upper, left + share * shorter, upper + share * shorter
