"""Pictures from files as bytes of one size, with the file and the row that names it in every error."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

AT_ONCE = 256  # pictures that wait for their place
WAY = "1"  # of making pixels from a file; another one makes other cache files


def pictures(
    files: Sequence[Path],
    size: int | None,
    *,
    where: Sequence[str] = (),
    cache: str | Path | None = None,
) -> Tensor:
    """Pictures as uint8 [N, 3, S, S], 3 S² bytes each: the shorter side brought to ``size``, the middle cut out.

    Args:
        files: the pictures.
        size: S; None: as they are, and then all must be of one size.
        where: of each picture what names it, for errors ("labels.csv, row 3").
        cache: a folder for a file of these bytes, which is made once and then mapped, not read: it takes no memory of
            its own, and all processes share it. Pictures that changed since get a new file. None: in memory.

    Raises:
        FileNotFoundError: a picture that is not there.
        ValueError: one that cannot be read, is cut off, or is of another size than the first; more than fits.
    """
    if cache is None:
        return torch.from_numpy(_filled(files, size, where, None))
    folder = Path(cache).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cache: {folder} cannot be made a folder: {error.strerror}") from error
    file = folder / f"pictures-{_state(files, size, where)}.npy"
    if not file.exists():
        part = folder / f"{file.stem}-{uuid.uuid4().hex}.part"  # others may make the same one
        try:
            _filled(files, size, where, part)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    try:
        return torch.from_numpy(np.load(file, mmap_mode="c"))  # "c": never written back
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{file} is cut off or damaged: remove it, and it is made anew") from error


def _filled(files: Sequence[Path], size: int | None, where: Sequence[str], file: Path | None) -> np.ndarray:
    """All pictures [N, 3, H, W], in memory or in a .npy file."""
    whole: np.ndarray | None = None
    for number, pixels in enumerate(_decoded(files, size, where)):
        if whole is None:
            shape = (len(files), *pixels.shape)
            _check_fits(shape, files[0], file)
            whole = (
                np.empty(shape, dtype=np.uint8)
                if file is None
                else np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
            )
        if pixels.shape != whole.shape[1:]:
            (_, height, width), (_, first_height, first_width) = pixels.shape, whole.shape[1:]
            raise ValueError(
                f"{files[number]} is {width}x{height}{_named(where, number)}, the first picture is "
                f"{first_width}x{first_height}; give image_size= to bring all to one size"
            )
        whole[number] = pixels
    if whole is None:
        raise ValueError("there is no picture to read")
    return whole


def _decoded(files: Sequence[Path], size: int | None, where: Sequence[str]) -> Iterator[np.ndarray]:
    """Each picture uint8 [3, H, W], read by as many threads as there are processors (Pillow lets them run)."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, len(files)))
            yield from pool.map(lambda k: _read(files[k], size, _named(where, k)), numbers)


def _read(file: Path, size: int | None, named: str) -> np.ndarray:
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
    return np.asarray(upright).transpose(2, 0, 1)


def _named(where: Sequence[str], number: int) -> str:
    return f" ({where[number]})" if where else ""


def _state(files: Sequence[Path], size: int | None, where: Sequence[str]) -> str:
    """What the bytes follow from: names, lengths and times of change of the files, and what is made of them."""
    digest = hashlib.sha256(f"{WAY} {size}".encode())
    for number, file in enumerate(files):
        try:
            found = file.stat()
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{file} is not there{_named(where, number)}") from error
        digest.update(f"\n{file.absolute()} {found.st_size} {found.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _check_fits(shape: tuple[int, ...], first: Path, file: Path | None) -> None:
    """Raise where the pictures take more than the memory, or the disk of the cache, has left."""
    bytes_, (count, _, height, width) = int(np.prod(shape)), shape
    free = _free_memory() if file is None else shutil.disk_usage(file.parent).free
    if bytes_ > free:
        place = "of memory are free" if file is None else f"are free in {file.parent}"
        advice = "a folder for cache=, " if file is None else "another folder for cache=, "
        raise ValueError(
            f"{first} and {count - 1:,} more pictures of {width}x{height} take {bytes_ / 2**30:.1f} GiB, "
            f"{free / 2**30:.1f} GiB {place}; give {advice}a smaller image_size=, or fewer pictures"
        )


def _free_memory() -> float:
    """Bytes of memory that programs can still have; no limit where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("inf")
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(found[0]) if found else float("inf")
