"""What a step takes beyond a plain sum: one [T, P] buffer of rows, less as factors, a layer's rows when streamed."""

from typing import Any

import pytest
import torch
from torch import nn

import mtl
from benchmarks.measure import peak_bytes

T = 6


def model_and_batch(kind: str) -> tuple[Any, torch.Tensor, dict[str, torch.Tensor]]:
    tasks = [mtl.Regression(f"task{i}") for i in range(T)]
    with mtl.seeded(0):
        if kind == "mlp":
            trunk, inputs = mtl.backbone("mlp", in_features=300, hidden=(256, 256, 64)), torch.randn(32, 300)
        elif kind == "cnn":
            trunk, inputs = mtl.backbone("cnn", image_size=28), torch.randn(16, 1, 28, 28)
        else:
            trunk, inputs = mtl.backbone("timm/resnet10t"), torch.randn(4, 3, 64, 64)
    return mtl.MultiTaskModel(trunk, tasks), inputs, {t.name: torch.randn(len(inputs)) for t in tasks}


def bytes_beyond_a_plain_sum(kind: str, method: str, **options: Any) -> tuple[int, list[nn.Parameter]]:
    model, inputs, targets = model_and_batch(kind)

    def losses() -> dict[str, torch.Tensor]:
        model.zero_grad()
        found: dict[str, torch.Tensor] = model.losses(model(inputs), targets)
        return found

    here = losses()
    plain = peak_bytes(lambda: sum(here.values()).backward())
    here = losses()
    balancer = mtl.Balancer(method, **options)
    balanced = peak_bytes(lambda: balancer.backward(here, model))
    return balanced - plain, model.shared_parameters()


@pytest.mark.parametrize("kind", ["mlp", "cnn", "resnet"])
def test_rows_take_one_buffer(kind: str) -> None:
    """gradvac by layer reads all rows: T P numbers, and a layer's gradient on its way into them."""
    extra, shared = bytes_beyond_a_plain_sum(kind, "gradvac", groups="layer")
    buffer, layer = (4 * T * sum(p.numel() for p in shared), 4 * max(p.numel() for p in shared))
    assert buffer / 2 < extra <= 1.05 * buffer + layer


@pytest.mark.parametrize("kind", ["mlp", "cnn", "resnet"])
def test_factors_take_less(kind: str) -> None:
    extra, shared = bytes_beyond_a_plain_sum(kind, "upgrad")
    assert extra <= 0.6 * 4 * T * sum(p.numel() for p in shared)


@pytest.mark.parametrize("kind", ["mlp", "cnn", "resnet"])
@pytest.mark.parametrize("factors", [False, True])
def test_streams_take_the_largest_layers_rows(
    kind: str, factors: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not factors:
        monkeypatch.setattr("mtl.balancing.factors._pays", lambda *_: False)
    extra, shared = bytes_beyond_a_plain_sum(kind, "upgrad", stream=True)
    # and one gradient on its way into them
    assert extra <= 4 * (T + 1) * max(p.numel() for p in shared)


def test_the_counter_counts_a_backward_pass_and_forgets_what_is_gone() -> None:
    x = torch.ones(1000, requires_grad=True)

    def call() -> None:
        for _ in range(3):
            x.exp().sum().backward()  # the result is kept for the backward pass, which makes the gradient
            x.grad = None

    assert 8000 <= peak_bytes(call) < 9000
