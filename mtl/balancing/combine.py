"""The bare methods on a matrix of gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl.balancing.engine import combine_rows
from mtl.balancing.gramian import gramian
from mtl.balancing.method import Given, Method, Size
from mtl.balancing.registry import build


def combine(
    jacobian: Tensor,
    method: str | Method | Callable[[Tensor], Tensor],
    *,
    losses: Sequence[float] | Tensor | None = None,
    seed: int = 0,
    **options: Any,
) -> Tensor:
    """One step of a balancing method, from a fresh state, on the tasks' gradients.

    Args:
        jacobian: [T, P] gradients as rows, finite, of any floating dtype; small problems are solved in float64.
        method: a name in `mtl.BALANCERS`, or a function [T, P] -> [P] (a TorchJD aggregator is one).
        losses: [T] the tasks' losses, for methods that look at them.
        seed: for methods that draw.
        options: the method's own.

    Returns:
        [P] the direction, in the jacobian's dtype; a step is ``parameters -= lr * direction``. The scale convention
        is the plain sum's: weights of one.

    Raises:
        ValueError: an unknown method or option, a wrong shape, or a row that is not finite (its task is named).

    >>> combine(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "upgrad")   # no conflict: the plain sum
    tensor([1., 1.])
    """
    if jacobian.dim() != 2 or not jacobian.is_floating_point():
        raise ValueError(f"jacobian must be float [T, P], got {jacobian.dtype} {list(jacobian.shape)}")
    T, P = jacobian.shape
    if T == 0:
        raise ValueError("jacobian must have at least one row, got [0, P]")
    bad = (~jacobian.isfinite()).any(dim=1).nonzero().flatten().tolist()
    if bad:
        raise ValueError(f"jacobian has NaN or infinite values in row {bad[0]} (tasks {bad})")
    known_losses = None
    if losses is not None:
        known_losses = torch.as_tensor(losses, dtype=torch.float64).detach().cpu()
        if known_losses.shape != (T,):
            raise ValueError(f"losses must be [T] with T={T} from jacobian, got {list(known_losses.shape)}")
    rule = build(method, options)
    rows = jacobian.detach()
    if rows.dtype not in (torch.float32, torch.float64):
        rows = rows.float()
    given = Given(
        method=rule.name,
        tasks=tuple(map(str, range(T))),
        places=tuple(range(T)),
        total=T,
        generator=torch.Generator().manual_seed(seed),
        known_losses=known_losses,
        known_gramian=gramian(rows).cpu() if rule.needs != "losses" else None,
        known_jacobian=rows if rule.needs == "jacobian" else None,
    )
    answer, _ = rule.solve(given, rule.init(Size(T, P)))
    return combine_rows(answer.weights, answer.direction, rows).to(jacobian.dtype)
