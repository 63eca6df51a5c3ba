"""The losses of a batch once more, after the update, as if nobody had looked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl.balancing.joined import batch_losses
from mtl.distributed import Losses, ranks
from mtl.model import MultiTaskModel
from mtl.training.micro import Part, add_up
from mtl.training.precision import Precision

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
    model: MultiTaskModel, parts: Sequence[Part], precision: Precision, drawn: RandomState
) -> dict[str, Tensor]:
    """The losses of a batch with the dropout of its first forward passes (their state ``drawn``).

    Buffers and generators stay as they are.
    """
    device, found = precision.device, dict[str, Tensor]()
    together, names = ranks(), tuple(task.name for task in model.tasks)
    before = [buffer.clone() for buffer in model.buffers()]  # normalisation statistics move once a step
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        set_random_state(drawn, device)
        for part in parts:
            losses = part.shared(model.losses(precision.forward(model, part.inputs), part.targets))
            if together is not None:
                batch_losses(losses, names, together, graph=False)
            add_up(found, losses)
    for buffer, kept in zip(model.buffers(), before, strict=True):
        buffer.copy_(kept)
    return found if together is None else Losses(found, dict.fromkeys(found, 1))  # joined: the same for all
