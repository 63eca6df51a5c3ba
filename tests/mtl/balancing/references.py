"""Each method once more, slowly and as its paper has it: gradients as long vectors, loops, no code of the package.

A reference takes the steps of a run and the options, and answers the direction of each step; what it carries from step
to step are its local variables. Weights that are derivatives of a value are found by complex differences, which are
exact: Im f(x + ih) / h.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from tests.mtl.balancing import drawn, solved
from tests.mtl.balancing.drawn import SEED


class Step(NamedTuple):
    """Gradients [T, P] and losses [T] of one step; the losses after the update where the method is told them.

    A task whose loss is NaN takes no part in the step.
    """

    J: np.ndarray
    L: np.ndarray
    after: np.ndarray | None = None


Steps = Sequence[Step]
Directions = list[np.ndarray]
Values = Sequence[float] | None
Reference = Callable[..., Directions]


def each(values: Values, T: int, default: float = 1.0) -> np.ndarray:
    return np.full(T, default) if values is None else np.array(values)


def softmax(z: np.ndarray) -> np.ndarray:
    powers = np.array([np.exp(entry) for entry in z])
    return powers / sum(powers)


def slope(value: Callable[[np.ndarray], complex], at: np.ndarray) -> np.ndarray:
    return np.array([np.imag(value(at + 1e-40j * unit)) / 1e-40 for unit in np.eye(len(at))])


def length(x: np.ndarray) -> complex:
    return np.sqrt(sum(x * x))


def adam(slopes: Sequence[np.ndarray]) -> np.ndarray:
    """The last step from all slopes so far: their averages with weights 0.9^age and 0.999^age."""
    ages = range(len(slopes) - 1, -1, -1)
    first = sum(0.9**age * s for age, s in zip(ages, slopes, strict=True)) / sum(0.9**age for age in ages)
    second = sum(0.999**age * s**2 for age, s in zip(ages, slopes, strict=True))
    return first / (np.sqrt(second / sum(0.999**age for age in ages)) + 1e-8)


def alone(rule: Callable[..., np.ndarray]) -> Reference:
    """A reference from a rule that looks at one step."""
    return lambda steps, **options: [rule(step.J, step.L, **options) for step in steps]


# ---- losses


def equal(J: np.ndarray, L: np.ndarray) -> np.ndarray:
    return sum(J[1:], start=J[0])


def static(J: np.ndarray, L: np.ndarray, weights: Values = None) -> np.ndarray:
    return sum(w * g for w, g in zip(each(weights, len(J)), J, strict=True))


def scale_invariant(J: np.ndarray, L: np.ndarray) -> np.ndarray:
    return slope(lambda L: sum(np.log(L)), L) @ J


def geometric_mean(J: np.ndarray, L: np.ndarray) -> np.ndarray:
    T = len(L)
    return slope(lambda L: T * np.prod(L) ** (1 / T), L) @ J


def stch(
    steps: Steps,
    mu: float = 1.0,
    preference: Values = None,
    ideal: Values = None,
    reference: str = "paper",
    warm_up: int = 250,
) -> Directions:
    """Officially log (L / n) in place of L - z: n is a task's mean loss over the last fifth of its warm-up.

    Until that is over the task itself is trained on log L, and stands at L / n = 1 for the others.
    """
    T, found = len(steps[0].L), []
    p, z = each(preference, T), each(ideal, T, 0.0)
    seen: list[list[float]] = [[] for _ in range(T)]
    for J, L, _ in steps:
        own = np.flatnonzero(~np.isnan(L))
        warm = np.array([len(seen[t]) < warm_up for t in own])
        means = [np.mean(seen[t][:warm_up][-max(1, warm_up // 5) :] or L[t]) for t in own]
        n = np.where(warm, L[own], means)

        def value(L: np.ndarray, own: np.ndarray = own, n: np.ndarray = n) -> complex:
            x = L - z[own] if reference == "paper" else np.log(L / n)
            return len(own) * mu * np.log(sum(np.exp(p[own] * x / mu)))

        weights = slope(value, L[own])
        found.append((weights if reference == "paper" else np.where(warm, 1 / L[own], weights)) @ J[own])
        for t in own:
            seen[t].append(L[t])
    return found


def cosmos(J: np.ndarray, L: np.ndarray, preference: Values = None, penalty: float = 1.0) -> np.ndarray:
    """All losses zero have no angle."""
    r = each(preference, len(L)) / sum(each(preference, len(L)))
    penalty = penalty if L.any() else 0.0
    return slope(lambda L: len(L) * (r @ L - (penalty and penalty * (r @ L) / length(r) / length(L))), L) @ J


def pbi(
    J: np.ndarray, L: np.ndarray, preference: Values = None, penalty: float = 5.0, ideal: Values = None
) -> np.ndarray:
    """On the ray the distance from it has no derivative and does not count."""
    p, z = each(preference, len(L)), each(ideal, len(L), 0.0)
    p = p / length(p)

    def value(L: np.ndarray) -> complex:
        d1 = sum(p * (L - z))
        off = L - z - d1 * p
        d2 = length(off) if max(abs(off)) > 1e-9 else 0.0
        return len(L) / sum(p) * (d1 + penalty * d2)

    return slope(value, L) @ J


def random(steps: Steps) -> Directions:
    generator, found = torch.Generator().manual_seed(SEED), []
    for J, _, _ in steps:
        z = torch.randn(len(J), generator=generator, dtype=torch.float64).numpy()
        found.append(len(J) * softmax(z) @ J)
    return found


def uncertainty(steps: Steps, lr: float = 0.025) -> Directions:
    """Descent on s of the sum of e^-s L + s."""
    s, slopes, found = np.zeros(len(steps[0].L)), [], []
    for J, L, _ in steps:
        found.append(np.exp(-s) @ J)
        slopes.append(slope(lambda s, L=L: sum(np.exp(-s) * L + s), s))
        s = s - lr * adam(slopes)
    return found


def imtl_l(steps: Steps, lr: float = 0.01) -> Directions:
    """Descent on s of the sum of e^s L - s."""
    s, slopes, found = np.zeros(len(steps[0].L)), [], []
    for J, L, _ in steps:
        found.append(np.exp(s) @ J)
        slopes.append(slope(lambda s, L=L: sum(np.exp(s) * L - s), s))
        s = s - lr * adam(slopes)
    return found


def dwa(steps: Steps, window: int = 50, temperature: float = 2.0) -> Directions:
    found = []
    for k, (J, _, _) in enumerate(steps):
        means = [np.mean([s.L for s in steps[a : a + window]], axis=0) for a in range(0, k + 1, window)]
        full = means[: k // window]
        rates = np.ones(len(J))
        for t in range(len(J)):
            if len(full) >= 2 and full[-2][t] > 0:
                rates[t] = full[-1][t] / full[-2][t]
        found.append(len(J) * softmax(rates / temperature) @ J)
    return found


def famo_slope(z: Sequence[float], delta: Sequence[float], xi: Sequence[float], decay: float) -> np.ndarray:
    """J' delta + decay xi, with the derivative of the softmax written out entry by entry."""
    T = len(z)
    return np.array([
        sum(z[j] * ((1.0 if i == j else 0.0) - z[i]) * delta[j] for j in range(T)) + decay * xi[i]
        for i in range(T)
    ])  # fmt: skip


def famo(steps: Steps, lr: float = 0.025, decay: float = 1e-3, ideal: Values = None) -> Directions:
    """The losses after an update are those that the method is told, or else those of the next step."""
    T = len(steps[0].L)
    found, slopes, before = [], [[] for _ in range(T)], np.full(T, np.nan)
    b, xi = each(ideal, T, 0.0), np.zeros(T)
    for J, L, after in steps:
        for now in (L, after):
            there = ~np.isnan(L)
            due = np.flatnonzero(there & ~np.isnan(before))
            if now is not None and len(due):
                delta = np.log(before[due]) - np.log(now[due] - b[due])
                fresh = famo_slope(softmax(xi[due]), delta, xi[due], decay)
                for t, own in zip(due, fresh, strict=True):
                    slopes[t].append(own)
                    xi[t] -= lr * adam(slopes[t])
                before[there] = np.nan
            if now is L:
                z, gaps = softmax(xi[there]), (L - b)[there]
                found.append(len(gaps) / sum(z / gaps) * (z / gaps) @ J[there])
                before[there] = gaps
    return found


# ---- gradients


def krum(
    J: np.ndarray, L: np.ndarray, outliers: int | None = None, selected: int | None = None
) -> np.ndarray:
    """Ties are broken in every possible way, and the outcomes averaged."""
    T = len(J)
    f = max(0, (T - 3) // 2) if outliers is None else outliers
    if f and f > T - 3:
        raise ValueError("too few tasks")
    near = max(T - f - 2, min(T - 1, 1))
    keep = min(T, T - f if selected is None else selected)
    scores = []
    for i in range(T):
        distances = sorted(sum((J[i] - J[j]) ** 2) for j in range(T) if j != i)
        scores.append(round(sum(distances[:near]) / np.abs(J).max() ** 2, 9))
    outcomes = []
    for order in itertools.permutations(range(T)):
        best = sorted(order, key=lambda i: scores[i])[:keep]
        outcomes.append(T / keep * sum(J[i] for i in best))
    return np.mean(outcomes, axis=0)


def trimmed_mean(J: np.ndarray, L: np.ndarray, trim: int = 1) -> np.ndarray:
    T = len(J)
    while 2 * trim >= T:
        trim -= 1
    return np.array([T * np.mean(sorted(column)[trim : T - trim]) for column in J.T])


def gradnorm(steps: Steps, alpha: float = 1.5, lr: float = 0.025) -> Directions:
    T, found, slopes, first = len(steps[0].L), [], [], steps[0].L
    logits = np.zeros(T)
    for J, L, _ in steps:
        lengths = np.linalg.norm(J, axis=1)
        w = T * softmax(logits)
        found.append(w @ J)
        target = np.mean(w * lengths) * (L / first / np.mean(L / first)) ** alpha

        def value(z: np.ndarray, lengths: np.ndarray = lengths, target: np.ndarray = target) -> complex:
            gaps = T * softmax(z) * lengths - target
            return sum(gaps * np.sign(gaps.real))

        slopes.append(slope(value, logits) / lengths.max())
        logits = logits - lr * adam(slopes)
    return found


def nearest_on_simplex(point: np.ndarray) -> np.ndarray:
    """By bisection on what is taken off all entries."""
    point = point - point.max()
    low, high = -1.0, 0.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(point - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(point - low, 0)


def moco(
    steps: Steps,
    beta: float = 0.5,
    beta_decay: float = 0.5,
    gamma: float = 0.1,
    gamma_decay: float = 0.5,
    rho: float = 0.0,
) -> Directions:
    T, P = steps[0].J.shape
    y, w, found = np.zeros((T, P)), np.full(T, 1 / T), []
    for k, (J, _, _) in enumerate(steps, start=1):
        for i in range(T):
            y[i] = J[i] if k == 1 else y[i] - beta / k**beta_decay * (y[i] - J[i])
        descent = [sum(y[i] @ y[j] * w[j] for j in range(T)) + rho * w[i] for i in range(T)]
        w = nearest_on_simplex(w - gamma / k**gamma_decay * np.array(descent))
        found.append(T * sum(w[i] * y[i] for i in range(T)))
    return found


def modo(steps: Steps, gamma: float = 0.1, rho: float = 0.1) -> Directions:
    T, before, found = len(steps[0].J), steps[0].J, []
    w = np.full(T, 1 / T)
    for J, _, _ in steps:
        descent = [sum(J[i] @ before[j] * w[j] for j in range(T)) + rho * w[i] for i in range(T)]
        w = nearest_on_simplex(w - gamma * np.array(descent))
        found.append(T * sum(w[i] * J[i] for i in range(T)))
        before = J
    return found


def sdmgrad(
    steps: Steps,
    pull: float = 0.3,
    lr: float = 5.0,
    momentum: float = 0.5,
    iterations: int = 20,
    preference: Values = None,
) -> Directions:
    T, before, found = len(steps[0].J), steps[0].J, []
    w, q = np.full(T, 1 / T), each(preference, T) / sum(each(preference, T))
    for J, _, _ in steps:
        scale = np.mean([np.linalg.norm(g) for g in J]) ** 2 or 1.0
        velocity = np.zeros(T)
        for _ in range(iterations):
            total = w + pull * q
            descent = [sum(J[i] @ before[j] / scale * total[j] for j in range(T)) for i in range(T)]
            velocity = momentum * velocity + np.array(descent)
            w = nearest_on_simplex(w - lr * velocity)
        found.append(T * sum((w[i] + pull * q[i]) / (1 + pull) * J[i] for i in range(T)))
        before = J
    return found


def db_mtl(steps: Steps, beta: float = 0.9, decay: float = 0.0) -> Directions:
    y, found = np.zeros_like(steps[0].J), []
    for k, (J, L, _) in enumerate(steps, start=1):
        for i in range(len(J)):
            fresh = J[i] / L[i]
            y[i] = fresh if k == 1 else beta / k**decay * y[i] + (1 - beta / k**decay) * fresh
        longest = max(np.linalg.norm(row) for row in y)
        found.append(sum(longest / np.linalg.norm(row) * row for row in y if row.any()))
    return found


def excess_mtl(steps: Steps, lr: float = 0.01, warm_up: int = 1) -> Directions:
    T, P = steps[0].J.shape
    S, log_w, first, found = np.zeros((T, P)), np.zeros(T), np.zeros(T), []
    for k, (J, _, _) in enumerate(steps, start=1):
        S += J**2
        e = np.array([
            sum(J[i, p] ** 2 / np.sqrt(S[i, p]) for p in range(P) if S[i, p] > 0) for i in range(T)
        ])  # fmt: skip
        if k <= warm_up:
            first += e / warm_up
        else:
            log_w += lr * e / np.where(first > 0, first, 1)
        found.append(T * softmax(log_w) @ J)
    return found


REFERENCES: dict[str, Reference] = {
    **{rule.__name__: rule for rule in (
        random, uncertainty, imtl_l, dwa, famo, stch, drawn.pcgrad, drawn.gradvac, drawn.graddrop, gradnorm, moco,
        modo, sdmgrad, db_mtl, excess_mtl,
    )},
    **{rule.__name__: alone(rule) for rule in (
        equal, static, scale_invariant, geometric_mean, cosmos, pbi, krum, trimmed_mean,
        solved.mgda, solved.cagrad, solved.imtl_g, solved.nash_mtl, solved.aligned_mtl, solved.fairgrad, solved.upgrad,
        solved.dualproj, solved.config,
    )},
}  # fmt: skip
