"""Steps of every method on a batch of which each process has some rows, or on all of it in one process."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import mtl
from mtl.distributed import joined_batch_norm, share
from tests.mtl.balancing.models import make

NAN = float("nan")
Batch = tuple[Tensor, dict[str, Tensor]]
METHODS = sorted(mtl.BALANCERS)


def largest(rows: Tensor) -> Tensor:
    """A rule that must see whole rows: the longest row."""
    return 3 * rows[rows.norm(dim=1).argmax()]


# (method, the balancer's settings, how the step is done)
PLAIN: list[tuple[Any, dict[str, Any], str]] = [
    *((method, {}, "plain") for method in METHODS),
    *((method, {"level": "parameters"}, "accumulated") for method in METHODS),
    (largest, {}, "plain"),
    ("gradvac", {"groups": "layer"}, "plain"),
    ("gradvac", {"groups": "layer"}, "accumulated"),
    ("upgrad", {"every": 2}, "plain"),
    ("gradnorm", {"every": 2}, "plain"),
    ("pcgrad", {"match_norm": True}, "plain"),
    ("graddrop", {"match_norm": True}, "plain"),
    ("uncertainty", {"match_norm": True}, "plain"),
    ("uncertainty", {"match_norm": True}, "accumulated"),
    ("mgda", {"smooth": 0.5}, "plain"),
    ("nash_mtl", {"stream": True}, "plain"),
    ("upgrad", {"level": "last_layer"}, "plain"),
    *((method, {"level": "features"}, "plain") for method in ("upgrad", "graddrop", "trimmed_mean", largest)),
    ("gradnorm", {"level": "features"}, "plain"),
]
OTHERS: dict[str, tuple[str, ...]] = {  # models with something awkward
    "normalised": ("equal", "famo", "upgrad", "gradnorm", "graddrop", "db_mtl"),
    "several": ("equal", "upgrad", "graddrop", "gradnorm"),
    "no_features": ("equal", "upgrad", "gradnorm"),
    "half_reached": ("equal", "upgrad", "trimmed_mean"),
}


def batches() -> list[Batch]:
    """Seven rows; labels missing here and there; one task on the first rows alone and one nowhere; one or two rows."""
    generator = torch.Generator().manual_seed(5)
    found = [
        (
            torch.randn(rows, 4, generator=generator, dtype=torch.float64),
            {
                "kind": torch.randint(0, 3, (rows,), generator=generator),
                "size": torch.randn(rows, generator=generator, dtype=torch.float64),
                "tags": torch.randint(0, 2, (rows, 2), generator=generator).double(),
            },
        )
        for rows in (7, 7, 7, 2, 1)
    ]
    (_, second), (_, third) = found[1], found[2]
    second["kind"][[0, 3, 4]] = -1
    second["size"][[1, 2, 5, 6]] = NAN
    second["tags"][[0, 6], [1, 0]] = NAN
    third["size"][2:] = NAN
    third["tags"][:] = NAN
    return found


def gradients(model: Any) -> list[Tensor | None]:
    return [None if p.grad is None else p.grad.clone() for p in model.parameters()]


def walk(kind: str, method: Any, settings: dict[str, Any], how: str) -> list[Any]:
    """The gradients and weights of a few steps of a model of that kind, its buffers at the end."""
    model = make(kind).double()
    model.dtype = torch.float64
    balancer = mtl.Balancer(method, seed=3, **settings)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    trace: list[Any] = []
    least = 2 if kind == "normalised" else 1
    given = [batch for batch in batches() if len(batch[0]) >= least]
    if how == "accumulated":
        given = given[1:3]
    with joined_batch_norm(model):
        for number, (inputs, targets) in enumerate(given):
            optimizer.zero_grad()
            parts: list[Batch] = [(inputs, targets)]
            if how == "accumulated" and len(inputs) > 2:
                parts = [(inputs[a:b], {n: t[a:b] for n, t in targets.items()}) for a, b in ((0, 3), (3, 7))]
            for place, (x, y) in enumerate(parts, start=1):
                losses = model.losses(model(share(x)), {n: share(t) for n, t in y.items()}) / len(parts)
                (balancer.backward if place == len(parts) else balancer.accumulate)(losses, model)
            trace.append(gradients(model))
            assert balancer.last is not None
            trace.append(balancer.last.weights)
            trace.append(None if number % 2 else balancer.last.gramian)
            optimizer.step()
            if balancer.wants_losses_after_step and how == "plain":
                with torch.no_grad():
                    again = model.losses(model(share(inputs)), {n: share(t) for n, t in targets.items()})
                balancer.after_step(again)
    return [*trace, [b.clone() for b in model.buffers()]]


def everything() -> dict[str, Any]:
    """Every method, setting and model, by a name."""
    cases = [("plain", *case) for case in PLAIN]
    cases += [(kind, method, {}, "plain") for kind, methods in OTHERS.items() for method in methods]
    return {
        f"{kind} {getattr(method, '__name__', method)} {settings} {how}": walk(kind, method, settings, how)
        for kind, method, settings, how in cases
    }
