"""Weights of checkpoints as tensors by name, checked against the model, which they never enter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from explain.names import unknown

Weights = Mapping[str, Tensor] | str | Path | Callable[[], Mapping[str, Tensor]]
Checkpoint = Weights | tuple[Weights, float]


def states(
    model: nn.Module, checkpoints: Sequence[Checkpoint] | None
) -> Iterator[tuple[dict[str, Tensor], float]]:
    """For each checkpoint its tensors, by the names of ``model``, and its learning rate; one in memory at a time.

    Args:
        model: whose names and shapes they must have; None: its own weights, with a learning rate of 1.
        checkpoints: see `explain.influence_scores`.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> [(sorted(state), rate) for state, rate in states(model, [(model.state_dict(), 0.1)])]
    [(['weight'], 0.1)]
    """
    if checkpoints is None:
        yield _own(model), 1.0
        return
    if isinstance(checkpoints, Mapping | str | Path) or not isinstance(checkpoints, Sequence):
        raise TypeError(f"checkpoints must be a list, got {type(checkpoints).__name__}")
    if not checkpoints:
        raise ValueError("checkpoints is empty; give at least one, or None for the model as it is")
    pairs = [isinstance(c, tuple) for c in checkpoints]
    if any(pairs) and not all(pairs):
        raise ValueError(
            "some checkpoints have a learning rate and others none; give pairs (weights, learning rate)"
        )
    for number, checkpoint in enumerate(checkpoints):
        weights, rate = checkpoint if isinstance(checkpoint, tuple) else (checkpoint, 1.0)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < float("inf"):
            raise ValueError(f"checkpoint {number}: the learning rate must be a number >= 0, got {rate!r}")
        yield _fitted(model, _read(number, weights), number), float(rate)


def _own(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in (*model.named_parameters(), *model.named_buffers())}


def _read(number: int, weights: Any) -> Mapping[str, Tensor]:
    if isinstance(weights, str | Path):
        weights = _read_file(number, Path(weights))
    elif callable(weights) and not isinstance(weights, Mapping):
        weights = weights()
    if not isinstance(weights, Mapping) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise TypeError(
            f"checkpoint {number} must be a state dict, a path or a function that gives a state dict, "
            f"got {type(weights).__name__}"
        )
    return weights


def _read_file(number: int, file: Path) -> Any:
    file = file / "model.safetensors" if file.is_dir() else file
    if not file.is_file():
        raise ValueError(f"checkpoint {number}: there is no file {file}")
    try:
        if file.suffix == ".safetensors":
            return load_file(str(file))
        return torch.load(file, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # a torn pickle raises whatever its bytes lead to; safetensors has its own type
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"checkpoint {number}: {file} is damaged, or holds more than a state dict: {reason}"
        ) from error


def _fitted(model: nn.Module, weights: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """The tensors under the model's names, on its devices; tied weights may be given under any of their names."""
    state = _own(model)
    names: dict[int, str] = {}  # the first name of what is tied
    first = {
        name: names.setdefault(id(tensor), name)
        for name, tensor in (
            *model.named_parameters(remove_duplicate=False),
            *model.named_buffers(remove_duplicate=False),
        )
    }
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name not in first:
            if name.endswith("_extra_state"):
                continue
            raise ValueError(f"checkpoint {number} is of another model: {unknown('tensor', name, first)}")
        own = state[first[name]]
        if tensor.shape != own.shape:
            raise ValueError(
                f"checkpoint {number} is of another model: '{name}' is {list(tensor.shape)}, here {list(own.shape)}"
            )
        found[first[name]] = tensor.detach().to(own)
    missing = [name for name in model.state_dict() if name in first and first[name] not in found]
    if missing:
        raise ValueError(f"checkpoint {number} is of another model: it has no '{missing[0]}'")
    return state | found
