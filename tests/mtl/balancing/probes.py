"""What no direction shows: certificates of wrong solutions, the first steps of an iteration, and where it ends.

A probe takes a module (`mtl.balancing.solvers`, or a method's) and asserts numbers worked out here. Certificates are
read at solutions that are wrong on purpose: at a right one, a certificate that is always zero looks the same.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from mtl.balancing.method import Size

Probe = Callable[[ModuleType], None]


def tensor(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def near(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def converged_reads_the_residual_and_what_rounding_allows(module: ModuleType) -> None:
    solution = module.Solution
    assert solution(tensor(1.0), 2e-8, 1.5e-8).converged
    assert not solution(tensor(1.0), 2e-8, 0.5e-8).converged


def dual_cone_residual(module: ModuleType) -> None:
    """The largest of -x, -y and |x y|."""
    cases = [
        ((0.5, -0.3), (0.1, 0.2), 0.3), ((0.5, 0.4), (-0.2, 0.1), 0.2), ((2.0, 0.1), (0.3, 0.1), 0.6),
        ((0.0, 1.0), (1.0, 0.0), 0.0),
    ]  # fmt: skip
    for x, y, wanted in cases:
        with patch.object(module, "complementarity", return_value=(tensor(x), tensor(y))):
            near(module.dual_cone_weights(torch.eye(2).double(), tensor((1.0, 1.0))).residual, wanted)


def minimum_norm_residual(module: ModuleType) -> None:
    """Lengths 1 and 2, x = (1, 1): weights 2/3 and 1/3, |d|² = 8/9, least gain 2/3, by the shorter square."""
    M = torch.diag(tensor(1.0, 4.0))
    with patch.object(module, "complementarity", return_value=(tensor((1.0, 1.0)), None)):
        solution = module.minimum_norm_weights(M)
    near(solution.weights, [2 / 3, 1 / 3])
    near(solution.residual, 8 / 9 - 2 / 3)


def zero_gradients_share_the_weight(module: ModuleType) -> None:
    near(module.minimum_norm_weights(torch.diag(tensor(0.0, 4.0, 0.0))).weights, [0.5, 0.0, 0.5])


def equal_cosines_residual(module: ModuleType) -> None:
    """An eigenvalue of two where it is one: b = (1, 1/2), or (2, 2) where (2, 4) is wanted."""
    with patch.object(torch.linalg, "eigh", return_value=(tensor(1.0, 2.0), torch.eye(2).double())):
        near(module.equal_cosines(torch.eye(2).double())[2], 0.5)
        near(module.equal_cosines(torch.eye(2).double(), tensor(2.0, 4.0))[2], 0.5)


def aligned_residual(module: ModuleType) -> None:
    """Eigenvalues of 2 and 3 where they are 1 and 4: B M B = diag(1, 8/3), and 2 is aimed at."""
    with patch.object(torch.linalg, "eigh", return_value=(tensor(2.0, 3.0), torch.eye(2).double())):
        solution = module.aligned_weights(torch.diag(tensor(1.0, 4.0)), tensor(1.0, 1.0))
    near(solution.residual, 0.5)
    near(solution.rounding, 1.5e-14)


def excess_adds_up_blocks_of_columns(module: ModuleType) -> None:
    """In the first step S = g², so that e_t is the sum of |g_t|."""
    J = torch.arange(10, dtype=torch.float64).reshape(2, 5) - 4
    given = SimpleNamespace(jacobian=J, tasks=("a", "b"))
    rule = module.ExcessMTL()
    with patch.object(module, "blocks", return_value=[slice(0, 2), slice(2, 5)]):
        _, state = rule.solve(given, rule.init(Size(2, 5)))
    near(state.first, J.abs().sum(dim=1))


def cagrad_residual(module: ModuleType) -> None:
    """Two orthogonal unit gradients, c = 0.4: mean (1/2, 1/2), radius 0.4 / sqrt 2; e along the first, w = (1, 0)."""
    length = 0.5**0.5
    radius = 0.4 * length
    wrong = (tensor(radius, 0.0), tensor(1.0, 0.0))
    with (
        patch.object(module, "_root", return_value=(-10.0, tensor(0.5, 0.0))),
        patch.object(module, "_shortest", return_value=wrong),
    ):
        solution = module.cagrad_weights(torch.eye(2).double(), 0.4)
    near(solution.weights, [1 + 2 * radius, 1.0])
    near(solution.residual, radius / (radius + length))
    near(solution.rounding, 1e-14 / length**2)


def cagrad_tries_until_the_gap_is_closed(module: ModuleType) -> None:
    """Multipliers from 1e-2 to 1e-6; the point with the smallest gap counts, and the first only where it is as long."""
    length = 0.5**0.5
    radius, tried = 0.4 * length, []

    def shortest(M: Tensor, b: Tensor, length: float, s: float) -> tuple[Tensor, Tensor]:
        tried.append(s * length)
        return tensor(len(tried) / 10, 0.0), tensor(1.0, 0.0)

    for x, gaps, count, e in (
        (0.5, (5, 3, 2, 4, 6, 7), 5, 0.2), (0.5, (1, 3, 2, 4, 6, 7), 5, radius), (0.5, (5, 3, 0), 2, 0.2),
        (0.5 * radius, (1, 3, 2, 4, 6, 7), 5, 0.2), (0.998 * radius, (0, 3, 2, 4, 6, 1), 5, 0.5),
        (0.9995 * radius, (0,), 0, radius),
    ):  # fmt: skip
        tried.clear()
        with (
            patch.object(module, "_root", return_value=(-10.0, tensor(x, 0.0))),
            patch.object(module, "_shortest", shortest),
            patch.object(module, "_gap", side_effect=map(float, gaps)),
        ):
            solution = module.cagrad_weights(torch.eye(2).double(), 0.4)
        near(tried, [1e-2, 1e-3, 1e-4, 1e-5, 1e-6][:count])
        near(solution.weights, [1 + 2 * e, 1.0])
        near(solution.residual, (min(gaps[1:]) if count and e != radius else gaps[0]) / (radius + length))


def cagrad_gap(module: ModuleType) -> None:
    """M = diag(1, 4), b = (1, 2): at w = (3/4, 1/4) 5/4 + r sqrt(13) / 4; gains at e = (1, 0) are 2 and 2."""
    M, b = torch.diag(tensor(1.0, 4.0)), tensor(1.0, 2.0)
    for radius, e, wanted in ((2.0, (1.0, 0.0), 1.25 + 13**0.5 / 2 - 2), (2.0, (0.5, 0.5), 1.25 + 13**0.5 / 2 - 1.5),
                              (0.0, (1.0, 0.0), 0.0)):  # fmt: skip
        near(module._gap(M, b, radius, tensor(*e), tensor(0.75, 0.25)), wanted)


def cagrad_shortest(module: ModuleType) -> None:
    """(1, 1), (-1, 1) / 2 and (0, -1): w = (1, 2, 2) / 5 is zero, and any small s gives the same e."""
    J = np.array([[1.0, 1.0], [-0.5, 0.5], [0.0, -1.0]])
    mean = J.mean(axis=0)
    M, b = torch.from_numpy(J @ J.T), torch.from_numpy(J @ mean)
    e, w = module._shortest(M, b, float(np.linalg.norm(mean)), 1e-3)
    np.testing.assert_allclose(w.numpy() @ J, 0, atol=1e-9)
    np.testing.assert_allclose(w, [0.2, 0.4, 0.4], atol=1e-9)
    np.testing.assert_allclose(J @ (mean + e.numpy() @ J), float(w @ b), atol=1e-9)


@contextmanager
def solves(most: int) -> Iterator[None]:
    """Inside, at most so many positive definite systems are solved."""
    real, left = torch.cholesky_solve, iter(range(most))

    def solve(*systems: Tensor) -> Tensor:
        assert next(left, None) is not None, f"it solves more than {most} systems"
        return real(*systems)

    with patch.object(torch, "cholesky_solve", solve):
        yield


M3 = tensor((4.0, -1.0, 0.5), (-1.0, 1.0, 0.2), (0.5, 0.2, 0.5))


def fair_start_and_end(module: ModuleType) -> None:
    """Without a step, a = |g|^(-2 / (1 + p)), exact for gradients at right angles; and few steps to the end."""
    lengths = np.array([1.0, 2.0, 3.0])
    C = np.array([[1.0, 0.2, -0.3], [0.2, 1.0, 0.1], [-0.3, 0.1, 1.0]])
    M = C * lengths * lengths[:, None]
    for alpha in (0.5, 1.0, 2.0):
        p = 1 / alpha
        with patch.object(module, "_STEPS", 0):
            solution = module.fair_weights(torch.from_numpy(M), alpha)
        a = lengths ** (-2 / (1 + p))
        near(solution.weights, a)
        near(solution.residual, np.abs(M @ a / a**-p - 1).max())
        with solves(10):
            module.fair_weights(M3, alpha)
            module.fair_weights(torch.from_numpy(M), alpha)


def fair_error_is_relative(module: ModuleType) -> None:
    """To the gain asked for, or to a millionth of the terms where that is more."""
    near(module._error(tensor(3.0, 1.0), tensor(2.0, 1.5), tensor(9.0, 9.0)), 0.5)
    near(module._error(tensor(3e-8, 1.0), tensor(2e-8, 1.0), tensor(9.0, 9.0)), 1e-8 / 9e-6)


def newton(C: np.ndarray, b: np.ndarray, k: np.ndarray, p: float) -> np.ndarray:
    """One step of FairGrad's, number by number: on a logarithm, a line, or where no gain is had; halved until less."""

    def value(b: np.ndarray) -> float:
        utility = np.log(b) if p == 1 else b ** (1 - p) / (1 - p)
        return float(b @ C @ b / 2 - (k * utility).sum())

    had, asked, slopes = C @ b, k * b**-p, []
    for y, w, own in zip(had, asked, b, strict=True):
        mean = w if abs(y / w - 1) < 1e-5 else (y - w) / np.log(y / w) if y > 0 else np.nan
        slopes.append(p * mean / own if y > 0 else (w - y) / max(-y, own))
    move = np.linalg.solve(C + np.diag(slopes), asked - had) / b
    powers, t = (had > 0) & (np.array(slopes) > 1), 1.0
    while True:
        new = b * np.where(powers, np.exp(t * move), np.maximum(1 + t * move, 0.1))
        if value(new) <= value(b) - 1e-4 * t * (b * (asked - had)) @ move:
            return new
        t /= 2


def fair_steps(module: ModuleType) -> None:
    """From starts of every kind, and with a line search that halves."""
    C = np.array([[1.0, 0.3, -0.6], [0.3, 1.0, 0.2], [-0.6, 0.2, 1.0]])
    starts = (
        ((1.0, 1.2, 0.9), (1.1, 1.0, 0.8)), ((0.5, 0.7, 2.0), (1.0, 2.0, 1.0)), ((2.0, 1.0, 2.0), (1.0, 1.0, 1.0)),
        ((0.3, 0.1, 0.9), (0.2, 0.2, 0.2)), ((1.0, 1.5, 0.8), (3.0, 1.0, 0.1)), ((1.0, 0.1, 3.0), (1.0, 1e-3, 1.0)),
        ((0.1, 1.0, 3.0), (1.0, 1.0, 1.0)), ((1e-3, 1.0, 1.0), (1e-3, 9.0, 5.0)), ((0.1, 0.1, 0.1), (9.0, 0.1, 0.2)),
        ((0.8, 0.06, 0.01), (0.01, 18.0, 45.0)), ((0.7, 1.5, 0.4), (55.0, 18.0, 0.01)),
        ((0.2, 0.04, 0.02), (1.0, 1.0, 1.0)),
    )  # fmt: skip
    for p in (0.1, 0.5, 1.0, 3.0):
        for b, k in starts:
            own, factor = np.array(b), np.array(k if p != 1 else np.ones(3))
            given = [torch.from_numpy(x) for x in (C, np.log(factor), own, C @ own, factor * own**-p)]
            found, had, asked = module._step(*given[:2], p, *given[2:])
            near(found, newton(C, own, factor, p))
            near(had, C @ found.numpy())
            near(asked, factor * found.numpy() ** -p)


def fair_near_opposed(module: ModuleType) -> None:
    """Gains are a billionth of the terms they are the sum of: the line search sees no value that is lower by less."""
    generator = np.random.default_rng(0)
    for gap in (1e-5, 1e-7, 1e-8, 3e-9):
        for _ in range(4):
            u, v = np.linalg.qr(generator.normal(size=(3, 2)))[0].T
            cosine = gap - 1
            J = np.stack([2 * u, 0.8 * (cosine * u + np.sqrt(1 - cosine**2) * v)])
            for alpha in (0.5, 1.0, 2.0):
                with solves(35):
                    assert module.fair_weights(torch.from_numpy(J @ J.T), alpha).residual <= 1e-9


def fair_stationarity(module: ModuleType) -> None:
    """A least gain that shows that none is needed spares the problem; else the shortest combination decides."""
    C = torch.eye(2).double()
    opposed = tensor((1.0, -1.0), (-1.0, 1.0))
    with patch.object(module, "minimum_norm_weights", side_effect=AssertionError("not needed")):
        assert not module._cancel(C, tensor(1.1e-6, 2.0), 1.0)
        assert not module._cancel(C, tensor(3.3e-6, 2.0), 9.0)
        assert not module._cancel(C, tensor(0.2e-6, 2.0), 0.01)
    assert module._cancel(opposed, tensor(0.9e-6, 0.9e-6), 1.0)
    assert module._cancel(opposed, tensor(2.9e-6, 3.0), 9.0)
    for angle, zero in ((1e-6, True), (3e-6, False)):  # the combination is half as long
        cosine = -np.cos(angle)
        assert module._cancel(tensor((1.0, cosine), (cosine, 1.0)), tensor(0.0, 0.0), 1.0) == zero


PROBES: dict[str, list[Probe]] = {
    "solvers": [
        converged_reads_the_residual_and_what_rounding_allows, dual_cone_residual, minimum_norm_residual,
        zero_gradients_share_the_weight, equal_cosines_residual,
    ],
    "aligned_mtl": [aligned_residual],
    "excess_mtl": [excess_adds_up_blocks_of_columns],
    "cagrad": [cagrad_residual, cagrad_tries_until_the_gap_is_closed, cagrad_gap, cagrad_shortest],
    "fairgrad": [
        fair_start_and_end, fair_error_is_relative, fair_steps, fair_near_opposed, fair_stationarity,
    ],
}  # fmt: skip
