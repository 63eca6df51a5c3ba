"""Layers, neurons, concepts and influence inside inference mode, no_grad and autocast, and of wrapped models."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import explain
from tests.explain.models import heads

CALLS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "conductance": lambda m, x: explain.layer_attribution(m, x[:2], "trunk.2", steps=4, tolerance=float("inf"))["a"],
    "layer integrated gradients": lambda m, x: explain.layer_attribution(
        m, x[:2], "trunk.2", method="integrated_gradients", steps=4, tolerance=float("inf")
    )["a"],
    "neuron": lambda m, x: explain.neuron_attribution(m, x[:2], "trunk.2", (0, 1, 1)),
    "neuron conductance": lambda m, x: explain.neuron_conductance(
        m, x[:2], "trunk.2", (0, 1, 1), steps=4, tolerance=float("inf")
    )["a"],
    "tcav": lambda m, x: torch.tensor(
        explain.tcav(m, x[:4], {"c": x[4:12]}, "trunk.2", random=x[12:], runs=2)[["score", "cosine"]].to_numpy()
    ),
    "influence": lambda m, x: explain.influence_scores(m, x[:3], {"a": torch.tensor([0, 1, 2])}, x[3:5])["a"],
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_the_same_in_every_mode(generator: torch.Generator, name: str) -> None:
    call, x = CALLS[name], torch.randn(30, 2, 8, 8, generator=generator)
    model = heads()
    expected = call(model, x)

    def close(found: Tensor) -> None:
        torch.testing.assert_close(found.to(expected), expected, rtol=1e-3, atol=1e-5)

    with torch.inference_mode():
        close(call(model, x.clone()))
    with torch.no_grad():
        close(call(model, x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        close(call(model, x))
    close(call(nn.DataParallel(model), x))
    close(call(model.double(), x.double()))
