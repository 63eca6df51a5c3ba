"""Shapley values, KernelSHAP and LIME against loops written from the papers, scipy and scikit-learn."""

from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor, nn

import explain
from explain.batching import generator
from explain.coalitions import all_coalitions
from explain.methods.kernel_shap import whole_sizes
from tests.explain.perturbed import (
    EFFICIENT,
    Products,
    played,
    shapley,
    table,
)


@pytest.mark.parametrize("method", EFFICIENT)
def test_few_features_have_exact_shapley_values(method: str) -> None:
    x, model = table(3, 5), Products(5)
    baseline = table(4, 5)[3:]
    maps = explain.saliency(model, x, method=method, baseline=baseline[0])
    for task in ("one", "two"):
        for i in range(3):
            expected = shapley(model, task, x[i], baseline[0], torch.arange(5))
            np.testing.assert_allclose(maps[task][i].numpy(), expected, rtol=1e-6, atol=1e-9)


def test_shapley_sampling_is_the_mean_over_its_permutations() -> None:
    """And comes to the exact values with many of them."""
    x, model, players = table(2, 9), Products(9), 9
    maps = explain.saliency(model, x, method="shapley_sampling", permutations=3, seed=7)
    for task in ("one", "two"):
        for i in range(2):
            values = torch.zeros(players, dtype=torch.float64)
            for sample in range(3):
                ranks = torch.randperm(players, generator=generator(7, i, sample))
                inside: set[int] = set()
                for player in ranks.argsort().tolist():
                    before = played(model, task, x[i], x[i] * 0, torch.arange(9), inside)
                    inside = {*inside, player}
                    values[player] += played(model, task, x[i], x[i] * 0, torch.arange(9), inside) - before
            torch.testing.assert_close(maps[task][i], values / 3, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("method", "options", "largest"),
    [
        ("shapley_sampling", {"permutations": 50}, 0.35),  # 400 forwards, and 510 for all coalitions
        ("shapley_sampling", {"permutations": 50, "antithetic": True}, 0.35),
        ("kernel_shap", {"samples": 400}, 0.12),
    ],
)
def test_samples_come_near_the_exact_values(method: str, options: dict[str, Any], largest: float) -> None:
    x, model = table(4, 9), Products(9)
    exact = explain.saliency(model, x, method="kernel_shap", samples=510)
    found = explain.saliency(model, x, method=method, **options)
    for task in exact:
        error = (found[task] - exact[task]).norm() / exact[task].norm()
        assert 1e-6 < error < largest


def test_antithetic_orders_make_products_of_two_exact() -> None:
    """A product's value is shared equally; an order and its reverse give each factor all of it once."""

    class Pairs(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, ::2].mul(x[:, 1::2]).sum(1)

    x = table(2, 12)
    expected = (x[:, ::2] * x[:, 1::2] / 2).repeat_interleave(2, dim=1)
    found, plain = (
        explain.saliency(Pairs(), x, method="shapley_sampling", permutations=2, antithetic=flag)
        for flag in (True, False)
    )
    torch.testing.assert_close(found, expected)
    assert (plain - expected).abs().max() > 0.01


def test_kernel_shap_solves_its_weighted_least_squares() -> None:
    """Kernel and constraint of Lundberg and Lee 2017, theorem 2, with scipy's solver in place of a multiplier."""
    from scipy.optimize import minimize

    x, model, players = table(1, 4), Products(4), 4
    found = explain.saliency(model, x, "one", method="kernel_shap")[0].numpy()

    def value(chosen: Any) -> float:
        return played(model, "one", x[0], x[0] * 0, torch.arange(4), set(chosen))

    def loss(phi: np.ndarray) -> float:
        total = 0.0
        for size in range(1, players):
            kernel = (players - 1) / (comb(players, size) * size * (players - size))
            for chosen in combinations(range(players), size):
                total += kernel * (value(chosen) - value(()) - phi[list(chosen)].sum()) ** 2
        return total

    change = value(range(players)) - value(())
    solved = minimize(
        loss, found * 0, constraints={"type": "eq", "fun": lambda phi: phi.sum() - change}, tol=1e-12
    )
    np.testing.assert_allclose(found, solved.x, atol=1e-4 * np.abs(found).max())


def test_sampled_coalitions_weigh_what_the_kernel_says() -> None:
    """Sizes that are not scored whole get their share of the kernel among them, each with its complement."""
    whole, left, sizes = whole_sizes(8, 60)
    assert (whole.sum(1) == 1).sum() == 8
    assert (whole.sum(1) == 7).sum() == 8
    assert len(whole.unique(dim=0)) == len(whole) == 60 - left
    assert sizes == [2, 3, 4, 5, 6]
    assert len(whole_sizes(8, 254)[0].unique(dim=0)) == 254
    assert whole_sizes(8, 254)[1:] == (0, [])


def test_lime_is_sklearns_ridge_on_the_same_samples() -> None:
    x, players = table(2, 12), 12
    net = Products(players)
    maps = explain.saliency(net, x, method="lime", samples=50, ridge=0.7, width=0.4, seed=5)
    for i in range(2):
        z = torch.rand(50, players, generator=generator(5, i)) < 0.5
        z[0] = True
        cosine = z.sum(1) / (z.sum(1).double().sqrt() * players**0.5).clamp(min=1e-9)
        weights = np.sqrt(np.exp(-((1 - cosine.numpy()) ** 2) / 0.4**2))
        for task in ("one", "two"):
            scores = [
                played(net, task, x[i], x[i] * 0, torch.arange(players), row.nonzero()[:, 0]) for row in z
            ]
            fitted = Ridge(alpha=0.7, fit_intercept=True).fit(
                z.double().numpy(), scores, sample_weight=weights
            )
            np.testing.assert_allclose(maps[task][i].numpy(), fitted.coef_, rtol=1e-6, atol=1e-8)


def test_lime_of_few_features_is_the_limit_of_many_samples() -> None:
    x, model = table(1, 3), Products(3)
    found = explain.saliency(model, x, "one", method="lime", ridge=1.0, samples=1000)[0]
    z = all_coalitions(3).repeat(125, 1)
    scores = [played(model, "one", x[0], x[0] * 0, torch.arange(3), row.nonzero()[:, 0]) for row in z]
    weights = np.exp(-0.5 * ((1 - (z.sum(1) / 3).double().sqrt().numpy()) / 0.25) ** 2)
    fitted = Ridge(alpha=1.0).fit(z.double().numpy(), scores, sample_weight=weights)
    np.testing.assert_allclose(found.numpy(), fitted.coef_, rtol=1e-6)
