"""DeepLIFT's multipliers: by hand, by slow references, and their sum for every function there is a rule for."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import explain


class Model(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def total(output: Tensor) -> Tensor:
    return output.flatten(1).sum(1)


def lifted(
    function: Callable[[Tensor], Tensor], x: Tensor, baseline: object = 0.0, **options: object
) -> Tensor:
    model = function if isinstance(function, nn.Module) else Model(function)
    return explain.saliency(model, x, method="deeplift", baseline=baseline, target=total, **options)


def add_up(function: Callable[[Tensor], Tensor], x: Tensor, baseline: Tensor, found: Tensor) -> None:
    """The map's sum, to the last digits, and no vast values that cancel each other."""
    with torch.no_grad():
        change = total(function(x.clone())) - total(function(baseline.expand_as(x).clone()))
    torch.testing.assert_close(found.flatten(1).sum(1), change, rtol=1e-9, atol=1e-11)
    assert change.abs().max() > 1e-6
    assert (found.flatten(1).abs().sum(1) < 1e4 * change.abs().clamp(min=1e-2)).all()


# ---- by hand

BY_HAND: dict[str, tuple[Callable[[Tensor], Tensor], list[float], list[float], list[float]]] = {
    # Sundararajan et al. 2017, figure 7: f = relu(relu(x1) - 1 - relu(x2)) and g = relu(relu(x1 - 1) - relu(x2))
    # are one function; DeepLIFT gives them different maps
    "the paper's f": (
        lambda x: (x[:, :1].relu() - 1 - x[:, 1:].relu()).relu(), [3, 1], [0, 0], [1.5, -0.5]
    ),
    "the paper's g": (
        lambda x: ((x[:, :1] - 1).relu() - x[:, 1:].relu()).relu(), [3, 1], [0, 0], [2, -1]
    ),
    # Captum's test: relu(x1) + 2 relu(x2 - 1.5); the second has the multiplier 2 * 0.5 / 2
    "Captum's": (lambda x: x[:, :1].relu() + 2 * (x[:, 1:] - 1.5).relu(), [1, 2], [0, 0], [1, 1]),
    "linear": (lambda x: x @ torch.tensor([[2.0], [-3.0]], dtype=x.dtype) + 7, [1, 2], [3, -1], [-4, -9]),
    # 3 * 2 - 1 * 1 = (3 - 1) * (2 + 1) / 2 + (2 - 1) * (3 + 1) / 2
    "product": (lambda x: x[:, :1] * x[:, 1:], [3, 2], [1, 1], [3, 2]),
    "square": (lambda x: x * x, [3, -1], [1, 2], [8, -3]),
    # q = 2, q0 = 1: (4 - 1) * 2 / (2 + 1) - (2 - 1) * (2 + 1) / (2 + 1)
    "quotient": (lambda x: x[:, :1] / x[:, 1:], [4, 2], [1, 1], [2, -1]),
    "quotient, written into": (lambda x: (x[:, :1] * 1).div_(x[:, 1:]), [4, 2], [1, 1], [2, -1]),
    # 4 / 2 - 1 / -1 = 3: shared evenly, 3 * (1/2 - 1) / 2 and the rest
    "quotient through zero": (lambda x: x[:, :1] / x[:, 1:], [4, 2], [1, -1], [-0.75, 3.75]),
    "a constant divided": (lambda x: 6 / x, [2, -3], [1, 1], [-3, -8]),
    # the maximum rises from 4 to 5: to the place of the 5; falls from 4 to 2: to the place of the 4
    "maximum rises": (lambda x: F.max_pool1d(x[:, None], 2), [1, 5], [4, 0], [0, 1]),
    "maximum falls": (lambda x: F.max_pool1d(x[:, None], 2), [1, 2], [4, 0], [-2, 0]),
    "amax": (lambda x: x.amax(1, keepdim=True), [1, 5], [4, 0], [0, 1]),
    "max": (lambda x: x.max(1).values[:, None], [1, 2], [4, 0], [-2, 0]),
    "maximum of two": (lambda x: torch.maximum(x[:, :1], x[:, 1:]), [1, 5], [4, 0], [0, 1]),
    "maximum and a constant": (lambda x: torch.maximum(x, torch.full((1, 2), 2.0).to(x)), [1, 5], [4, 0], [-2, 3]),
    "sigmoid": (lambda x: x.sigmoid(), [1, 0], [0, 0], [1 / (1 + 2.718281828459045**-1) - 0.5, 0]),
    "leaky": (lambda x: F.leaky_relu(x, 0.1), [2, -1], [-1, 1], [2.1, -1.1]),
    "relu6": (F.relu6, [8, -1], [0, 3], [6, -3]),
    "round": (torch.round, [1.4, 2.6], [0, 0], [1, 3]),
    "where": (lambda x: torch.where(torch.tensor([True, False]), x, -x), [1, 2], [0, 0], [1, -2]),
    "Euclidean norm": (lambda x: x.norm(dim=1, keepdim=True), [3, 4], [0, 0], [9 / 5, 16 / 5]),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name: str) -> None:
    function, x, baseline, expected = BY_HAND[name]
    x, baseline, expected = (
        torch.tensor([values], dtype=torch.float64) for values in (x, baseline, expected)
    )
    torch.testing.assert_close(lifted(function, x, baseline), expected, rtol=1e-12, atol=1e-12)


def test_softmax_by_a_slow_reference() -> None:
    """exp(x - log sum exp x), each step by the Rescale rule, with loops and without scaling."""
    x, b = torch.tensor([0.3, -1.0, 2.0]).double(), torch.tensor([1.0, 0.5, -0.2]).double()
    sums, logs = [v.exp().sum() for v in (x, b)], [v.exp().sum().log() for v in (x, b)]
    expected = torch.zeros(3).double()
    for out in (1,):
        u, u0 = x[out] - logs[0], b[out] - logs[1]
        outer = (u.exp() - u0.exp()) / (u - u0)
        for i in range(3):
            inner = (logs[0] - logs[1]) / (sums[0] - sums[1]) * (x[i].exp() - b[i].exp()) / (x[i] - b[i])
            expected[i] += outer * (float(i == out) - inner) * (x[i] - b[i])
    found = lifted(lambda x: x.softmax(1)[:, 1:2], x[None], b[None])
    torch.testing.assert_close(found[0], expected)


def test_layer_norm_by_a_slow_reference() -> None:
    """q = d / s, with s^2 = mean d^2 + eps: Delta d = mean(s) Delta q + mean(q) Delta s, solved with loops."""
    x, b, eps = torch.tensor([1.0, 4.0, -2.0]).double(), torch.tensor([0.5, 0.1, 0.2]).double(), 0.1
    d, d0 = x - x.mean(), b - b.mean()
    s, s0 = ((v.square().mean() + eps).sqrt() for v in (d, d0))
    expected = torch.zeros(3).double()
    for out in range(3):
        of_d = torch.zeros(3).double()  # multipliers of d
        of_d[out] += 2 / (s + s0)
        of_s = -(d[out] / s + d0[out] / s0) / (s + s0)
        for i in range(3):
            of_d[i] += of_s / (s + s0) * (d[i] + d0[i]) / 3
        weight = [1.0, -2.0, 0.5][out]
        expected += weight * (of_d - of_d.mean()) * (x - b)  # d = x - mean x
    weight = torch.tensor([1.0, -2.0, 0.5]).double()
    found = lifted(lambda x: F.layer_norm(x, (3,), weight, torch.ones(3).double(), eps), x[None], b[None])
    torch.testing.assert_close(found[0], expected)


# ---- everything adds up, exactly


def layer(kind: type[nn.RNNBase], **options: Any) -> Callable[[Tensor], Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = kind(4, 3, **options).double().eval()

    def forward(x: Tensor) -> Tensor:
        x = x.reshape(len(x), 6, 4)
        out, state = module(x if options.get("batch_first") else x.transpose(0, 1))
        out = out if options.get("batch_first") else out.transpose(0, 1)
        h, c = state if isinstance(state, tuple) else (state, state)
        return (out * torch.arange(6)[:, None]).flatten(1) + (h + c).sum((0, 2))[:, None]

    return forward


def cells(x: Tensor) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        one, other = nn.LSTMCell(4, 3).to(x), nn.GRUCell(3, 3).to(x)
    h, c = one(x[:, :4])
    h, c = one(x[:, 4:8], (h, c))
    return other(h, c)


def attention(x: Tensor, causal: bool = False, masked: bool = False) -> Tensor:
    mask = torch.tensor([[True, True, False], [True, False, True], [False, True, True]]) if masked else None
    x = x.reshape(len(x), 3, 8)
    heads = x.unflatten(2, (2, 4)).transpose(1, 2)
    return F.scaled_dot_product_attention(heads, 2 * heads, heads.tanh(), attn_mask=mask, is_causal=causal)


def squeeze_excite(x: Tensor) -> Tensor:
    x = x.reshape(len(x), 4, 6)
    return x * F.hardsigmoid(x.mean(2, keepdim=True))


def rms(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-3)


def by_hand_norm(x: Tensor) -> Tensor:
    mean = x.mean(1, keepdim=True)
    return (
        (x - mean) / ((x - mean).pow(2).mean(1, keepdim=True) + 1e-6).sqrt() * x.std(1, keepdim=True) * WEIGHT
    )


WEIGHT = torch.linspace(-1, 1, 24).double()
COMPLETE: dict[str, Callable[[Tensor], Tensor]] = {
    **{name: getattr(F, name) for name in (
        "relu", "relu6", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "hardsigmoid", "hardtanh",
        "leaky_relu", "softplus", "softsign", "logsigmoid", "tanhshrink", "softshrink", "hardshrink",
    )},
    **{name: getattr(torch, name) for name in ("tanh", "sigmoid", "exp", "sin", "erf", "abs", "square", "expm1")},
    "gelu, tanh": lambda x: F.gelu(x, approximate="tanh"),
    "prelu": lambda x: F.prelu(x.reshape(-1, 3, 8), torch.tensor([0.1, 0.5, 2.0]).double()),
    "log": lambda x: x.abs().add(0.1).log(),
    "power": lambda x: (x.square() + 1) ** -1.5,
    "swish by hand": lambda x: x * torch.sigmoid(x),
    "glu": F.glu,
    "softmax": lambda x: F.softmax(x, dim=1)[:, :5],
    "log softmax": lambda x: F.log_softmax(x, dim=1) * WEIGHT,
    "logsumexp": lambda x: torch.logsumexp(x.reshape(len(x), 4, 6), dim=(1, 2), keepdim=True),
    "large softmax": lambda x: F.softmax(300 * x, dim=1) * WEIGHT,
    "layer norm": lambda x: F.layer_norm(x, (24,), WEIGHT, WEIGHT),
    "group norm": lambda x: F.group_norm(x.reshape(len(x), 6, 4), 3, WEIGHT[:6], WEIGHT[:6]).pow(3),
    "instance norm": lambda x: F.instance_norm(x.reshape(len(x), 6, 4)).pow(3),
    "rms norm": lambda x: F.rms_norm(x, (24,), WEIGHT),
    "rms norm by hand": rms,
    "layer norm by hand": by_hand_norm,
    "normalize": lambda x: F.normalize(x, dim=1),
    "local response norm": lambda x: F.local_response_norm(x.reshape(len(x), 6, 4), 3),
    "variance": lambda x: x.var(1, unbiased=False, keepdim=True) + x.std(1, keepdim=True) + torch.var(x, 1)[:, None],
    "absolute norm": lambda x: torch.linalg.vector_norm(x, 1, dim=1, keepdim=True),
    "attention": attention,
    "causal attention": lambda x: attention(x, causal=True),
    "masked attention": lambda x: attention(x, masked=True),
    "squeeze and excite": squeeze_excite,
    "matmul": lambda x: x.reshape(len(x), 4, 6) @ x.reshape(len(x), 6, 4),
    "einsum": lambda x: torch.einsum("bij,bkj->bik", x.reshape(len(x), 4, 6), x.reshape(len(x), 4, 6).sin()),
    "computed weights": lambda x: F.conv1d(x[:1].reshape(1, 4, 6), x[:1].reshape(2, 4, 3)),
    "max pooling, overlapping": lambda x: F.max_pool2d(x.reshape(len(x), 1, 4, 6), 3, 1, padding=1),
    "max pooling in one dimension": lambda x: F.max_pool1d(x.reshape(len(x), 2, 12), 3, dilation=2, ceil_mode=True),
    "max pooling in three": lambda x: F.max_pool3d(x.reshape(len(x), 1, 2, 3, 4), 2),
    "max pooling with indices": lambda x: F.max_pool2d(x.reshape(len(x), 1, 4, 6), 2, return_indices=True)[0],
    "adaptive max pooling": lambda x: F.adaptive_max_pool2d(x.reshape(len(x), 1, 4, 6), (3, 2)),
    "maximum": lambda x: torch.maximum(x[:, :12], x[:, 12:]),
    "in place": lambda x: F.silu(x * 3, inplace=True).add_(x).mul_(x).relu_(),
    "a view written into": lambda x: torch.cat([x, x]).chunk(2)[0].clone().sigmoid_().mul_(x),
    "LSTM": layer(nn.LSTM, batch_first=True, num_layers=2, bidirectional=True),
    "GRU": layer(nn.GRU, bidirectional=True),
    "RNN": layer(nn.RNN, batch_first=True, bias=False),
    "RNN of ReLU": layer(nn.RNN, nonlinearity="relu", num_layers=2, dropout=0.5),
    "cells": cells,
    "reused": lambda x: torch.relu(torch.relu(x - 0.5) * 3 - 1),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPLETE)
def test_maps_add_up(name: str, generator: torch.Generator) -> None:
    function = COMPLETE[name]
    x = torch.randn(1 if name == "computed weights" else 3, 24, generator=generator, dtype=torch.float64)
    for baseline in (torch.zeros(24).double(), torch.randn(24, generator=generator, dtype=torch.float64)):
        if name in ("normalize", "layer norm by hand") and not baseline.any():
            baseline = baseline + 0.1 * torch.arange(24)  # these two have no slope at zero
        add_up(function, x, baseline, lifted(function, x, baseline, tolerance=1e-9))


@pytest.mark.parametrize(
    "name", ["gelu", "silu", "softmax", "layer norm", "attention", "squeeze and excite", "elu"]
)
def test_near_the_baseline_the_multiplier_is_the_gradient(name: str, generator: torch.Generator) -> None:
    """Where a difference has few digits left the quotient is worth nothing; float32, differences of 1e-12 to 1e-3."""
    x = torch.randn(2, 24, generator=generator)
    leaf = x.double().requires_grad_()
    gradient = torch.autograd.grad(total(function_of(name)(leaf)).sum(), leaf)[0]
    for size in (0.0, 1e-7, 1e-5, 1e-4):
        step = size * x * torch.rand(2, 24, generator=generator)
        found = explain.saliency(
            Model(function_of(name)),
            x,
            method="deeplift",
            baseline=x - step,
            target=total,
            tolerance=float("inf"),
        )
        wrong = (found.double() - gradient * (x - (x - step)).double()).abs().max()
        assert wrong <= 2e-3 * size * gradient.abs().max() * x.abs().max(), size


def function_of(name: str) -> Callable[[Tensor], Tensor]:
    if name == "layer norm":
        return lambda x: F.layer_norm(x, (24,), WEIGHT.to(x), WEIGHT.to(x)) * WEIGHT.to(x)
    return lambda x: COMPLETE[name](x)


def test_infinite_masks_and_saturation_give_no_nan() -> None:
    x, b = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.0, 0.0, 0.0]])
    hidden = torch.tensor([False, True, False])
    found = lifted(lambda x: x.masked_fill(hidden, -torch.inf).softmax(1)[:, :1], x, b)
    assert found[0, 1] == 0
    assert found.isfinite().all()
    found = lifted(lambda x: (1e4 * x).softmax(1)[:, :1] + (-1e4 * x).sigmoid(), x, b)
    assert found.isfinite().all()
