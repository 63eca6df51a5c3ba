"""Methods that keep gradients, over steps: against the papers' rules written out in numpy, number by number."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

import mtl
from mtl.balancing.method import Given, Size
from mtl.balancing.registry import build

T, P, STEPS = 3, 4, 5


def gradients() -> list[np.ndarray]:
    generator = np.random.default_rng(3)
    common = generator.normal(size=(T, P))
    return [common + 0.5 * generator.normal(size=(T, P)) for _ in range(STEPS)]


def losses() -> list[np.ndarray]:
    generator = np.random.default_rng(4)
    return [generator.uniform(0.5, 2.0, size=T) for _ in range(STEPS)]


def directions(name: str, **options: object) -> list[np.ndarray]:
    """The direction of each step, the state carried along."""
    rule, found = build(name, dict(options)), []
    state = rule.init(Size(T, P))
    for J, L in zip(gradients(), losses(), strict=True):
        rows = torch.from_numpy(J)
        given = Given(
            name, ("a", "b", "c"), (0, 1, 2), T, torch.Generator(), torch.from_numpy(L), rows @ rows.T, rows
        )
        answer, state = rule.solve(given, state)
        direction = answer.direction if answer.weights is None else answer.weights @ rows
        assert direction is not None
        found.append(direction.numpy())
    return found


def nearest_on_simplex(point: np.ndarray) -> np.ndarray:
    """By bisection on what is taken off all entries."""
    low, high = point.min() - 1, point.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(point - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(point - low, 0)


def moco(beta: float, gamma: float, rho: float) -> list[np.ndarray]:
    y, w, found = np.zeros((T, P)), np.full(T, 1 / T), []
    for k, J in enumerate(gradients(), start=1):
        for i in range(T):
            y[i] = J[i] if k == 1 else y[i] - beta / np.sqrt(k) * (y[i] - J[i])
        slope = [sum(y[i] @ y[j] * w[j] for j in range(T)) + rho * w[i] for i in range(T)]
        w = nearest_on_simplex(w - gamma / np.sqrt(k) * np.array(slope))
        found.append(T * sum(w[i] * y[i] for i in range(T)))
    return found


def modo(gamma: float, rho: float) -> list[np.ndarray]:
    w, found, before = np.full(T, 1 / T), [], gradients()[0]
    for J in gradients():
        slope = [sum(J[i] @ before[j] * w[j] for j in range(T)) + rho * w[i] for i in range(T)]
        w = nearest_on_simplex(w - gamma * np.array(slope))
        found.append(T * sum(w[i] * J[i] for i in range(T)))
        before = J
    return found


def sdmgrad(pull: float, lr: float, momentum: float, iterations: int) -> list[np.ndarray]:
    w, found, before = np.full(T, 1 / T), [], gradients()[0]
    for J in gradients():
        scale = np.mean([np.linalg.norm(g) for g in J]) ** 2
        velocity = np.zeros(T)
        for _ in range(iterations):
            total = w + pull / T
            slope = [sum(J[i] @ before[j] / scale * total[j] for j in range(T)) for i in range(T)]
            velocity = momentum * velocity + np.array(slope)
            w = nearest_on_simplex(w - lr * velocity)
        found.append(T * sum((w[i] + pull / T) / (1 + pull) * J[i] for i in range(T)))
        before = J
    return found


def db_mtl(beta: float) -> list[np.ndarray]:
    y, found = np.zeros((T, P)), []
    for k, (J, L) in enumerate(zip(gradients(), losses(), strict=True), start=1):
        for i in range(T):
            fresh = J[i] / L[i]
            y[i] = fresh if k == 1 else beta * y[i] + (1 - beta) * fresh
        longest = max(np.linalg.norm(row) for row in y)
        found.append(sum(longest / np.linalg.norm(row) * row for row in y))
    return found


def excess_mtl(lr: float, warm_up: int) -> list[np.ndarray]:
    S, log_w, first, found = np.zeros((T, P)), np.zeros(T), np.zeros(T), []
    for k, J in enumerate(gradients(), start=1):
        S += J**2
        e = np.array([sum(J[i, p] ** 2 / np.sqrt(S[i, p]) for p in range(P)) for i in range(T)])
        if k <= warm_up:
            first += e / warm_up
        else:
            log_w += lr * e / first
        w = np.exp(log_w) / np.exp(log_w).sum()
        found.append(T * w @ J)
    return found


def gradnorm(alpha: float, lr: float) -> list[np.ndarray]:
    """The slope of the loss by the logits, by differences."""
    logits, m, v, found, first = np.zeros(T), np.zeros(T), np.zeros(T), [], losses()[0]
    for k, (J, L) in enumerate(zip(gradients(), losses(), strict=True), start=1):
        lengths = np.linalg.norm(J, axis=1)
        w = T * np.exp(logits) / np.exp(logits).sum()
        found.append(w @ J)
        rates = L / first / np.mean(L / first)
        target = np.mean(w * lengths) * rates**alpha

        def value(z: np.ndarray, lengths: np.ndarray = lengths, target: np.ndarray = target) -> float:
            return float(np.abs(T * np.exp(z) / np.exp(z).sum() * lengths - target).sum())

        step = 1e-6
        slope = (
            np.array([(value(logits + step * e) - value(logits - step * e)) / (2 * step) for e in np.eye(T)])
            / lengths.max()
        )
        m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
        logits = logits - lr * (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
    return found


CASES: list[tuple[str, Callable[..., list[np.ndarray]], dict[str, float]]] = [
    ("moco", moco, {"beta": 0.5, "gamma": 0.05, "rho": 0.2}),
    ("modo", modo, {"gamma": 0.05, "rho": 0.3}),
    ("sdmgrad", sdmgrad, {"pull": 0.3, "lr": 0.2, "momentum": 0.5, "iterations": 4}),
    ("db_mtl", db_mtl, {"beta": 0.7}),
    ("excess_mtl", excess_mtl, {"lr": 0.5, "warm_up": 2}),
    ("gradnorm", gradnorm, {"alpha": 0.7, "lr": 0.1}),
]


@pytest.mark.parametrize(("name", "reference", "options"), CASES, ids=[case[0] for case in CASES])
def test_five_steps_as_the_paper_says(
    name: str, reference: Callable[..., list[np.ndarray]], options: dict[str, float]
) -> None:
    found, expected = directions(name, **options), reference(**options)
    rtol = 1e-4 if name == "gradnorm" else 1e-8
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)
    assert np.abs(found[-1] - gradients()[-1].sum(axis=0)).max() > 0.05  # it is not the plain sum


def test_moco_with_fixed_gradients_comes_to_mgdas_weights() -> None:
    """Small steps on an unchanging problem: the projected descent of MGDA's."""
    model, balancer = Fixed(), mtl.Balancer("moco", gamma=0.05, gamma_decay=0.0)
    for _ in range(3000):
        model.weight.grad = None
        balancer.backward(model.losses(), model)
    expected = mtl.combine(Fixed.rows, "mgda")
    torch.testing.assert_close(model.weight.grad, expected, rtol=1e-3, atol=1e-4)


def test_sdmgrad_pulled_hard_is_the_plain_sum() -> None:
    J = torch.from_numpy(gradients()[0])
    torch.testing.assert_close(mtl.combine(J, "sdmgrad", pull=1e9), J.sum(dim=0), rtol=1e-6, atol=1e-8)


class Fixed(torch.nn.Module):
    """Three linear losses: the same gradients in every step."""

    tasks = (mtl.Regression("a"), mtl.Regression("b"), mtl.Regression("c"))
    rows = torch.tensor([[1.0, 0.5, 0.0], [-0.5, 1.0, 0.3], [0.2, 0.1, 2.0]])

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))

    def shared_parameters(self) -> list[torch.nn.Parameter]:
        return [self.weight]

    def losses(self) -> dict[str, torch.Tensor]:
        return {task.name: row @ self.weight for task, row in zip(self.tasks, self.rows, strict=True)}
