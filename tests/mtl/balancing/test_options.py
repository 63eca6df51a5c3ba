"""Options of single methods, by values worked out on paper and against the peers that have them."""

from typing import Any

import pytest
import torch
from torch import Tensor

import mtl
from mtl.balancing.method import Given, Size
from mtl.balancing.methods.aligned_mtl import aligned_weights
from mtl.balancing.methods.stch import STCH
from mtl.balancing.solvers import equal_cosines
from tests.mtl.balancing.models import Two

F64 = torch.float64


def matrix(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=F64)


def random_jacobians(count: int = 30) -> list[Tensor]:
    """[T, 20] float64, T from 2 to 6, lengths spread by a factor of some hundred."""
    generator = torch.Generator().manual_seed(5)
    found = []
    for i in range(count):
        T = 2 + i % 5
        J = torch.randn(T, 20, generator=generator, dtype=F64)
        found.append(J * (1.5 * torch.randn(T, 1, generator=generator, dtype=F64)).exp())
    return found


# ---- config: preference


@pytest.mark.parametrize(
    ("J", "preference", "expected"),
    [
        # u = (2, 1) / sqrt 5; the projections 2 / sqrt 5 and 3 / sqrt 5 add up to sqrt 5
        (matrix([1.0, 0.0], [0.0, 3.0]), [2.0, 1.0], [2.0, 1.0]),
        # v with v · u_1 = 1 and v · u_2 = 0 is (1, 1); the projections are 1 / sqrt 2 and 0
        (matrix([1.0, 0.0], [-1.0, 1.0]), [1.0, 0.0], [0.5, 0.5]),
        # v · u_1 = 0 and v · u_2 = 1: v along (0, 1), the projections 0 and 1
        (matrix([1.0, 0.0], [-1.0, 1.0]), [0.0, 1.0], [0.0, 1.0]),
        # u_2 = (1, 1) / sqrt 2: v · u_1 = 1 and v · u_2 = sqrt 2 is (1, 1); the projections add up to 3 / sqrt 2
        (matrix([1.0, 0.0], [1.0, 1.0]), [1.0, 2**0.5], [1.5, 1.5]),
        # a zero gradient is left out, whatever its preference
        (matrix([1.0, 0.0], [0.0, 0.0], [0.0, 3.0]), [2.0, 9.0, 1.0], [2.0, 1.0]),
        # preferred is only what has no gradient
        (matrix([1.0, 0.0], [0.0, 0.0]), [0.0, 1.0], [0.0, 0.0]),
    ],
)
def test_config_preference_by_hand(J: Tensor, preference: list[float], expected: list[float]) -> None:
    found = mtl.combine(J, "config", preference=preference)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=F64))


def test_config_preference_is_torchjds() -> None:
    torchjd = pytest.importorskip("torchjd.aggregation")
    for J in random_jacobians():
        p = torch.linspace(0.5, 2.0, len(J), dtype=F64)
        expected = torchjd.ConFIG(pref_vector=p)(J)
        found = mtl.combine(J, "config", preference=p.tolist())
        assert (found - expected).norm() <= 1e-7 * expected.norm()


def test_the_residual_of_wanted_cosines_is_relative() -> None:
    """C b = w is met to rounding for small and large w; equal cosines are w = 1."""
    J = random_jacobians()[3]
    M = J @ J.T
    w = torch.arange(1.0, len(J) + 1, dtype=F64)
    for size in (1e-9, 1.0, 1e9):
        b, _, residual = equal_cosines(M, size * w)
        assert residual < 1e-13
        torch.testing.assert_close(b / size, equal_cosines(M, w)[0], rtol=1e-9, atol=0)
    assert torch.equal(equal_cosines(M)[0], equal_cosines(M, torch.ones(len(J), dtype=F64))[0])


# ---- aligned_mtl: scale, and the residual


@pytest.mark.parametrize(
    ("scale", "three", "two", "singular"),
    [
        # squared singular values 1, 4, 16 and 1, 9 (the lower of two middle ones); then 8, 1 and one that is zero
        ("min", 1.0, 1.0, [4 / 8**0.5, 1.0]),
        ("median", 2.0, 1.0, [4 / 8**0.5, 1.0]),
        ("rmse", 7**0.5, 5**0.5, [3.0, 4.5**0.5]),
    ],
)
def test_aligned_mtl_scales_by_hand(scale: str, three: float, two: float, singular: list[float]) -> None:
    J = torch.diag(torch.tensor([1.0, 4.0, 2.0], dtype=F64))
    torch.testing.assert_close(mtl.combine(J, "aligned_mtl", scale=scale), three * torch.ones(3, dtype=F64))
    J = torch.diag(torch.tensor([-3.0, 1.0], dtype=F64))
    found = mtl.combine(J, "aligned_mtl", scale=scale)
    torch.testing.assert_close(found, two * torch.tensor([-1.0, 1.0], dtype=F64))
    # (2, 0) twice, and (0, 1): the pair is one direction of squared length 8, scaled to s, and keeps its sum's way
    J = matrix([2.0, 0.0], [2.0, 0.0], [0.0, 1.0])
    found = mtl.combine(J, "aligned_mtl", scale=scale)
    torch.testing.assert_close(found, torch.tensor(singular, dtype=F64))


@pytest.mark.parametrize("scale", ["min", "median", "rmse"])
def test_aligned_mtl_scale_is_torchjds(scale: str) -> None:
    torchjd = pytest.importorskip("torchjd.aggregation")
    for J in random_jacobians():
        expected = len(J) * torchjd.AlignedMTL(scale_mode=scale)(J)
        found = mtl.combine(J, "aligned_mtl", scale=scale)
        assert (found - expected).norm() <= 1e-6 * expected.norm()


def test_aligned_mtl_residual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding on good and on singular Gramians, as honest as their condition, and large for wrong eigenvectors."""
    ones = torch.ones(3, dtype=F64)
    good = torch.eye(3, dtype=F64) + 0.3
    singular = matrix([4.0, 4.0, 0.0], [4.0, 4.0, 0.0], [0.0, 0.0, 1.0])
    for scale in ("min", "median", "rmse"):
        for M in (good, singular, 1e-12 * good, 1e12 * singular):
            assert aligned_weights(M, ones, scale).residual < 1e-12  # type: ignore[arg-type]  # one of the three
    assert aligned_weights(0 * good, ones).residual == 0
    for J in random_jacobians():
        M = J @ J.T
        solution = aligned_weights(M, torch.ones(len(M), dtype=F64))
        assert solution.residual <= 1e-14 * float(torch.linalg.cond(M))
        assert solution.converged
    eigh = torch.linalg.eigh

    def wrong(M: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = eigh(M)
        turn = matrix([0.8, 0.6, 0.0], [-0.6, 0.8, 0.0], [0.0, 0.0, 1.0])
        return values, vectors @ turn

    monkeypatch.setattr(torch.linalg, "eigh", wrong)
    solution = aligned_weights(torch.diag(torch.tensor([1.0, 4.0, 9.0], dtype=F64)), ones)
    assert solution.residual > 0.1
    assert not solution.converged


# ---- stch: the authors' code


def stch_weights(rule: STCH, steps: list[dict[str, float]]) -> list[dict[str, float]]:
    """The weights of each step, the state of the tasks that take part carried along."""
    names = ("a", "b")
    state, found = rule.init(Size(2)), []
    for losses in steps:
        places = tuple(names.index(name) for name in losses)
        at = list(places)
        values = torch.tensor(list(losses.values()), dtype=F64)
        given = Given("stch", tuple(losses), places, 2, torch.Generator(), values)
        answer, after = rule.solve(given, state if state is None else type(state)(*(f[at] for f in state)))
        assert answer.weights is not None
        if state is not None and after is not None:
            state = type(state)(
                *(f.index_put((torch.tensor(at),), g) for f, g in zip(state, after, strict=True))
            )
        found.append(dict(zip(losses, answer.weights.tolist(), strict=True)))
    return found


WARM = [{"a": 9.0, "b": 5.0}] * 4 + [{"a": 2.0, "b": 4.0}]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # ratios 1/2 and 1: softmax of their logarithms 1/3, 2/3; times 2 and over the losses 1 and 4
        ({}, {"a": 2 / 3, "b": 1 / 3}),
        # ratios to the power 1 / mu = 2: 1/4 and 1, so 1/5 and 4/5
        ({"mu": 0.5}, {"a": 0.4, "b": 0.4}),
        # p (2, 1): ratios 1/4 and 1, so 1/5 and 4/5, and p once more outside
        ({"preference": [2.0, 1.0]}, {"a": 0.8, "b": 0.4}),
    ],
)
def test_stch_official_by_hand(options: dict[str, Any], expected: dict[str, float]) -> None:
    """A warm-up of five steps: weights 1 / L, and the losses of the fifth are what later ones are compared with."""
    found = stch_weights(STCH(reference="official", warm_up=5, **options), [*WARM, {"a": 1.0, "b": 4.0}])
    assert found[0] == pytest.approx({"a": 1 / 9, "b": 1 / 5})
    assert found[4] == pytest.approx({"a": 1 / 2, "b": 1 / 4})
    assert found[5] == pytest.approx(expected)


def test_stch_is_the_paper_unless_asked() -> None:
    """softmax(log 3, 0) = 3/4, 1/4, times two."""
    losses = {"a": float(torch.tensor(3.0).log()), "b": 0.0}
    assert stch_weights(STCH(), [losses])[0] == pytest.approx({"a": 1.5, "b": 0.5})


def test_stch_official_goes_through_a_balancer_and_its_state() -> None:
    """A balancer that is loaded in the middle of the warm-up goes on as the one that was not interrupted."""
    model = Two()

    def step(balancer: mtl.Balancer, size: float) -> Tensor:
        balancer.backward({"a": size * model.weight.square().sum(), "b": model.weight.sum()}, model)
        assert balancer.last.weights is not None
        return balancer.last.weights

    one = mtl.Balancer("stch", reference="official", warm_up=5)
    for size in (1.0, 2.0, 3.0):
        step(one, size)
    two = mtl.Balancer("stch", reference="official", warm_up=5)
    two.load_state_dict(one.state_dict())
    for size in (4.0, 5.0, 6.0, 7.0):
        assert torch.equal(step(one, size), step(two, size))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("stch", {"reference": "oficial"}, "no stch.reference 'oficial'"),
        ("stch", {"reference": "official", "ideal": [0.0, 0.0]}, "stch.ideal is not part of"),
        ("stch", {"warm_up": 0}, "stch.warm_up must be a whole number >= 1, got 0"),
        ("aligned_mtl", {"scale": "mean"}, "no aligned_mtl.scale 'mean'"),
        (
            "config",
            {"preference": [0.0, 0.0]},
            "config.preference must have at least one value other than zero",
        ),
        ("config", {"preference": [1.0]}, "config.preference must have one value for each of the 2 tasks"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mtl.combine(torch.eye(2), name, losses=[1.0, 1.0], **options)
