"""What the tests of perturbation methods share: their names, small models, and Shapley values from the definition."""

from itertools import combinations, product
from math import factorial
from typing import Any

import torch
from torch import Tensor, nn

METHODS = ["occlusion", "feature_ablation", "rise", "shapley_sampling", "kernel_shap", "lime"]
OVER_FEATURES = ["feature_ablation", "shapley_sampling", "kernel_shap", "lime"]
EFFICIENT = ["shapley_sampling", "kernel_shap"]
FEW: dict[str, dict[str, Any]] = {  # samples, so that a test is quick
    "rise": {"samples": 40},
    "shapley_sampling": {"permutations": 2},
    "kernel_shap": {"samples": 120},
    "lime": {"samples": 120},
}
TARGETS = {"a": torch.tensor([0, 1, 2, 0]), "b": torch.tensor([4, 3, 0, 0]), "c": "predicted"}


class Products(nn.Module):
    """Two tasks that are not additive in their features: sums of products of three, and of sines."""

    def __init__(self, features: int) -> None:
        super().__init__()
        stream = torch.Generator().manual_seed(3)
        self.weights = nn.Parameter(torch.randn(features, features, generator=stream, dtype=torch.float64))
        self.rows: list[int] = []

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        self.rows.append(len(x))
        h = x @ self.weights
        return {"one": (h[:, :-2] * h[:, 1:-1] * h[:, 2:]).sum(1), "two": (h.sin() * h.roll(1, 1)).sum(1)}


def table(rows: int, features: int) -> Tensor:
    return torch.randn(rows, features, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def played(model: nn.Module, task: str, x: Tensor, baseline: Tensor, ids: Tensor, inside: Any) -> float:
    """v of a coalition of one example [*S], by a loop over elements."""
    mixed = baseline.clone()
    for place in product(*(range(side) for side in x.shape)):
        if int(ids[place]) in inside:
            mixed[place] = x[place]
    with torch.no_grad():
        return float(model(mixed[None])[task][0])


def shapley(model: nn.Module, task: str, x: Tensor, baseline: Tensor, ids: Tensor) -> list[float]:
    """Shapley values from their definition."""
    players = range(int(ids.max()) + 1)
    values = []
    for player in players:
        others = [p for p in players if p != player]
        total = 0.0
        for size in range(len(others) + 1):
            weight = factorial(size) * factorial(len(others) - size) / factorial(len(players))
            for chosen in combinations(others, size):
                total += weight * (
                    played(model, task, x, baseline, ids, {*chosen, player})
                    - played(model, task, x, baseline, ids, set(chosen))
                )
        values.append(total)
    return values
