"""Methods against TorchJD on 300 random Jacobians with log-normal lengths, and solvers against better references."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import mtl
from mtl.balancing.methods.cagrad import cagrad_weights
from mtl.balancing.methods.fairgrad import fair_weights
from mtl.balancing.methods.gradvac import gradvac_weights
from mtl.balancing.solvers import dual_cone_weights, minimum_norm_weights

F64 = torch.float64


def scaled_jacobians(count: int = 300, spread: float = 2.0) -> Iterator[Tensor]:
    """[T, 20] with T from 2 to 11, in float32: the numbers that both sides get."""
    generator = torch.Generator().manual_seed(11)
    for i in range(count):
        T = 2 + i % 10
        J = torch.randn(T, 20, generator=generator, dtype=F64)
        yield (J * (spread * torch.randn(T, 1, generator=generator, dtype=F64)).exp()).float()


def peer(name: str, **options: Any) -> Callable[[Tensor], Tensor]:
    return getattr(pytest.importorskip("torchjd.aggregation"), name)(**options)


# (ours, options, TorchJD's, options, factor T): the same rule where TorchJD adds no epsilon
SAME: list[tuple[str, dict[str, Any], str, dict[str, Any], bool]] = [
    ("imtl_g", {}, "IMTLG", {}, True),
    ("config", {}, "ConFIG", {}, False),
    ("aligned_mtl", {}, "AlignedMTL", {}, True),
    ("pcgrad", {}, "PCGrad", {}, False),
]


@pytest.mark.parametrize(("name", "options", "other", "theirs", "times"), SAME, ids=[row[0] for row in SAME])
def test_the_same_direction_as_torchjd(
    name: str, options: dict[str, Any], other: str, theirs: dict[str, Any], times: bool
) -> None:
    """To 1e-5 from float32 gradients, against TorchJD on the same numbers in float64."""
    ascents = 0
    for seed, J in enumerate(scaled_jacobians()):
        call = peer(other, **theirs)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            expected = call(J.double()) * (len(J) if times else 1)
        found = mtl.combine(J, name, seed=seed, **options).double()
        if name == "imtl_g" and (J.double() @ expected < 0).all():
            assert not found.any()  # the paper's rule ascends here; we stop
            ascents += 1
            continue
        assert (found - expected).norm() <= 1e-5 * expected.norm(), (name, seed)
    assert ascents < 20


def test_gradvac_is_torchjds_over_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten steps with one state, every task visiting the others in order; by the weights."""
    theirs = pytest.importorskip("torchjd.aggregation").GradVac(beta=0.2, eps=0.0).gramian_weighting
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n))
    target = torch.zeros(5, 5, dtype=F64)
    for J in itertools.islice((J for J in scaled_jacobians() if len(J) == 5), 10):
        M = J.double() @ J.double().T
        weights, target = gradvac_weights(M, torch.arange(5).expand(5, 5), target, beta=0.2)
        torch.testing.assert_close(weights, theirs(M), rtol=1e-6, atol=1e-9)


def test_krum_by_the_papers_words() -> None:
    """The score of a gradient: the sum of squared distances to its T - f - 2 nearest."""
    for J in (J.double() for J in scaled_jacobians(60) if len(J) >= 6):
        T, f = len(J), 2
        scores = [sum(sorted(float((a - b).square().sum()) for b in J)[1 : T - f - 2 + 1]) for a in J]
        best = torch.tensor(scores).sort().indices[:3]
        found = mtl.combine(J, "krum", outliers=f, selected=3)
        torch.testing.assert_close(found, T * J[best].mean(dim=0))


def test_trimmed_mean_is_torchjds() -> None:
    for J in scaled_jacobians(40):
        if len(J) >= 3:
            expected = len(J) * peer("TrimmedMean", trim_number=1)(J)
            torch.testing.assert_close(mtl.combine(J, "trimmed_mean"), expected)


def test_float32_gradients_give_what_float64_gives() -> None:
    """Every method on the same numbers in both: only the result is rounded."""
    for name, J in itertools.product(mtl.BALANCERS, scaled_jacobians(20)):
        losses = torch.linspace(0.5, 2.0, len(J))
        exact = mtl.combine(J.double(), name, losses=losses)
        found = mtl.combine(J, name, losses=losses).double()
        assert (found - exact).norm() <= 1e-5 * exact.norm(), name


# ---- solved problems


def exhaustive_minimum_norm(M: Tensor) -> float:
    """The smallest |d|² over all supports of the simplex, each solved by itself."""
    T, best = len(M), float("inf")
    for size in range(1, T + 1):
        for support in itertools.combinations(range(T), size):
            chosen = list(support)
            a = torch.linalg.solve(M[chosen][:, chosen], torch.ones(size, dtype=F64))
            if (a >= 0).all():
                best = min(best, 1 / float(a.sum()))
    return best


def test_mgda_reaches_the_true_minimum_of_eight_tasks() -> None:
    """Within 1e-6 of an exhaustive search; TorchJD's Frank-Wolfe iterations stay above it."""
    above = []
    for J in scaled_jacobians():
        if len(J) != 8:
            continue
        M = J.double() @ J.double().T
        solution = minimum_norm_weights(M)
        best = exhaustive_minimum_norm(M)
        assert float(solution.weights @ M @ solution.weights) <= best * (1 + 1e-6)
        assert solution.residual <= 1e-8
        assert solution.weights.sum() == pytest.approx(1)
        assert (solution.weights >= 0).all()
        d = peer("MGDA")(J.double())
        above.append(float(d @ d) / best - 1)
    assert len(above) == 30
    assert min(above) >= -1e-9  # never below the minimum; ours is never worse than theirs
    assert sorted(above)[15] > 1e-3


def test_mgda_meets_its_optimality_conditions() -> None:
    """g_t · d >= |d|² for all, with equality where there is weight; also with forty tasks."""
    generator = torch.Generator().manual_seed(3)
    wide = [torch.randn(40, 300, generator=generator, dtype=F64) for _ in range(5)]
    for J in [*(J.double() for J in scaled_jacobians()), *wide]:
        w = minimum_norm_weights(J @ J.T).weights
        d = w @ J
        gains, square = J @ d, float(d @ d)
        assert (gains >= square * (1 - 1e-8)).all()
        assert (gains[w > 1e-9] <= square * (1 + 1e-6)).all()


def test_fairgrad_solves_its_equation() -> None:
    for J in scaled_jacobians():
        M = J.double() @ J.double().T
        for alpha in (0.5, 2.0):
            a, residual, _ = fair_weights(M, alpha)
            assert (a > 0).all()
            assert ((M @ a) * a ** (1 / alpha) - 1).abs().max() <= 1e-8
            assert residual <= 1e-8
        nash = fair_weights(M, 1.0).weights
        torch.testing.assert_close(fair_weights(M, 1.0 + 1e-9)[0], nash, rtol=1e-6, atol=0)


def test_nash_and_fairgrad_are_never_worse_than_torchjds() -> None:
    """By the residual of the defining equation; on gradients as short as 1e-4 theirs misses it by more than 1%."""
    pytest.importorskip("torchjd.aggregation")
    missed = 0
    for J in itertools.islice(scaled_jacobians(), 0, 300, 3):
        J = 1e-4 * J.double()
        M = J @ J.T
        theirs = peer("FairGrad", alpha=1.0).gramian_weighting(M)
        residual = float(((M @ theirs) * theirs - 1).abs().max())
        missed += residual > 0.01
        assert fair_weights(M, 1.0).residual <= max(residual, 1e-8)
    assert missed > 0


def cagrad_dual(M: Tensor, w: Tensor, c: float) -> float:
    """What CAGrad minimises over the simplex."""
    return float(w @ M.mean(dim=1) + c * M.mean().sqrt() * (w @ M @ w).clamp(min=0).sqrt())


@pytest.mark.parametrize("c", [0.1, 0.5, 1.5])
def test_cagrad_is_optimal_and_never_worse_than_torchjds(c: float) -> None:
    """The least gain equals the dual value, which bounds it from above whatever the weights; |e| = c |mean|."""
    for J in scaled_jacobians():
        J = J.double()
        M, mean = J @ J.T, J.mean(dim=0)
        solution = cagrad_weights(M, c)
        assert solution.residual <= 1e-8
        d = solution.weights @ J / len(J)
        least = float((J @ d).min())
        v = solution.weights - 1
        assert cagrad_dual(M, v / v.sum(), c) - least <= 1e-8 * float(mean.norm() * J.norm(dim=1).max())
        assert float((d - mean).norm()) == pytest.approx(c * float(mean.norm()), rel=1e-8)
        if c >= 1:
            assert (J @ d >= -1e-8 * d.norm() * J.norm(dim=1)).all()


def test_cagrad_against_torchjd() -> None:
    """The least gain of theirs, within the same radius, is never above ours."""
    for J in itertools.islice(scaled_jacobians(spread=1.0), 60):
        J = J.double()
        mean = J.mean(dim=0)
        ours = cagrad_weights(J @ J.T, 0.5).weights @ J / len(J)
        theirs = peer("CAGrad", c=0.5)(J)
        inside = mean + (theirs - mean) * min(1.0, float(0.5 * mean.norm() / (theirs - mean).norm()))
        assert (J @ ours).min() >= (J @ inside).min() - 1e-9 * J.norm() * mean.norm()


def test_upgrad_is_never_worse_than_torchjd() -> None:
    """By the length of each projection and by conflict that is left, on lengths that differ by e^±4."""
    for J in itertools.islice(scaled_jacobians(), 100):
        J = J.double()
        weights = dual_cone_weights(J @ J.T, torch.eye(len(J), dtype=F64)).weights
        d = weights.sum(dim=0) @ J
        theirs = len(J) * peer("UPGrad")(J)
        ours_left = float(((J @ d) / J.norm(dim=1)).min().clamp(max=0)) / float(d.norm())
        theirs_left = float(((J @ theirs) / J.norm(dim=1)).min().clamp(max=0)) / float(theirs.norm())
        assert ours_left >= min(theirs_left, -1e-9)


# ---- invariants of single methods


def test_imtl_g_and_config_have_equal_cosines_and_lie_along_each_other() -> None:
    for J in scaled_jacobians():
        J = J.double()
        d, e = mtl.combine(J, "imtl_g"), mtl.combine(J, "config")
        unit = J / J.norm(dim=1, keepdim=True)
        for found in (d, e):
            projections = unit @ found
            assert float(projections.max() - projections.min()) <= 1e-7 * float(found.norm())
        assert float(e.norm()) == pytest.approx(abs(float((J @ e).sum() / e.norm())), rel=1e-8)
        if float(d.norm()) > 0:
            assert float(d @ e / d.norm() / e.norm()) == pytest.approx(1.0, abs=1e-9)


def test_gradvac_reaches_its_target() -> None:
    """After a step of agreeing gradients the target is positive; the next correction ends at that cosine."""
    J = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=F64)
    order = torch.tensor([[0, 1], [0, 1]])
    _, target = gradvac_weights(J @ J.T, order, torch.zeros(2, 2, dtype=F64), beta=1.0)
    torch.testing.assert_close(target[0, 1], torch.tensor(2**-0.5, dtype=F64))
    K = torch.tensor([[1.0, 0.0], [0.0, 3.0]], dtype=F64)
    weights, _ = gradvac_weights(K @ K.T, order, target, beta=0.0)
    # each gradient turned towards the other until the cosine is 1 / sqrt 2: (1, 1) and (3, 3)
    torch.testing.assert_close(weights @ K, torch.tensor([4.0, 4.0], dtype=F64))


def test_graddrop_keeps_one_sign_and_has_the_sum_as_mean() -> None:
    J = torch.randn(4, 6, generator=torch.Generator().manual_seed(2), dtype=F64)
    draws = torch.stack([mtl.combine(J, "graddrop", seed=seed) for seed in range(4000)])
    positive, negative = J.clamp(min=0).sum(dim=0), J.clamp(max=0).sum(dim=0)
    kept = ((draws - positive).abs() < 1e-12) | ((draws - negative).abs() < 1e-12)
    assert kept.all()
    assert ((draws.mean(dim=0) - J.sum(dim=0)).abs() <= 5 * draws.std(dim=0) / 4000**0.5 + 1e-12).all()
    torch.testing.assert_close(mtl.combine(J, "graddrop", leak=[1.0] * 4), J.sum(dim=0))


def test_trimmed_mean_and_krum_by_hand() -> None:
    J = torch.tensor([[1.0, 9.0], [2.0, -5.0], [4.0, 1.0], [90.0, 2.0], [3.0, 3.0]], dtype=F64)
    torch.testing.assert_close(mtl.combine(J, "trimmed_mean"), 5 * torch.tensor([3.0, 2.0], dtype=F64))
    kept = mtl.combine(J, "krum", outliers=1)  # drops the fourth
    torch.testing.assert_close(kept, 5 / 4 * J[[0, 1, 2, 4]].sum(dim=0))
    same = torch.ones(3, 2, dtype=F64)
    torch.testing.assert_close(mtl.combine(same, "krum", selected=1), 3 * same[0])  # ties share
    shared = mtl.combine(torch.eye(3, dtype=F64), "krum", selected=1)  # a third each, in float64
    torch.testing.assert_close(shared, torch.ones(3, dtype=F64), rtol=1e-14, atol=0)


def test_mgda_by_hand() -> None:
    """(1, 0) and (-2, 2): w = 10/13, 3/13; the third variants divide by length and by loss."""
    J = torch.tensor([[1.0, 0.0], [-2.0, 2.0]], dtype=F64)
    w = torch.tensor([10.0, 3.0], dtype=F64) / 13
    torch.testing.assert_close(mtl.combine(J, "mgda"), 2 * w @ J)
    unit = J / J.norm(dim=1, keepdim=True)
    torch.testing.assert_close(mtl.combine(J, "mgda", normalise="l2"), unit.sum(dim=0))  # w = 1/2, 1/2
    raw = mtl.combine(J, "mgda", normalise="l2", reference="official")
    torch.testing.assert_close(raw, J.sum(dim=0))
    by_loss = mtl.combine(J, "mgda", normalise="loss", losses=[1.0, 8**0.5])
    torch.testing.assert_close(by_loss, unit.sum(dim=0))


def test_config_by_hand() -> None:
    """Orthogonal gradients: u is the diagonal, d their projections on it added up."""
    J = torch.diag(torch.tensor([1.0, 3.0], dtype=F64))
    torch.testing.assert_close(mtl.combine(J, "config"), torch.tensor([2.0, 2.0], dtype=F64))
    torch.testing.assert_close(mtl.combine(J, "imtl_g"), torch.tensor([1.5, 1.5], dtype=F64))


@pytest.mark.parametrize("name", ["imtl_g", "config", "mgda", "nash_mtl", "fairgrad", "aligned_mtl"])
def test_opposed_gradients_give_zero(name: str) -> None:
    g = torch.tensor([1.0, 1.0], dtype=F64)
    direction = mtl.combine(torch.stack([g, -g]), name)
    if name != "aligned_mtl":  # rank one: the rows are as long as before, and cancel
        assert direction.abs().max() < 1e-6
    assert direction.isfinite().all()


@pytest.mark.parametrize("name", mtl.BALANCERS)
def test_degenerate_gradients_are_finite(name: str) -> None:
    g = torch.tensor([1.0, -2.0, 3.0], dtype=F64)
    for rows in ([0 * g, 0 * g], [g, 0 * g], [g, g], [g, -g], [g, 2 * g, -3 * g], [g, g, g, 0 * g, -g]):
        for scale in (1e-12, 1.0, 1e12):
            J = scale * torch.stack(rows)
            assert mtl.combine(J, name, losses=torch.ones(len(J))).isfinite().all(), (rows, scale)
