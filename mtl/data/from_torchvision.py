"""Any classification set of torchvision as one task, from the files that torchvision itself reads."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mtl.data.columns import shares, splits
from mtl.data.pixels import scaled
from mtl.data.task_data import Splits, split_rows
from mtl.names import unknown
from mtl.tasks import Classification
from mtl.training.streams import generator

LACKING = ("not found", "download=True", "No such file", "does not exist")


def from_torchvision(
    name: str,
    *,
    root: str | Path,
    download: bool = False,
    image_size: int | None = None,
    train: int | None = None,
    test: int | None = None,
    seed: int = 0,
    **options: Any,
) -> Splits:
    """One task, ``class``, of a set in ``torchvision.datasets``: ``mtl.dataset("torchvision/CIFAR10", root="data")``.

    Inputs are [N, C, H, W], a byte a pixel in memory; batches are floats, each channel with the training pictures'
    mean 0 and deviation 1. A tenth
    of the training pictures is for validation, unless the set has its own; a set without a test split: 60/20/20.

    Args:
        name: the class in ``torchvision.datasets``.
        root: the folder that torchvision reads (and downloads into).
        download: let torchvision download what is missing.
        image_size: the shorter side is brought to it and the middle cut out; None: as they are, all of one size.
        train, test: so many pictures, drawn; None: all.
        seed: of what is drawn and split.
        options: of the class itself, such as ``split="letters"`` of EMNIST.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: no such set, one that is no classification, labels out of range, or pictures of several sizes.
    """
    kind = _kind(name)
    takes = inspect.signature(kind).parameters
    how = {"root": str(Path(root).expanduser()), **options}
    if "download" in takes:
        how["download"] = download
    if "train" in takes:
        found = [_open(name, kind, train=part, **how) for part in (True, False)]
    elif "split" in takes and "split" not in options:
        found = [_open(name, kind, split="train", **how)]
        for part in ("val", "valid", "test"):
            if (own := _open(name, kind, optional=True, split=part, **how)) is not None:
                found.append(own)
    else:
        found = [_open(name, kind, **how)]
    draw, limits = generator(seed, name), {0: train, len(found) - 1: test}
    read = [
        _read(name, data, image_size, limits.get(k) if found else None, draw) for k, data in enumerate(found)
    ]
    if len({tuple(pixels.shape[1:]) for pixels, _ in read}) > 1:
        raise ValueError(f"torchvision/{name}: pictures are of several sizes; give image_size=")
    images, labels = torch.cat([pixels for pixels, _ in read]), torch.cat([label for _, label in read])
    parts = _parts([len(label) for _, label in read], draw)
    names = getattr(found[0], "classes", None) or int(labels.max()) + 1
    task = Classification("class", classes=names if isinstance(names, int) else tuple(map(str, names)))
    if int(labels.min()) < 0 or int(labels.max()) >= task.output_size:
        raise ValueError(
            f"torchvision/{name}: labels must be in 0..{task.output_size - 1}, got {int(labels.min())} to "
            f"{int(labels.max())}"
        )
    return splits(f"torchvision/{name}", [task], scaled(images, parts[0]), {"class": labels}, parts)


def pictures_of(name: str, root: str | Path, *, train: bool, download: bool = False) -> tuple[Tensor, Tensor]:
    """One half of a set of 28x28 grey pictures: float [N, 28, 28] in 0..1, and labels [N]."""
    how: dict[str, Any] = {"root": str(Path(root).expanduser()), "train": train, "download": download}
    data = _open(name, _kind(name), **how)
    pixels, labels = _read(name, data, None, None, torch.Generator())
    if tuple(pixels.shape[1:]) != (1, 28, 28):
        raise ValueError(f"torchvision/{name}: expected grey pictures of 28x28, got {list(pixels.shape[1:])}")
    return pixels[:, 0].float() / 255, labels


def _kind(name: str) -> Any:
    import torchvision

    known = [n for n in torchvision.datasets.__all__ if n not in ("FakeData", "ImageFolder", "DatasetFolder")]
    if name not in known:
        raise unknown("data set of torchvision", name, known)
    return getattr(torchvision.datasets, name)


def _open(name: str, kind: Any, *, optional: bool = False, **how: Any) -> Any:
    """The set, or None where it is ``optional`` and has no such split."""
    try:
        return kind(**how)
    except (RuntimeError, OSError) as error:
        told = " ".join(str(error).split())
        if isinstance(error, FileNotFoundError) or any(part in told for part in LACKING):
            raise FileNotFoundError(
                f"data set 'torchvision/{name}': its files are not in {how['root']}; give the root that torchvision "
                "reads, or download=True"
            ) from error
        raise ValueError(f"data set 'torchvision/{name}' in {how['root']} cannot be read: {told}") from error
    except (ValueError, TypeError, EOFError) as error:
        if optional:
            return None
        raise ValueError(f"data set 'torchvision/{name}': {' '.join(str(error).split())}") from error


def _read(
    name: str, data: Dataset[Any], size: int | None, limit: int | None, draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Pictures uint8 [N, C, H, W] and labels [N]."""
    from PIL import ImageOps

    count = len(data)  # type: ignore[arg-type]  # map-style, as all of torchvision's
    if limit is not None and not 1 <= limit <= count:
        raise ValueError(f"torchvision/{name}: it has {count} pictures, {limit} were asked for")
    rows = range(count) if limit is None else split_rows(count, (limit,), draw)[0].tolist()
    pixels: list[np.ndarray] = []
    labels: list[int] = []
    for row in rows:
        picture, label = data[row]
        if not isinstance(picture, Image.Image) or not isinstance(label, int | np.integer):
            raise ValueError(
                f"torchvision/{name} is no classification set: it gives {type(picture).__name__} and "
                f"{type(label).__name__}"
            )
        picture = picture if picture.mode == "L" else picture.convert("RGB")
        if size is not None:
            picture = ImageOps.fit(picture, (size, size), Image.Resampling.BILINEAR)
        pixels.append(np.asarray(picture))
        labels.append(int(label))
        if pixels[-1].shape != pixels[0].shape:
            raise ValueError(
                f"torchvision/{name}: picture {row} is {list(pixels[-1].shape)}, the first is "
                f"{list(pixels[0].shape)}; give image_size="
            )
    images = torch.from_numpy(np.stack(pixels))
    return images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2).contiguous(), torch.tensor(
        labels
    )


def _parts(sizes: list[int], draw: torch.Generator) -> list[Tensor]:
    """Rows of train, validation and test, of one, two or three sets one behind the other."""
    if len(sizes) == 1:
        return split_rows(sizes[0], shares(sizes[0], 0.6, 0.2), draw)
    rows = list(torch.arange(sum(sizes)).split(sizes))
    if len(sizes) == 2:
        learn, check = split_rows(sizes[0], shares(sizes[0], 0.9), draw)
        return [learn, check, rows[1]]
    return rows
