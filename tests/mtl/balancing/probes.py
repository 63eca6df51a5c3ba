"""What no direction shows: certificates of wrong solutions, the first steps of an iteration, and where it ends.

A probe takes a module (`mtl.balancing.solvers`, or a method's) and asserts numbers worked out here. Certificates are
read at solutions that are wrong on purpose: at a right one, a certificate that is always zero looks the same.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

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
    """An eigenvalue of two where it is one: b = (1, 1/2)."""
    with patch.object(torch.linalg, "eigh", return_value=(tensor(1.0, 2.0), torch.eye(2).double())):
        near(module.equal_cosines(torch.eye(2).double())[2], 0.5)


def cagrad_residual(module: ModuleType) -> None:
    """Two orthogonal unit gradients, c = 0.4: mean (1/2, 1/2), radius 0.4 / sqrt 2; e along the first, or zero."""
    length = 0.5**0.5
    radius = 0.4 * length
    for x, dual, least in (
        ((0.5, 0.0), 0.5 + radius, 0.5),  # w = (1, 0)
        ((0.0, 0.0), 0.5 + radius * length, 0.5),  # w = (1/2, 1/2)
    ):
        with patch.object(module, "_root", return_value=(-10.0, tensor(*x))):
            solution = module.cagrad_weights(torch.eye(2).double(), 0.4)
        near(solution.weights, [1 + 2 * radius * (x[0] > 0), 1.0])
        near(solution.residual, (dual - least) / (radius + length))
        near(solution.rounding, 1e-14 / length**2)


def newton(M: np.ndarray, steps: int) -> np.ndarray:
    """The weights after some damped Newton steps on b' M b / 2 - sum log b: 1 / (1 + d), in full once d < 1/4."""
    b = np.ones(len(M))
    for _ in range(steps):
        slope = M @ b - 1 / b
        step = -np.linalg.inv(M + np.diag(1 / b**2)) @ slope
        decrement = np.sqrt(-(step @ slope))
        b = b + step / (1 if decrement < 0.25 else 1 + decrement)
    return b


def nash_steps(module: ModuleType) -> None:
    """A near start, a far one, and uneven ones; lengths of one, two and three."""
    lengths = np.array([1.0, 2.0, 3.0])
    for inner in ((0.05, 0.02, -0.03), (-0.6, -0.3, -0.2), (0.9, 0.5, 0.4), (0.1, 0.1, 0.09)):
        a, b, c = inner
        M = np.array([[1.0, a, b], [a, 1.0, c], [b, c, 1.0]])
        for steps in (0, 1, 2, 3):
            with patch.object(module, "_STEPS", steps):
                solution = module.nash_weights(torch.from_numpy(M * lengths * lengths[:, None]))
            wanted = newton(M, steps)
            near(solution.weights, wanted / lengths)
            np.testing.assert_allclose(solution.residual, np.abs(wanted * (M @ wanted) - 1).max(), atol=1e-14)
            near(solution.rounding, 1e-14 * wanted.max() ** 2)


@contextmanager
def solves(most: int) -> Iterator[None]:
    """Inside, at most so many linear systems are solved."""
    real, left = torch.linalg.solve, iter(range(most))

    def solve(*systems: Tensor) -> Tensor:
        assert next(left, None) is not None, f"it solves more than {most} systems"
        return real(*systems)

    with patch.object(torch.linalg, "solve", solve):
        yield


M3 = tensor((4.0, -1.0, 0.5), (-1.0, 1.0, 0.2), (0.5, 0.2, 0.5))


def nash_ends_once_exact(module: ModuleType) -> None:
    with solves(8):
        module.nash_weights(M3)


def fair_start_and_end(module: ModuleType) -> None:
    """Without a step, a = |g|^(-2 / (1 + p)), exact for gradients at right angles; and few steps to the end."""
    lengths = np.array([1.0, 2.0, 3.0])
    C = np.array([[1.0, 0.2, -0.3], [0.2, 1.0, 0.1], [-0.3, 0.1, 1.0]])
    M = C * lengths * lengths[:, None]
    for alpha in (0.5, 2.0):
        p = 1 / alpha
        with patch.object(module, "_STEPS", 0):
            solution = module.fair_weights(torch.from_numpy(M), alpha)
        a = lengths ** (-2 / (1 + p))
        near(solution.weights, a)
        near(solution.residual, np.abs(M @ a / a**-p - 1).max())
        near(solution.rounding, 1e-14)
        with solves(10):
            module.fair_weights(M3, alpha)
            solution = module.fair_weights(torch.from_numpy(M), alpha)
        near(solution.rounding, 1e-14 * (solution.weights.numpy() / a).max() ** 2)


def search_takes_what_lowers_the_value(module: ModuleType) -> None:
    """b² / 2 - 2 sqrt b for each number: a full step where it lowers enough, else halves; never to zero or below."""

    def value(b: float) -> float:
        return b**2 / 2 - 2 * b**0.5

    def at(b: Any, step: Any) -> list[float]:
        b, step = tensor(*b), tensor(*step)
        slope = float((b - b**-0.5) @ step)
        return module._search(
            torch.eye(len(b)).double(), torch.ones(len(b)).double(), 0.5, b, step, slope
        ).tolist()

    near(at([0.5], [0.4]), [0.9])  # downhill, in full
    near(at([0.5], [4.0]), [0.5 + 1.0])  # 4.5 and 2.5 are higher than 0.5, and 1.5 is lower
    near(at([4.0], [-8.0]), [4 - 8 * 0.45])  # nine tenths of the way to zero
    near(at([4.0, 1.0], [-8.0, 1.0]), [4 - 8 * 0.45, 1.45])  # of the one that would be first
    little = brentq(lambda step: value(0.5 + step) - value(0.5) + 1e-6, 0.5, 2.0)
    near(
        at([0.5], [little]), [0.5 + little / 2]
    )  # lower, but by less than a ten thousandth of what the slope says


PROBES: dict[str, list[Probe]] = {
    "solvers": [
        converged_reads_the_residual_and_what_rounding_allows, dual_cone_residual, minimum_norm_residual,
        zero_gradients_share_the_weight, equal_cosines_residual,
    ],
    "cagrad": [cagrad_residual],
    "nash_mtl": [nash_ends_once_exact, nash_steps],
    "fairgrad": [fair_start_and_end, search_takes_what_lowers_the_value],
}  # fmt: skip
