"""The losses of a batch once more, after the update, as if nobody had looked."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl.inputs import Inputs, apply, tensors
from mtl.model import MultiTaskModel

RandomState = tuple[Tensor, Tensor | None]


def random_state(device: torch.device) -> RandomState:
    """The state of the default generators that a forward pass draws from."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def set_random_state(drawn: RandomState, device: torch.device) -> None:
    """Put the default generators back to what `random_state` gave."""
    torch.set_rng_state(drawn[0])
    if drawn[1] is not None:
        torch.cuda.set_rng_state(drawn[1], device)


@torch.no_grad()
def losses_again(
    model: MultiTaskModel, inputs: Inputs, targets: Mapping[str, Tensor], drawn: RandomState
) -> dict[str, Tensor]:
    """The losses with the dropout of the first forward pass (its state ``drawn``); buffers and generators stay."""
    device = next(iter(tensors(inputs).values())).device
    before = [buffer.clone() for buffer in model.buffers()]  # normalisation statistics move once a step
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        set_random_state(drawn, device)
        losses = model.losses(apply(model, inputs), targets)
    for buffer, kept in zip(model.buffers(), before, strict=True):
        buffer.copy_(kept)
    return losses
