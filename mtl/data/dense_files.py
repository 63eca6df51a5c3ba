"""NYUv2 and Cityscapes as folders of .npy files, one a picture and kind of label: the layout of LibMTL and MTAN."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtl.data.columns import shares, splits
from mtl.data.task_data import Splits, split_rows
from mtl.dense.tasks import Depth, Normals, Segmentation
from mtl.tasks import Task
from mtl.training.streams import generator

WHERE = "the examples of median-research-group/LibMTL, or lorenmt/mtan"
# the folder of each kind of label, and the shape of its files
KINDS = {"label": "[H, W]", "depth": "[H, W, 1]", "normal": "[H, W, 3]"}


def nyuv2(*, root: str | Path, shrink: int = 1, seed: int = 0) -> Splits:
    """Indoor scenes of 288x384 with three dense tasks: ``segmentation`` (13 classes), ``depth`` (m), ``normal``.

    The tests are the folder ``val``; an eighth of ``train`` is for validation. All is in memory: 10 MiB a picture.

    Args:
        root: a folder with ``train`` and ``val``, in each ``image``, ``label``, ``depth`` and ``normal``, in each
            ``0.npy``, ``1.npy`` and so on.
        shrink: pictures are averaged over so many pixels each way, and of labels one in so many is taken.
        seed: of the split.

    Raises:
        FileNotFoundError: a folder or a file is missing.
        ValueError: a file that cannot be read or is of another shape, or a label outside its range; it is named.

    Source: Silberman et al. 2012; Liu et al. 2019 (MTAN).
    """
    tasks = (Segmentation("segmentation", classes=13), Depth("depth"), Normals("normal"))
    return _folders("nyuv2", root, dict(zip(tasks, KINDS, strict=True)), shrink, seed)


def cityscapes(*, root: str | Path, shrink: int = 1, seed: int = 0) -> Splits:
    """Streets of 128x256 with two dense tasks: ``segmentation`` (7 classes) and ``depth`` (inverse, relative).

    Folders are ``image``, ``label`` and ``depth``; else as `nyuv2`.

    Source: Cordts et al. 2016; Liu et al. 2019 (MTAN).
    """
    tasks = (Segmentation("segmentation", classes=7), Depth("depth", unit="relative inverse depth"))
    return _folders("cityscapes", root, dict(zip(tasks, ("label", "depth"), strict=True)), shrink, seed)


def _folders(name: str, root: str | Path, kinds: dict[Task, str], shrink: int, seed: int) -> Splits:
    if shrink < 1:
        raise ValueError(f"{name}: shrink must be >= 1, got {shrink}")
    base = Path(root).expanduser()
    halves = [_half(name, base / part, kinds, shrink) for part in ("train", "val")]
    sizes = [len(images) for images, _ in halves]
    if halves[0][0].shape[1:] != halves[1][0].shape[1:]:
        raise ValueError(f"{base}: pictures of train and val differ in size")
    parts = split_rows(sizes[0], shares(sizes[0], 7 / 8), generator(seed, name))
    inputs = torch.cat([images for images, _ in halves])
    targets = {task.name: torch.cat([labels[task.name] for _, labels in halves]) for task in kinds}
    return splits(name, tuple(kinds), inputs, targets, [*parts, torch.arange(sizes[0], sum(sizes))])


def _half(name: str, folder: Path, kinds: dict[Task, str], shrink: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Pictures [N, 3, H, W] and labels of one folder."""
    if not (folder / "image").is_dir():
        raise FileNotFoundError(
            f"data set '{name}': there is no folder {folder / 'image'}; get the .npy files from {WHERE}"
        )
    count = len(list((folder / "image").glob("*.npy")))
    if not count:
        raise ValueError(f"data set '{name}': {folder / 'image'} holds no .npy file")
    images = F.avg_pool2d(_stack(folder / "image", count, "[H, W, 3]", _channels_first), shrink)
    height, width = images.shape[2:]
    labels = {}
    for task, kind in kinds.items():
        read = {"label": _classes, "depth": _depth, "normal": _normal}[kind]
        found = _stack(folder / kind, count, KINDS[kind], read)[..., ::shrink, ::shrink][..., :height, :width]
        if found.shape[-2:] != images.shape[2:]:
            raise ValueError(
                f"{folder / kind}: labels of {list(found.shape[-2:])} on pictures of {[height, width]}"
            )
        for number in range(count):
            try:
                task.check(found[number : number + 1], 1)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{folder / kind / f'{number}.npy'}: {error}") from error
        labels[task.name] = found
    return images, labels


def _stack(folder: Path, count: int, shape: str, read: Callable[[np.ndarray], Tensor]) -> Tensor:
    """The files ``0.npy`` to ``count - 1`` of one shape."""
    found: list[Tensor] = []
    for number in range(count):
        file = folder / f"{number}.npy"
        if not file.is_file():
            raise FileNotFoundError(f"{file} is not there; it goes with {count} pictures, numbered from 0")
        try:
            array = np.load(file, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(f"{file} cannot be read (cut off?): {' '.join(str(error).split())}") from error
        channels = {"[H, W]": None, "[H, W, 1]": 1, "[H, W, 3]": 3}[shape]
        fits = array.ndim == 2 if channels is None else array.ndim == 3 and array.shape[2] == channels
        if not fits or array.dtype.kind not in "fiu":
            raise ValueError(f"{file} must be numbers {shape}, got {array.dtype} {list(array.shape)}")
        found.append(read(array))
        if found[-1].shape != found[0].shape:
            raise ValueError(
                f"{file} is of {list(array.shape[:2])} pixels, 0.npy of {list(found[0].shape[-2:])}"
            )
    return torch.stack(found)


def _channels_first(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.moveaxis(array, 2, 0).astype(np.float32))


def _classes(array: np.ndarray) -> Tensor:
    """Classes [H, W], -1 where missing; files hold them as floats too."""
    return torch.from_numpy(array.astype(np.int64))


def _depth(array: np.ndarray) -> Tensor:
    """[H, W], NaN where missing, which files say by 0."""
    depth = torch.from_numpy(array[..., 0].astype(np.float32))
    return torch.where(depth > 0, depth, torch.nan)


def _normal(array: np.ndarray) -> Tensor:
    """Unit vectors [3, H, W], NaN where missing, which files say by (0, 0, 0)."""
    normal = _channels_first(array)
    length = normal.norm(dim=0, keepdim=True)
    return torch.where(length > 0.1, normal / length, torch.nan)
