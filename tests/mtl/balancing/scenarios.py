"""Short runs of every method that reach each branch of its formula, and what a method answers to them."""

import itertools
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch

from mtl.balancing.engine import combine_rows
from mtl.balancing.method import Given, Method, Size
from mtl.balancing.state import put, take
from tests.mtl.balancing.drawn import SEED, STARTS
from tests.mtl.balancing.references import REFERENCES, Directions, Step


class Case(NamedTuple):
    """A run of a method: its options and the steps it is given."""

    options: dict[str, Any]
    steps: tuple[Step, ...]


def run(
    count: int = 1, *, T: int = 3, seed: int = 0, noise: float = 0.5, spread: float = 0.0, scale: float = 1.0
) -> tuple[Step, ...]:
    """Gradients [T, 5] that share a part, of lengths that differ by e^spread, and losses around one."""
    generator = np.random.default_rng(seed)
    common = generator.normal(size=(T, 5))
    factor = scale * np.exp(spread * generator.normal(size=(T, 1)))
    return tuple(
        Step(factor * (common + noise * generator.normal(size=(T, 5))), generator.uniform(0.5, 2.0, size=T))
        for _ in range(count)
    )


def absent(steps: Sequence[Step], factors: np.ndarray) -> tuple[Step, ...]:
    """Without the tasks whose factor is NaN."""
    return tuple(step._replace(L=step.L * own) for step, own in zip(steps, factors, strict=True))


def told(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The losses after each update, as far down as the task's place says; the last step is not told."""
    lower = [step.L * (0.9 - 0.1 * np.arange(len(step.L))) for step in steps[:-1]]
    return (*(step._replace(after=after) for step, after in zip(steps, lower, strict=False)), steps[-1])


def rows(*gradients: Sequence[float]) -> tuple[Step, ...]:
    return (Step(np.array(gradients, dtype=float), np.ones(len(gradients))),)


def at(*losses: Sequence[float]) -> tuple[Step, ...]:
    """Steps with these losses, and gradients that tell the tasks apart."""
    return tuple(Step(np.eye(len(L)), np.array(L, dtype=float)) for L in losses)


G = (1.0, 2.0, 0.5, -1.0, 0.3)
H = (0.2, -1.0, 1.0, 1.5, -0.4)
ZERO, MINUS = (0.0,) * 5, tuple(-x for x in G)
# exchanging all wrong signs of the complementarity problem at once goes in circles here
CIRCLE = rows(*np.random.default_rng(60).integers(-2, 3, size=(6, 4)).tolist())
ROUNDED = rows((-0.1, -0.1, 0.6, 0.2, -0.2), (0.1, 0.1, -0.6, -0.2, 0.2))  # a cosine of -1 - 2e-16
TIED = rows(ZERO, (-0.9, -0.8, -1.3, -0.6, 1.8), (1.8, -1.3, -0.8, -0.9, -0.6))  # of one length, to rounding
CANCEL = rows(G, MINUS, H)
UNEVEN = rows(tuple(1e-12 * x for x in G), tuple(-1e12 * x for x in H))
# what a solved problem may meet: conflict, lengths far apart, tiny and large, one, four and five tasks, and the edges
HARD = (
    run(5, seed=1), run(3, T=4, seed=2, spread=1.0), run(3, T=5, seed=3), run(1, T=1, seed=4), run(2, T=2, seed=5),
    run(2, seed=6, scale=1e-9), run(2, seed=7, scale=1e15), rows(G, ZERO, H), rows(ZERO, ZERO), CANCEL, rows(G, MINUS),
)  # fmt: skip
# a task is indifferent where the others cancel, three that cancel among four, and a sum that cancels a long one
LOOSE = (
    CANCEL, rows(G, H, tuple(-x - y for x, y in zip(G, H, strict=True)), MINUS[::-1]),
    rows(G, tuple(-3 * x for x in G), H),
)  # fmt: skip
FAR = (
    rows(tuple(1e-4 * x for x in G), tuple(1e4 * x for x in H)),
    rows(tuple(1e4 * x for x in G), tuple(1e-4 * x for x in H)),
    rows(tuple(1e-4 * x for x in G), tuple(-1e4 * x for x in H), G[::-1]),
)  # fmt: skip
PLUS = tuple(x + y for x, y in zip(G, H, strict=True))
PARALLEL = (rows(G, G), rows(G, tuple(3 * x for x in G), H), rows(G, H, PLUS), rows(G, H, PLUS, G, H))
ABSENT = np.array([[1, 1, np.nan], [1, 1, 1], [1, 1, 1], [np.nan, 1, 1], [1, 1, 1]])
WEIGHTS = {"preference": (0.5, 2.0, 1.0)}


def cases(*runs: tuple[Step, ...], **options: Any) -> list[Case]:
    return [Case(options, steps) for steps in runs]


CASES: dict[str, list[Case]] = {
    "equal": cases(run()),
    "static": cases(run()) + cases(run(), weights=(0.5, 2.0, 3.0)),
    "scale_invariant": cases(run(2)),
    "geometric_mean": cases(run(2)),
    "random": cases(run(3)),
    "uncertainty": cases(run(5), lr=0.3) + cases(at((1 + 2e-8, 1 - 3e-8), (1.0, 2.0)), lr=0.3),
    "imtl_l": cases(run(5), lr=0.3),
    "dwa": cases(run(8), window=2, temperature=0.7) + cases(run(4), window=1)
    + cases(at((0.0, 1.0), (2.0, 3.0), (1.0, 1.0)), window=1) + cases(run(3)),
    "stch": cases(run(2)) + cases(run(2), **WEIGHTS) + cases(run(2), mu=0.4, ideal=(0.1, -0.5, 0.3), **WEIGHTS)
    + cases(run(13), reference="official", warm_up=10, **WEIGHTS) + cases(run(5), reference="official", warm_up=4)
    + cases(absent(run(5), ABSENT), absent(run(5, seed=1), ABSENT), reference="official", warm_up=2, mu=0.4, **WEIGHTS),
    "famo": cases(run(5), lr=0.3, decay=0.2) + cases(told(run(5)), lr=0.3, ideal=(-1.0, 0.2, 0.3))
    + cases(absent(run(5), ABSENT), told(absent(run(5), ABSENT)), lr=0.3),
    "cosmos": cases(run(2), at((0.2, 0.3, 0.1))) + cases(run(2), penalty=3.0, **WEIGHTS)
    + cases(at((0.0, 0.0, 0.0)), preference=(0.0, 2.0, 1.0)),
    "pbi": cases(run(2)) + cases(run(2), penalty=0.7, ideal=(0.1, -0.5, 0.3), **WEIGHTS)
    + cases(at((1.0, 4.0, 2.0), (1e-8, 4e-8, 3e-8)), **WEIGHTS),
    "mgda": cases(*HARD, *PARALLEL) + [
        case for normalise in ("l2", "loss", "loss+") for reference in ("paper", "official")
        for case in cases(HARD[0], rows(G, ZERO, H), normalise=normalise, reference=reference)
    ],
    "pcgrad": cases(*HARD, run(3, T=5, seed=9)),
    "gradvac": cases(*HARD, ROUNDED, run(5, T=4, seed=8), beta=0.4) + cases(run(5, seed=8), beta=0.4, groups="layer")
    + cases(rows(G, G) * 3, beta=1.0),
    "cagrad": cases(*HARD, c=0.2) + cases(*HARD, c=0.5) + cases(*HARD, *LOOSE, c=1.5) + cases(*LOOSE, c=3.0)
    + cases(run(2), rescale="squared") + cases(run(2), c=0.8, rescale="linear") + cases(run(), c=0.0),
    "imtl_g": cases(*HARD, *PARALLEL, rows(G, tuple(-3 * x + y for x, y in zip(G, H, strict=True)))),
    "nash_mtl": cases(*HARD),
    "aligned_mtl": cases(*HARD, *PARALLEL) + cases(run(2), **WEIGHTS) + [
        case for scale in ("median", "rmse") for case in cases(*HARD, *PARALLEL, scale=scale)
    ],
    "fairgrad": cases(*HARD, alpha=0.5) + cases(*HARD, UNEVEN, alpha=2.0) + cases(run(2)) + [
        case for alpha in (0.1, 0.2, 10.0) for case in cases(*FAR, CANCEL, alpha=alpha)
    ],
    "upgrad": cases(*HARD, CIRCLE, *PARALLEL) + cases(run(3, seed=1), **WEIGHTS),
    "dualproj": cases(*HARD, CIRCLE, *PARALLEL) + cases(run(3, seed=1), **WEIGHTS),
    "gradnorm": cases(run(5), alpha=0.7, lr=0.3) + cases(run(4, scale=1e3), run(3, scale=1e-3), lr=0.3),
    "config": cases(*HARD, *PARALLEL) + cases(run(2), rows(G, ZERO, H), **WEIGHTS)
    + cases(rows(G, ZERO, H), preference=(0.0, 1.0, 0.0)) + cases(run(2, seed=1), preference=(1e-9, 3e-9, 0.0)),
    "krum": cases(run(2), run(2, T=5), run(2, T=6), run(1, T=1), run(1, T=2))
    + cases(run(2, T=6), outliers=2) + cases(run(2, T=6), selected=2)
    + cases(rows(G, G, H, MINUS), selected=1) + cases(rows(G, H, G, MINUS, G), outliers=0, selected=2)
    + cases(run(1, T=5), run(1, T=4), outliers=2) + cases(run(2), TIED, selected=1)
    + cases(run(1, T=5, scale=1e-7), run(1, T=5, scale=1e-2), selected=3),
    # steps of the default length go in circles and amplify rounding a millionfold, so one step of those
    "sdmgrad": cases(run()) + cases(run(4), run(2, scale=1e3), run(2, scale=1e-3), rows(ZERO, ZERO), lr=0.5)
    + cases(run(4), pull=0.8, lr=0.2, momentum=0.3, iterations=4, **WEIGHTS),
    "graddrop": cases(run(4), run(4, scale=0.01), rows(G, ZERO, MINUS), rows(ZERO, ZERO))
    + cases(run(4), leak=(0.2, 0.0, 0.7)),
    "moco": cases(run(5), run(3, scale=1e10))
    + cases(run(5), beta=0.7, beta_decay=0.3, gamma=0.05, gamma_decay=0.8, rho=0.4),
    "modo": cases(run(5)) + cases(run(5), gamma=0.05, rho=0.3),
    "db_mtl": cases(run(5)) + cases(run(5), beta=0.7, decay=0.6) + cases(rows(G, ZERO, H)),
    "excess_mtl": cases(run(5), run(5, scale=1e-3), lr=0.5) + cases(run(5), lr=0.5, warm_up=3)
    + cases(rows(G, ZERO, H) * 3, lr=0.5),
    "trimmed_mean": cases(run(2), run(2, T=5), run(1, T=1), run(1, T=2), run(1, T=4))
    + cases(run(2, T=5), trim=2) + cases(run(2), trim=0) + cases(run(2), trim=4),
}  # fmt: skip


def directions(rule: Method, steps: Sequence[Step]) -> Directions:
    """What the method answers, step by step; an answer that reports itself as unsolved is refused."""
    (T, P), found = steps[0].J.shape, []
    generator = torch.Generator().manual_seed(SEED)
    state = rule.init(Size(T, P, len(STARTS) - 1 if rule.by_layer else 1))
    for step in steps:
        present = np.flatnonzero(~np.isnan(step.L))
        places = torch.from_numpy(present)
        given = _given(rule, step, step.L, present, generator)
        answer, new = rule.solve(given, take(state, places))
        state = put(state, places, new)
        if not answer.converged or not (answer.residual or 0.0) <= 1e-8:
            raise ArithmeticError(f"{rule.name} answers a residual of {answer.residual}")
        found.append(combine_rows(answer.weights, answer.direction, given.jacobian, STARTS).numpy())
        if step.after is not None:
            given = _given(rule, step, step.after, present, generator)
            state = put(state, places, rule.revise(given, take(state, places)))
    return found


def _given(
    rule: Method, step: Step, losses: np.ndarray, present: np.ndarray, generator: torch.Generator
) -> Given:
    J = torch.from_numpy(step.J[present])
    layers = [J[:, a:b] for a, b in itertools.pairwise(STARTS)] if rule.by_layer else [J]
    return Given(
        method=rule.name,
        tasks=tuple("abcdefgh"[place] for place in present),
        places=tuple(present.tolist()),
        total=len(step.J),
        generator=generator,
        known_losses=torch.from_numpy(losses[present]),
        known_gramian=J @ J.T,
        known_jacobian=J,
        known_groups=torch.stack([part @ part.T for part in layers]),
    )


def outcome(rule: Method, steps: Sequence[Step]) -> Directions | None:
    """The directions, or None where the method refuses what it is given."""
    try:
        return directions(rule, steps)
    except ValueError:
        return None


@cache
def expected(name: str, number: int) -> Directions | None:
    """What the reference answers to that case; None where the method has to refuse it."""
    options, steps = CASES[name][number]
    try:
        return REFERENCES[name](steps, **options)
    except ValueError:
        return None


def gap(found: Directions | None, wanted: Directions | None, steps: Sequence[Step]) -> float:
    """The largest difference, relative to the direction wanted (where that is zero, to the gradients); or NaN."""
    if found is None or wanted is None:
        return 0.0 if found is wanted else np.inf
    gaps = []
    for one, other, step in zip(found, wanted, steps, strict=True):
        size, gradients = np.abs(other).max(), np.abs(step.J).max()
        if size <= 1e-12 * gradients:  # zero but for rounding, which differs from processor to processor
            size = 100 * gradients or 1.0
        gaps.append(np.abs(one - other).max() / size)
    return float(np.max(gaps))
