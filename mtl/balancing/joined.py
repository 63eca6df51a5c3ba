"""A balancer's step among several processes: its losses, its one backward pass, its start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mtl.balancing.checks import NO_LOSS, check_finite, check_form, checked_losses
from mtl.balancing.engine import backward_weighted
from mtl.balancing.rows import accumulate, gradients_set_aside
from mtl.distributed.losses import Joint, Losses, join
from mtl.distributed.ranks import Ranks, flat_sum, sharded


def batch_losses(
    losses: Mapping[str, Tensor],
    names: tuple[str, ...],
    together: Ranks | None,
    counts: Mapping[str, int] | None = None,
    *,
    graph: bool = True,
) -> Joint:
    """The tasks that take part, their values over all processes, and this one's shares of the losses.

    Where a process has losses to refuse, every process raises.
    """
    if together is None:
        values = checked_losses(losses, names, graph=graph)
        tasks = tuple(name for name in names if name in losses)
        return Joint(tasks, values, [losses[name] for name in tasks])
    problem: Exception | None = None
    try:
        check_form(losses, names, graph=graph)
        if counts is not None and not isinstance(losses, Losses):
            losses = Losses(losses, counts)
    except ValueError as error:
        problem = error
    joint = join(losses, names, together, problem)
    if not joint.tasks:
        raise ValueError(f"{NO_LOSS} in any process")
    check_finite(joint.tasks, joint.values)
    return joint


def backward_joined(losses: Sequence[Tensor], weights: Tensor, model: Any, together: Ranks | None) -> None:
    """`backward_weighted`; of all processes' shares of the losses, where there are several: each gets all gradients.

    FSDP2 adds up the pieces of a sharded model itself, and takes the mean where a sum is due.
    """
    if together is None:
        backward_weighted(losses, weights)
        return
    parameters = [p for p in model.parameters() if p.requires_grad]
    pieces = sharded(model)
    plain = [p for p in parameters if id(p) not in pieces]
    factor = 1.0 if len(plain) == len(parameters) else float(together.world)
    with gradients_set_aside(plain):
        backward_weighted(losses, factor * weights)
        found = [p.grad for p in plain]
    for parameter, gradient in zip(plain, flat_sum(together, found, plain)[0], strict=True):
        if gradient is not None:
            accumulate(parameter, gradient / factor if factor != 1 else gradient)


def refuse_sharded(model: Any, name: str, together: Ranks | None) -> None:
    """Gradients of a task that are spread over processes cannot be compared."""
    if together is not None and sharded(model):
        raise ValueError(
            f"{name} balances gradients, and the model is sharded (fully_shard), so no process has a whole gradient: "
            "use a method on losses (equal, uncertainty, famo, ...) without match_norm, or do not shard the model"
        )


def same_start(state: dict[str, Any], settings: object, together: Ranks) -> dict[str, Any] | None:
    """The first process's state where it is not this one's own: one generator and one history for all."""
    together.check_same("the balancer's method and settings", settings)
    found: dict[str, Any] = together.first_object(state)
    return None if together.rank == 0 else found
