"""What another method would have done: balancing solved again on the recorded Gramians of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from mtl.balancing.gramian import norms
from mtl.balancing.method import Given, Method, Size
from mtl.balancing.registry import build
from mtl.balancing.state import put, take


def resolve(
    trace: Mapping[str, Any],
    method: str | Method,
    *,
    group: str | None = None,
    seed: int = 0,
    **options: Any,
) -> dict[str, np.ndarray]:
    """Solve a method at every logged step of a run, its state carried along as in training.

    The trace is that of the run as it went: the method sees the gradients of the weights that another method led to.

    Args:
        trace: ``result.dynamics.arrays()``, or the arrays of a run's ``dynamics.npz``; ``gramian`` [n, T, T] and
            ``losses`` [n, T] are read, NaN where a task took no part.
        method: a name in `mtl.BALANCERS` that needs losses or the Gramian, with its options as keywords.
        group: a layer group of the trace instead of all shared parameters.
        seed: for methods that draw.

    Returns:
        ``weights`` [n, T]; ``cosine`` [n] of the direction to the plain sum; its ``length`` [n] over that sum's;
        ``gains`` [n, T], how fast each loss falls along the direction of length one, in lengths of its own gradient
        (-1 to 1; below zero the task gets worse); ``residual`` [n], NaN where nothing is solved.

    Raises:
        ValueError: a method that needs whole gradients, a trace without Gramians, or an unknown group.

    >>> trace = {"gramian": np.array([[[1.0, -1.0], [-1.0, 4.0]]]), "losses": np.ones((1, 2))}
    >>> resolve(trace, "mgda")["weights"]
    array([[1.42857143, 0.57142857]])
    """
    rule = build(method, options)
    if rule.needs == "jacobian" or rule.by_layer:
        raise ValueError(f"{rule.name} needs whole gradients; a trace holds their inner products alone")
    gramians = _gramians(trace, group)
    losses = np.asarray(trace["losses"], dtype=np.float64)
    n, T = losses.shape
    generator, state = torch.Generator().manual_seed(seed), rule.init(Size(T))
    found: dict[str, np.ndarray] = {"weights": np.full((n, T), np.nan), "gains": np.full((n, T), np.nan)}
    for name in ("cosine", "length", "residual"):
        found[name] = np.full(n, np.nan)
    for k in range(n):
        present = np.isfinite(losses[k]) & np.isfinite(np.diagonal(gramians[k]))
        places = tuple(map(int, np.flatnonzero(present)))
        if not places:
            continue
        M = torch.from_numpy(gramians[k][np.ix_(places, places)].copy())
        given = Given(
            method=rule.name,
            tasks=tuple(str(place) for place in places),
            places=places,
            total=T,
            generator=generator,
            known_losses=torch.from_numpy(losses[k][list(places)].copy()),
            known_gramian=M,
        )
        at = torch.tensor(places)
        answer, updated = rule.solve(given, take(state, at))
        state = put(state, at, updated)
        w = answer.weights
        assert w is not None
        length, plain = (float((v @ M @ v).clamp(min=0).sqrt()) for v in (w, torch.ones_like(w)))
        found["weights"][k, list(places)] = w.numpy()
        if length > 0:
            found["gains"][k, list(places)] = (M @ w / (norms(M) * length)).numpy()
        if plain > 0:
            found["length"][k] = length / plain
            found["cosine"][k] = float((w @ M).sum()) / (length * plain) if length > 0 else np.nan
        if answer.residual is not None:
            found["residual"][k] = answer.residual
    return found


def _gramians(trace: Mapping[str, Any], group: str | None) -> np.ndarray:
    name = "gramian" if group is None else "group_gramian"
    if name not in trace:
        raise ValueError(f"the trace has no {name}: record one with mtl.fit(..., dynamics_every=...)")
    if group is None:
        return np.asarray(trace[name], dtype=np.float64)
    groups = [str(known) for known in trace["groups"]]
    if group not in groups:
        raise ValueError(f"the trace has no layer group '{group}'; known: {', '.join(groups) or 'none'}")
    return np.asarray(trace[name], dtype=np.float64)[:, groups.index(group)]
