"""The processes of a run, and what they send each other: each collective in one place, with its bytes counted."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(eq=False)
class Ranks:
    """This process among those of the run; all of them must make the same calls in the same order.

    Attributes:
        rank: of this process, 0 is the first.
        world: how many there are.
        sent_bytes: what this process sent, the mean over all: worked out from the sizes, for a ring of processes.
        store: torch's store of keys and values that all see, where `mtl.distributed.start` opened it; else None.

    >>> ranks() is None     # this process is alone
    True
    """

    rank: int
    world: int
    sent_bytes: float = 0.0
    store: Any = None

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, the same to the bit on each; ``tensor`` may be written to.

        Sends 2 (W - 1) / W of the tensor.
        """
        there = _movable(tensor)
        dist.all_reduce(there)
        self._count(2 * (self.world - 1) / self.world, there)
        return there.to(tensor.device)

    def sums(self, *tensors: Tensor) -> list[Tensor]:
        """The sums of small tensors in one call, in float64 on the CPU."""
        flat = torch.cat([tensor.detach().reshape(-1).double().cpu() for tensor in tensors])
        parts = self.sum(flat).split([tensor.numel() for tensor in tensors])
        return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def exchange(self, packed: Tensor, found: Tensor) -> Tensor:
        """``packed`` [W, ...] holds a part for each process; gives the parts [W, ...] that are for this one.

        ``found`` may hold them. Sends (W - 1) / W of the tensor.
        """
        there = _movable(packed)
        found = found if found.device == there.device else torch.empty_like(there)
        dist.all_to_all_single(found, there)
        self._count((self.world - 1) / self.world, there)
        return found.to(packed.device)

    def gather(self, part: Tensor) -> Tensor:
        """The parts [S] of all processes, one after another: [W S]. Sends (W - 1) / W of that."""
        there = _movable(part.contiguous())
        found = there.new_empty(self.world, *there.shape)
        dist.all_gather(list(found), there)
        self._count((self.world - 1) / self.world, found)
        return found.flatten(0, 1).to(part.device)

    def first(self, tensor: Tensor) -> Tensor:
        """What the first process has; ``tensor`` may be written to. Sends (W - 1) / W of the tensor."""
        there = _movable(tensor)
        dist.broadcast(there, src=0)
        self._count((self.world - 1) / self.world, there)
        return there.to(tensor.device)

    def first_object(self, value: Any) -> Any:
        """What the first process has, pickled; for what is sent once a run."""
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def check_same(self, what: str, value: object) -> None:
        """Raise on every process where one has another ``value`` (compared as text)."""
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, repr(value))
        odd = next((rank for rank, text in enumerate(found) if text != found[0]), None)
        if odd is not None:
            raise ValueError(
                f"{what} must be the same on every process, rank 0 has {found[0]} and rank {odd} has {found[odd]}"
            )

    def wait(self) -> None:
        """Until every process is here."""
        self.sum(torch.zeros(1))

    def _count(self, share: float, tensor: Tensor) -> None:
        self.sent_bytes += share * tensor.numel() * tensor.element_size()


def ranks() -> Ranks | None:
    """The processes that a `torch.distributed` group joins; None where this one is alone."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return None
    return Ranks(dist.get_rank(), dist.get_world_size())


def is_first() -> bool:
    """Whether this process writes: it is alone, or rank 0.

    >>> is_first()
    True
    """
    together = ranks()
    return together is None or together.rank == 0


def sharded(model: Any) -> set[int]:
    """Ids of the parameters of which each process has a piece, or which FSDP2 (``fully_shard``) may cut so at any time.

    Asked of the modules, as FSDP puts whole parameters in place of the pieces between forward and backward.
    """
    kind = getattr(sys.modules.get("torch.distributed.fsdp"), "FSDPModule", ())
    found = {id(p) for module in model.modules() if isinstance(module, kind) for p in module.parameters()}
    return found | {id(p) for p in model.parameters() if hasattr(p, "to_local")}


@torch.no_grad()
def send_model(model: nn.Module, together: Ranks) -> None:
    """Give every process the parameters and buffers of the first; sharded ones stay as they are."""
    pieces = sharded(model)
    tensors = [t for t in [*model.parameters(), *model.buffers()] if id(t) not in pieces]
    together.check_same("the model's parameters and buffers", [(list(t.shape), t.dtype) for t in tensors])
    for tensor in tensors:
        tensor.copy_(together.first(tensor.detach().clone(memory_format=torch.contiguous_format)))


def flat_sum(
    together: Ranks, gradients: Sequence[Tensor | None], like: Sequence[Tensor], flags: Sequence[bool] = ()
) -> tuple[list[Tensor | None], list[bool]]:
    """The sums of gradients over processes in one call; None where no process has one. ``flags``: true on any."""
    if not like and not flags:
        return [], []
    exact = any(tensor.dtype == torch.float64 for tensor in like)
    sizes = [tensor.numel() for tensor in like]
    there = torch.tensor([*(g is not None for g in gradients), *flags], dtype=torch.float32)
    device = like[0].device if like else torch.device("cpu")
    flat = torch.empty(
        sum(sizes) + len(there), dtype=torch.float64 if exact else torch.float32, device=device
    )
    *parts, presence = flat.split([*sizes, len(there)])
    presence.copy_(there)
    for part, gradient in zip(parts, gradients, strict=True):
        if gradient is None:
            part.zero_()
        else:
            part.copy_(gradient.reshape(-1))
    flat = together.sum(flat)
    *parts, presence = flat.split([*sizes, len(there)])
    found = [count > 0 for count in presence.tolist()]
    summed = [
        part.view(tensor.shape).to(device=tensor.device, dtype=tensor.dtype) if here else None
        for part, tensor, here in zip(parts, like, found, strict=False)
    ]
    return summed, found[len(like) :]


def _movable(tensor: Tensor) -> Tensor:
    """The tensor on a device that the group's backend sends from."""
    backend = str(dist.get_backend())
    if backend == "nccl" and tensor.device.type == "cpu":
        return tensor.cuda()
    if backend == "gloo" and tensor.device.type != "cpu":
        return tensor.cpu()
    return tensor
