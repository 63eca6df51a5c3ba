"""Checkpoints: weights as safetensors, the optimizer's state beside them, each file written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from torch import nn
from torch.optim import Optimizer


def save_checkpoint(folder: Path, model: nn.Module, optimizer: Optimizer, step: int) -> None:
    """Write ``model.safetensors`` and ``state.pt`` (step and optimizer; loads with ``weights_only=True``)."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "model.safetensors.tmp"
    save_model(model, str(temporary))  # knows tied weights
    temporary.replace(folder / "model.safetensors")
    temporary = folder / "state.pt.tmp"
    with temporary.open("wb") as file:
        torch.save({"step": step, "optimizer": optimizer.state_dict()}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / "state.pt")


def load_weights(folder: Path | str, model: nn.Module) -> None:
    """Read the weights of a checkpoint folder into ``model``.

    Raises:
        ValueError: no such checkpoint, or weights of another model.

    >>> import tempfile
    >>> first, second = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(Path(folder), first, torch.optim.SGD(first.parameters(), lr=0.1), step=3)
    ...     load_weights(folder, second)
    >>> bool((first.weight == second.weight).all())
    True
    """
    file = Path(folder) / "model.safetensors"
    if not file.is_file():
        raise ValueError(f"no checkpoint in {folder}: {file.name} is missing")
    try:
        load_model(model, str(file))
    except Exception as error:  # safetensors raises its own types for torn files and RuntimeError for others
        raise ValueError(f"{file} does not fit this model or is damaged: {error}") from error
