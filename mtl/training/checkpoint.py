"""Checkpoints: a folder with the weights as safetensors and the rest of a run's state, replaced as a whole.

A checkpoint is written as ``NAME.new``, then ``NAME`` is moved to ``NAME.old`` and ``NAME.new`` to ``NAME``. Whenever
the process is killed, a whole checkpoint is there: `whole` says where.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_model, save_model
from torch import nn

WEIGHTS, STATE = "model.safetensors", "state.pt"


def save_checkpoint(folder: Path, model: nn.Module, state: Mapping[str, Any]) -> None:
    """Replace the checkpoint ``folder`` by ``model.safetensors`` and ``state.pt``, both or none.

    Args:
        folder: ``checkpoints/last``, say; made with its parents.
        model: its parameters and buffers, tied ones once.
        state: plain containers and tensors, which ``torch.load(weights_only=True)`` reads; with a number ``step``.

    Raises:
        OSError: no room, no permission; it names the file, and the checkpoint of before is still there.
    """
    new, old = _beside(folder)
    file = new
    try:
        if not folder.exists() and old.exists():
            whole(folder).replace(folder)
        for left in (new, old):
            if left.exists():
                shutil.rmtree(left)
        new.mkdir(parents=True)
        file = new / WEIGHTS
        save_model(model, str(file), metadata={"step": str(state["step"])})
        _sync(file)
        file = new / STATE
        with file.open("wb") as stream:
            torch.save(dict(state), stream)
            stream.flush()
            os.fsync(stream.fileno())
        _sync(new)
        file = folder
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        _sync(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    except Exception as error:  # safetensors and torch raise types of their own for a full disk
        shutil.rmtree(new, ignore_errors=True)
        kept = "; the checkpoint of before is intact" if whole(folder).exists() else ""
        raise OSError(f"cannot write the checkpoint {file}: {_reason(error)}{kept}") from error


def whole(folder: Path) -> Path:
    """Where the newest whole checkpoint of this name is; ``folder`` itself unless the process was killed in between."""
    new, old = _beside(folder)
    if folder.exists() or not old.exists():
        return folder
    return new if new.exists() else old  # the old one is moved only when the new one is whole


def load_state(folder: Path) -> dict[str, Any]:
    """``state.pt`` of a checkpoint, after a look at whether both files are of the same step.

    Raises:
        ValueError: a file that is missing, damaged, or of another step than the other.
    """
    found = whole(folder)
    for name in (WEIGHTS, STATE):
        if not (found / name).is_file():
            raise ValueError(f"the checkpoint {found} is incomplete: {name} is missing")
    try:
        state = torch.load(found / STATE, map_location="cpu", weights_only=True)
        step = int(state["step"])
    except Exception as error:  # a torn pickle raises whatever its bytes lead to
        raise ValueError(f"{found / STATE} is damaged: {_reason(error)}") from error
    written = weights_step(folder)
    if written != step:
        raise ValueError(f"{found}: {STATE} is of step {step}, {WEIGHTS} of step {written}")
    return dict(state)


def weights_step(folder: Path) -> int | None:
    """The step that the weights of a checkpoint are of; None where there are none, or they do not tell.

    Raises:
        ValueError: a damaged file.
    """
    file = whole(folder) / WEIGHTS
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as weights:
            step = (weights.metadata() or {}).get("step", "")
    except Exception as error:  # a type of its own
        raise ValueError(f"{file} is damaged: {_reason(error)}") from error
    return int(step) if step.isdigit() else None


def load_weights(folder: Path | str, model: nn.Module) -> None:
    """Read the weights of a checkpoint folder into ``model``.

    Raises:
        ValueError: no such checkpoint, or weights of another model.

    >>> import tempfile
    >>> first, second = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     save_checkpoint(Path(parent) / "last", first, {"step": 3})
    ...     load_weights(Path(parent) / "last", second)
    >>> bool((first.weight == second.weight).all())
    True
    """
    file = whole(Path(folder)) / WEIGHTS
    if not file.is_file():
        raise ValueError(f"no checkpoint in {folder}: {file.name} is missing")
    try:
        load_model(model, str(file))
    except Exception as error:  # safetensors raises its own types for torn files and RuntimeError for others
        raise ValueError(f"{file} does not fit this model or is damaged: {_reason(error)}") from error


def _beside(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
