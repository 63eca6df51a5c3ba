"""Office-31 and Office-Home: the same things seen in several domains, each domain a task with its own pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mtl.data.columns import splits
from mtl.data.pictures import pictures
from mtl.data.pixels import scaled
from mtl.data.task_data import Splits, split_rows
from mtl.tasks import MISSING, Classification
from mtl.training.streams import generator

DOMAINS_31 = {"amazon": ("amazon",), "dslr": ("dslr",), "webcam": ("webcam",)}
DOMAINS_HOME = {
    "Art": ("Art",),
    "Clipart": ("Clipart",),
    "Product": ("Product",),
    "Real_World": ("Real_World", "Real World"),  # both are met
}
ENDINGS = {".jpg", ".jpeg", ".png", ".bmp"}


def office31(
    *, root: str | Path, image_size: int = 64, cache: str | Path | None = None, seed: int = 0
) -> Splits:
    """Three tasks (amazon, dslr, webcam) of 31 classes; each picture has a label for one of them.

    Split 60/20/20 in each domain. Draw training batches from the domains equally by `mtl.mixture`.

    Args:
        root: a folder with ``amazon``, ``dslr`` and ``webcam``, in each (perhaps below ``images``) a folder a class.
        image_size: the shorter side is brought to it and the middle cut out; a picture takes 3 S² bytes.
        cache: a folder where those bytes are kept, made once and mapped; None: memory.
        seed: of the split.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: classes that are not 31 or differ between domains, a class without a picture, a picture that
            cannot be read.

    Source: Saenko et al. 2010.
    """
    return _office("office31", root, DOMAINS_31, 31, image_size, cache, seed)


def office_home(
    *, root: str | Path, image_size: int = 64, cache: str | Path | None = None, seed: int = 0
) -> Splits:
    """Four tasks (Art, Clipart, Product, Real_World) of 65 classes; else as `office31`.

    Source: Venkateswara et al. 2017.
    """
    return _office("office_home", root, DOMAINS_HOME, 65, image_size, cache, seed)


def _office(
    name: str,
    root: str | Path,
    domains: Mapping[str, tuple[str, ...]],
    classes: int,
    size: int,
    cache: str | Path | None,
    seed: int,
) -> Splits:
    base, draw = Path(root).expanduser(), generator(seed, name)
    names: list[str] = []
    files: list[Path] = []
    labels: dict[str, list[int]] = {}
    parts: list[list[Tensor]] = [[], [], []]
    for domain, spellings in domains.items():
        folder = _folder(name, base, spellings)
        found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        if len(found) != classes or (names and found != names):
            differ = sorted(set(found) ^ set(names)) if names else found
            raise ValueError(
                f"{folder} has {len(found)} folders of classes, expected {classes}, the same in each domain; "
                f"{'different' if names else 'found'}: {', '.join(differ[:5])}"
            )
        names, begin = found, len(files)
        labels[domain] = []
        for label, kind in enumerate(found):
            own = sorted(file for file in (folder / kind).iterdir() if file.suffix.lower() in ENDINGS)
            if not own:
                raise ValueError(f"{folder / kind} holds no picture")
            files += own
            labels[domain] += [label] * len(own)
        count = len(labels[domain])
        learn, check = round(0.6 * count), round(0.2 * count)
        for part, rows in zip(
            parts, split_rows(count, (learn, check, count - learn - check), draw), strict=True
        ):
            part.append(begin + rows)
    whole = [torch.cat(part) for part in parts]
    targets, begin = {}, 0
    for domain, own_labels in labels.items():
        targets[domain] = torch.full((len(files),), MISSING)
        targets[domain][begin : begin + len(own_labels)] = torch.tensor(own_labels)
        begin += len(own_labels)
    tasks = [Classification(domain, classes=tuple(names)) for domain in domains]
    return splits(name, tasks, scaled(pictures(files, size, cache=cache), whole[0]), targets, whole)


def _folder(name: str, base: Path, spellings: tuple[str, ...]) -> Path:
    for spelling in spellings:
        for folder in (base / spelling / "images", base / spelling):
            if folder.is_dir():
                return folder
    raise FileNotFoundError(
        f"data set '{name}': {base} holds no folder {' or '.join(spellings)}; get it from the project page of "
        f"{'Office-31' if name == 'office31' else 'Office-Home'} and unpack it there"
    )
