"""What goes into a balancer's step, and what is known of it afterwards."""

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from mtl.balancing.gramian import cosines, norms


class Balanced(Protocol):
    """What a balancer asks of a model; `mtl.MultiTaskModel` has it."""

    @property
    def tasks(self) -> tuple[Any, ...]: ...
    def shared_parameters(self) -> list[nn.Parameter]: ...
    def parameters(self) -> Any: ...
    def modules(self) -> Any: ...


Parts = tuple[list[nn.Parameter], list[nn.Parameter]]


def parts_of(model: Balanced) -> Parts:
    """The parameters that tasks share, and all others that are trained."""
    shared = model.shared_parameters()
    own = {id(p) for p in shared}
    return shared, [p for p in model.parameters() if p.requires_grad and id(p) not in own]


@dataclass(frozen=True)
class Last:
    """What the last step did, for the T tasks that took part.

    Attributes:
        tasks: their names.
        weights: [T] (by layer: [G, T]), or None for a method without weights.
        residual: the relative optimality residual of the problem solved, or None where nothing is solved.
        gramian, cosines, norms: [T, T], [T, T] and [T] of the gradients at the balancer's level; None where only
            losses were used, or the weights of an earlier step.
        factor: by how much ``match_norm`` lengthened the direction; 1 without.
        refreshed: whether the weights were solved for in this step (``every``).
        sent_bytes: what this process sent to others (`mtl.distributed.Ranks`); batch normalisation's is not in it.
    """

    tasks: tuple[str, ...]
    weights: Tensor | None
    residual: float | None
    gramian: Tensor | None
    factor: float = 1.0
    refreshed: bool = True
    sent_bytes: float = 0.0

    @property
    def cosines(self) -> Tensor | None:
        return None if self.gramian is None else cosines(self.gramian)

    @property
    def norms(self) -> Tensor | None:
        return None if self.gramian is None else norms(self.gramian)
