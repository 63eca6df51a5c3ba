"""What each balancer promises (CLAIMS), and how a promise is checked (CHECKS)."""

from collections.abc import Callable

import torch
from torch import Tensor

import mtl

Combine = Callable[[Tensor], Tensor]

EVERY = {"plain_sum_without_conflict", "one_task_is_itself", "linear_under_scaling", "rotation"}
SCALES = {"one_task_is_itself", "linear_under_scaling"}
CLAIMS: dict[str, set[str]] = {
    "equal": EVERY | {"permutation"},
    "static": EVERY | {"permutation"},
    "scale_invariant": EVERY | {"permutation"},
    "geometric_mean": EVERY | {"permutation"},
    # other weights for every task
    "random": EVERY - {"plain_sum_without_conflict"},
    "uncertainty": EVERY | {"permutation"},
    **{name: EVERY | {"permutation"} for name in ("imtl_l", "dwa", "stch", "famo", "cosmos", "pbi")},
    # PCGrad draws an order of tasks, so permuting them changes its draws; with three tasks it may still conflict
    "pcgrad": EVERY | {"two_agree"},
    # every task gains alike, however long its gradient
    "nash_mtl": {"permutation", "rotation", "non_conflicting"},
    "fairgrad": {"permutation", "rotation", "non_conflicting"},
    # the shortest combination: it favours short gradients
    "mgda": SCALES | {"permutation", "rotation", "non_conflicting"},
    # a fresh target is a cosine of zero: PCGrad
    "gradvac": EVERY | {"two_agree"},
    # one task alone is lengthened by 1 + c
    "cagrad": (SCALES - {"one_task_is_itself"}) | {"permutation", "rotation"},
    "imtl_g": SCALES | {"permutation", "rotation"},
    "config": SCALES | {"permutation", "rotation"},
    "krum": SCALES | {"permutation", "rotation"},
    "gradnorm": EVERY | {"permutation"},
    "excess_mtl": EVERY | {"permutation"},
    "graddrop": SCALES | {"permutation", "plain_sum_without_conflict"},
    "trimmed_mean": SCALES | {"permutation"},
    "db_mtl": SCALES | {"permutation", "rotation"},
    "sdmgrad": SCALES | {"permutation", "rotation"},
    # their step sizes have the units of a gradient
    "moco": {"one_task_is_itself", "permutation", "rotation"},
    "modo": {"one_task_is_itself", "permutation", "rotation"},
    # agreeing gradients are still made orthogonal
    "aligned_mtl": (EVERY - {"plain_sum_without_conflict"}) | {"permutation", "one_length"},
    "dualproj": EVERY | {"permutation", "non_conflicting"},
    "upgrad": EVERY | {"permutation", "non_conflicting", "two_agree"},
}


def combine(name: str) -> Combine:
    def call(jacobian: Tensor) -> Tensor:
        return mtl.combine(jacobian, name, losses=torch.ones(len(jacobian)), seed=3)

    return call


def jacobians() -> list[Tensor]:
    """Random, badly scaled, parallel, opposed, with zero rows, of low rank; float64."""
    generator = torch.Generator().manual_seed(0)
    found = [torch.randn(T, 7, generator=generator, dtype=torch.float64) for T in (1, 2, 3, 5, 8)]
    found += [found[2] * torch.tensor([[1e-6], [1.0], [1e6]], dtype=torch.float64)]
    g = found[1][0]
    found += [
        torch.stack(rows)
        for rows in ([g, g], [g, 3 * g, 0.1 * g], [g, -g], [g, 0 * g, -2 * g], [0 * g, 0 * g])
    ]
    found += [torch.stack([g, g.roll(1) - 2 * g])]
    found += [torch.randn(6, 2, generator=generator, dtype=torch.float64) @ found[4][:2]]
    return found


def close(a: Tensor, b: Tensor, scale: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7 * float(scale.abs().max()) + 1e-300)


def plain_sum_without_conflict(call: Combine) -> None:
    """Gradients that all agree are added: weights of one are the scale of every method."""
    for J in jacobians():
        close(call(J.abs()), J.abs().sum(0), J)


def one_task_is_itself(call: Combine) -> None:
    for J in jacobians():
        close(call(J[:1]), J[0], J)


def linear_under_scaling(call: Combine) -> None:
    """A common factor of all gradients is a factor of the direction."""
    for J in jacobians():
        for factor in (1e-12, 1e12):
            close(call(factor * J) / factor, call(J), J)


def permutation(call: Combine) -> None:
    """The order of the tasks does not matter."""
    for J in jacobians():
        close(call(J.flip(0)), call(J), J)


def rotation(call: Combine) -> None:
    """Nor does the basis of the parameters."""
    Q = torch.linalg.qr(torch.randn(7, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).Q
    for J in jacobians():
        close(call(J @ Q), call(J) @ Q, J)


def non_conflicting(call: Combine) -> None:
    """To first order, no task gets worse."""
    for J in jacobians():
        d = call(J)
        rounding = (
            1e-7 * d.norm() + 1e-10 * J.abs().max()
        )  # where opposed gradients leave nothing but rounding
        assert (J @ d >= -rounding * J.norm(dim=1)).all()


def two_agree(call: Combine) -> None:
    """With two tasks, each loses what conflicts with the other: g1 + g2 less both projections."""
    for J in jacobians():
        if len(J) == 2 and (J.norm(dim=1) > 0).all():
            a, b = J
            inner = min(float(a @ b), 0.0)
            close(call(J), a + b - inner / (b @ b) * b - inner / (a @ a) * a, J)


def one_length(call: Combine) -> None:
    """|d|² is T times the smallest squared singular value that is not zero, where the gradients are independent."""
    for J in jacobians():
        values = torch.linalg.svdvals(J)
        if values[-1] > 1e-5 * values[0] and len(J) <= J.shape[1]:
            close(call(J).norm() ** 2, len(J) * values[-1] ** 2, J.square())


CHECKS: dict[str, Callable[[Combine], None]] = {
    check.__name__: check
    for check in (
        plain_sum_without_conflict, one_task_is_itself, linear_under_scaling, permutation, rotation,
        non_conflicting, two_agree, one_length,
    )
}  # fmt: skip

# for each check, something that it must refuse
WRONG: dict[str, Combine] = {
    "plain_sum_without_conflict": lambda J: J.mean(0),
    "one_task_is_itself": lambda J: 2 * J.sum(0),
    "linear_under_scaling": lambda J: J.sum(0) / (J.norm() + 1),
    "permutation": lambda J: J[0],
    "rotation": lambda J: J.sum(0).abs(),
    "non_conflicting": lambda J: J.sum(0),
    "two_agree": lambda J: J.sum(0),
    "one_length": lambda J: J.sum(0),
}
