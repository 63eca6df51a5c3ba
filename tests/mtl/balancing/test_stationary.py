"""Gradients that cancel, in whole or in part, and of very different lengths: what the solvers make of them."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from mtl.balancing.methods.cagrad import cagrad_weights
from mtl.balancing.methods.fairgrad import fair_weights
from mtl.balancing.solvers import minimum_norm_weights
from tests.mtl.balancing.scenarios import CANCEL

F64 = torch.float64
ALPHAS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def spread(count: int, seed: int, decades: float) -> Iterator[Tensor]:
    """[T, 20] and [T, 4] with T from 2 to 11, of lengths that differ by so many powers of ten at most."""
    generator = torch.Generator().manual_seed(seed)
    for i in range(count):
        T, P = 2 + i % 10, (20, 4)[i % 2]
        J = torch.randn(T, P, generator=generator, dtype=F64)
        yield J * 10 ** (decades * (torch.rand(T, 1, generator=generator, dtype=F64) - 0.5))


def cancelling(count: int, seed: int, decades: float) -> Iterator[Tensor]:
    """The same with one gradient more, a negative multiple of a positive combination of the others."""
    generator = torch.Generator().manual_seed(seed)
    for J in spread(count, seed + 1, decades):
        factors = 0.1 + torch.rand(len(J), 1, generator=generator, dtype=F64)
        scale = 10 ** (decades * (torch.rand(1, generator=generator, dtype=F64) - 0.5))
        yield torch.cat([J, -scale * (factors * J).sum(dim=0, keepdim=True)])


def error(M: Tensor, a: Tensor, alpha: float) -> float:
    """Of a gain, relative to it or to a millionth of the terms it is the sum of."""
    gains, wanted = M @ a, a ** (-1 / alpha)
    return float(((gains - wanted).abs() / torch.maximum(wanted, 1e-6 * (M.abs() @ a))).max())


@pytest.mark.parametrize("decades", [0.0, 10.0])
def test_fair_weights_are_zero_where_gradients_cancel(decades: float) -> None:
    for i, J in enumerate(cancelling(300, seed=21, decades=decades)):
        solution = fair_weights(J @ J.T, ALPHAS[i % len(ALPHAS)])
        assert not solution.weights.any(), (i, solution.residual)
        assert solution.residual == 0


@pytest.mark.parametrize("decades", [3.0, 10.0])
def test_fair_weights_solve_their_equation_whatever_the_lengths(decades: float) -> None:
    """Many of 11 gradients in four dimensions cancel by chance: they have no solution, and the shortest is zero."""
    solved = 0
    for i, J in enumerate(spread(300, seed=22, decades=decades)):
        M, alpha = J @ J.T, ALPHAS[i % len(ALPHAS)]
        solution = fair_weights(M, alpha)
        unit = J / J.norm(dim=1, keepdim=True)
        if not solution.weights.any():
            assert float((minimum_norm_weights(unit @ unit.T).weights @ unit).norm()) < 1e-6
            continue
        solved += 1
        assert (solution.weights > 0).all()
        assert max(solution.residual, error(M, solution.weights, alpha)) <= 1e-8, (i, alpha)
    assert solved > 200


def test_the_error_of_fair_weights_can_be_large() -> None:
    M = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=F64)
    a = fair_weights(M, 2.0).weights
    assert error(M, a, 2.0) < 1e-12
    assert error(M, a * torch.tensor([1.0, 1.001]), 2.0) > 1e-4


def test_close_to_opposed_is_not_opposed() -> None:
    """At angles of pi less 1e-4 the gains are small and the weights large, and a solution exists: 1 / sqrt(1 + cos)."""
    angle = 1e-4
    J = torch.tensor([[1.0, 0.0], [-1.0, angle]], dtype=F64)
    J = J / J.norm(dim=1, keepdim=True)
    expected = 1 / (1 + J[0] @ J[1]).sqrt()
    for length in (1e-5, 1.0, 1e5):
        weights = fair_weights((length * J) @ (length * J).T, 1.0).weights
        torch.testing.assert_close(weights * length, expected.expand(2), rtol=1e-6, atol=0)


@pytest.mark.parametrize("decades", [0.0, 2.0])
def test_the_shortest_combination_is_zero_where_gradients_cancel(decades: float) -> None:
    """Also where many of them lie in few dimensions, and the Gramian's small eigenvalues are rounding."""
    for J in cancelling(300, seed=23, decades=decades):
        solution = minimum_norm_weights(J @ J.T)
        assert solution.converged
        assert float((solution.weights @ J).norm()) <= 1e-6 * float(J.norm(dim=1).min())


@pytest.mark.parametrize("c", [0.8, 1.5, 3.0])
def test_cagrad_does_no_more_than_can_be_done(c: float) -> None:
    """g, -g and h: one of the first two loses what the other gains, so the best least gain is zero."""
    J = torch.from_numpy(CANCEL[0].J)
    solution = cagrad_weights(J @ J.T, c)
    d, mean = solution.weights @ J / 3, J.mean(dim=0)
    assert solution.converged
    assert solution.residual <= 1e-8
    assert float((J @ d).min()) >= -1e-8
    assert float((d - mean).norm()) < 0.9 * c * float(mean.norm())


def test_cagrad_is_optimal_where_gradients_cancel() -> None:
    """By the least gain: never above that of a convex combination that is zero, and reached with a large c."""
    for J in cancelling(150, seed=24, decades=2.0):
        for c in (0.5, 3.0):
            solution = cagrad_weights(J @ J.T, c)
            assert solution.residual <= 1e-8
            d, mean = solution.weights @ J / len(J), J.mean(dim=0)
            assert float((d - mean).norm()) <= c * float(mean.norm()) * (1 + 1e-6)
            w = minimum_norm_weights(J @ J.T).weights
            assert float((J @ d).min()) <= float(w @ J @ mean) + 1e-8 * float(J.norm(dim=1).max()) ** 2
            if c >= 1:
                assert (J @ d >= -1e-7 * J.norm(dim=1) * float(J.norm(dim=1).max())).all()
