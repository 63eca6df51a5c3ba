"""Gradients compared without being written out: as products of two matrices, and piece by piece of the trunk."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mtl
from mtl.balancing import factors, passes
from mtl.balancing.stream import pieces
from tests.mtl.balancing.models import (
    TASKS,
    Batches,
    Zoo,
    error_in,
    make,
    overflowing_step,
    rows,
    scaled_and_plain,
    shared_gradient,
    step,
)

GRAMIAN = [name for name, kind in mtl.BALANCERS.items() if kind.needs == "gramian"]


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every layer that can be a factor is one, whatever it costs; how many there were in each step."""
    counts: list[int] = []
    find = factors.find_factors

    def counted(*arguments: Any) -> Any:
        found = find(*arguments)
        counts.append(len(found or []))
        return found

    monkeypatch.setattr(factors, "_pays", lambda *_: True)
    monkeypatch.setattr("mtl.balancing.engine.find_factors", counted)
    return counts


class Convolutions(nn.Module):
    """Kernels with strides, paddings, dilations, groups, of one place and without bias; a norm; a skip."""

    out_features = 5

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(4, 4, 3, padding=2, dilation=2, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.point = nn.Conv2d(4, 6, 1, stride=2)
        self.last = nn.Linear(6 * 4 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x.repeat(1, 64).view(-1, 1, 16, 16)))
        x = torch.relu(x + self.norm(self.wide(x)) + self.grouped(x))
        return self.last(self.point(x).flatten(1))  # type: ignore[no-any-return]


class Tokens(nn.Module):
    """Linear layers on three axes, with and without bias, a plain product with a parameter, one weight used twice."""

    out_features = 5

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1, 6), nn.Linear(6, 6, bias=False)
        self.plain = nn.Parameter(torch.randn(6, 5))
        self.frozen = nn.Linear(5, 5)
        self.frozen.bias.requires_grad_(False)
        self.twice = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        z = torch.relu(self.second(torch.relu(self.first(x[:, :, None]))))  # [B, 4, 6]
        z = torch.tanh(z.mean(dim=1) @ self.plain)
        return self.twice(torch.tanh(self.twice(self.frozen(z))))  # type: ignore[no-any-return]


class Model(Batches, mtl.MultiTaskModel):
    """A trunk of this file under the usual heads."""


def build(kind: str) -> Any:
    if kind in Zoo:
        return make(kind)
    with mtl.seeded(0):
        return Model({"convolutions": Convolutions, "tokens": Tokens}[kind](), TASKS)


# how many layers of each are factors: a weight used twice, a grouped kernel and a re-entrant block are not
FACTORS = {
    "plain": 2, "normalised": 2, "checkpointed": 2, "written": 2, "several": 2, "half_reached": 2,
    "convolutions": 4, "tokens": 4,
}  # fmt: skip


@pytest.mark.parametrize("kind", [*Zoo, "convolutions", "tokens"])
@pytest.mark.parametrize("method", ["upgrad", "nash_mtl"])
def test_factors_give_what_rows_give(kind: str, method: str, always: list[int]) -> None:
    model = build(kind)
    balancer = mtl.Balancer(method)
    step(model, balancer)
    J = rows(build(kind))
    assert balancer.last is not None
    torch.testing.assert_close(balancer.last.gramian, J @ J.T, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(shared_gradient(model), mtl.combine(J, method), rtol=1e-4, atol=1e-6)
    if kind in FACTORS:
        assert always == [FACTORS[kind]]
    plain = build(kind)
    inputs, targets = plain.batch(1)
    sum(plain.losses(plain(inputs), targets).values()).backward()
    shared = {id(p) for p in plain.shared_parameters()}
    for ours, own in zip(model.parameters(), plain.parameters(), strict=True):
        if id(own) not in shared and own.grad is not None:
            torch.testing.assert_close(ours.grad, own.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", FACTORS)
def test_all_factors_at_once(kind: str, always: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """What an accelerator may choose, by vmap; here forced on a CPU."""
    one, two = build(kind), build(kind)
    step(one, mtl.Balancer("upgrad"))
    monkeypatch.setattr(passes, "_at_once_is_faster", lambda *_: True)
    step(two, mtl.Balancer("upgrad"))
    torch.testing.assert_close(shared_gradient(two), shared_gradient(one), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", [*FACTORS, "normalised"])
@pytest.mark.parametrize("forced", [False, True])
def test_a_streamed_gramian_is_the_same(kind: str, forced: bool, request: pytest.FixtureRequest) -> None:
    if forced:
        request.getfixturevalue("always")
    one, two = build(kind), build(kind)
    plain, streamed = mtl.Balancer("upgrad"), mtl.Balancer("upgrad", stream=True)
    step(one, plain)
    step(two, streamed)
    assert plain.last is not None
    assert streamed.last is not None
    torch.testing.assert_close(streamed.last.gramian, plain.last.gramian, rtol=1e-5, atol=1e-9)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", GRAMIAN)
@pytest.mark.parametrize("stream", [False, True])
def test_every_method_on_the_gramian(name: str, stream: bool, always: list[int]) -> None:
    options = {"level": "parameters"} if name == "gradnorm" else {}
    model, balancer = build("convolutions"), mtl.Balancer(name, seed=1, stream=stream, **options)
    losses = step(model, balancer)
    values = [float(loss.detach()) for loss in losses.values()]
    expected = mtl.combine(rows(build("convolutions")), name, seed=1, losses=values)
    torch.testing.assert_close(shared_gradient(model), expected, rtol=1e-4, atol=1e-6)


def test_a_batch_that_cancels_loses_no_digits(always: list[int]) -> None:
    """Examples in pairs that almost undo each other: gradients a thousand times shorter than their parts.

    Squares of A A' in single precision would be off by a thousand squared times its rounding.
    """
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(32, 80, generator=generator)
    A = torch.cat([A, A + 1e-3 * torch.randn(32, 80, generator=generator)])
    D = torch.randn(3, 32, 7, generator=generator)
    D = torch.cat([D, -D], dim=1)
    A.requires_grad_(False)
    layer = nn.Linear(80, 7)
    out = layer(A)
    (found,) = (
        factors.find_factors([torch.autograd.graph.GradientEdge(out.grad_fn, 0)], list(layer.parameters()), 3)
        or []
    )
    exact = torch.cat(
        [D.transpose(1, 2).double() @ A.double(), D.double().sum(dim=1)[:, :, None]], dim=2
    ).flatten(1)
    single = torch.cat([D.transpose(1, 2) @ A, D.sum(dim=1)[:, :, None]], dim=2).flatten(1).double()
    G = exact @ exact.T
    lengths = G.diagonal().sqrt()
    assert lengths.max() < 2e-2 * A.norm() * D[0].norm()

    def error(M: Tensor) -> float:
        return float(((M - G) / lengths / lengths[:, None]).abs().max())

    assert error(found.products(D)) <= max(3 * error(single @ single.T), 1e-5)


def test_a_hook_on_a_parameter_keeps_its_layer_among_the_rows(always: list[int]) -> None:
    model = build("plain")
    weight = model.shared_parameters()[0]
    weight.register_hook(lambda g: 2 * g)
    step(model, mtl.Balancer("upgrad"))
    assert always == [1]
    expected = build("plain")
    expected.shared_parameters()[0].register_hook(lambda g: 2 * g)
    torch.testing.assert_close(
        shared_gradient(model), mtl.combine(rows(expected), "upgrad"), rtol=1e-4, atol=1e-6
    )


def test_gradients_have_the_memory_format_of_their_parameter(always: list[int]) -> None:
    """By factors alone: PyTorch 2.14's own pass now and then gives a wrong gradient of a kernel of one place with
    stride 2 and few channels in this format on a CPU.
    """
    model = build("convolutions").to(memory_format=torch.channels_last)
    step(model, mtl.Balancer("upgrad"))
    assert all(p.grad.stride() == p.stride() for p in model.parameters())
    expected = mtl.combine(rows(build("convolutions")), "upgrad")
    torch.testing.assert_close(shared_gradient(model), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype, always: list[int]) -> None:
    assert error_in(dtype, build("plain"), "upgrad") < (0.05 if dtype == torch.bfloat16 else 1e-10)


def test_what_pays() -> None:
    """A layer with many inputs and few examples; not the other way round, and not one task by itself."""

    def found(n: int, fan_in: int) -> int:
        layer = nn.Linear(fan_in, 16)
        z = layer(torch.ones(n, fan_in))
        edge = torch.autograd.graph.GradientEdge(z.grad_fn, 0)
        return len(factors.find_factors([edge], list(layer.parameters()), 8) or [])

    assert (found(16, 512), found(512, 16)) == (1, 0)


def test_pieces_end_where_one_tensor_is_left() -> None:
    """Two layers in a block with a skip are one piece."""
    first, a, b = nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 3)
    z = first(torch.ones(4, 2))
    z = z + b(torch.relu(a(z)))
    found = pieces([torch.autograd.graph.GradientEdge(z.grad_fn, 0)])
    assert [{id(p) for p in piece.parameters} for piece in found] == [
        {id(p) for layer in (a, b) for p in layer.parameters()},
        {id(p) for p in first.parameters()},
    ]


@pytest.mark.parametrize(("kind", "message"), [
    ("no_features", "reach the shared parameters through features alone"),
    ("tied", "reach the shared parameters through features alone"),
    ("reentrant", "use_reentrant=False"),
])  # fmt: skip
def test_what_cannot_be_streamed_says_so(kind: str, message: str) -> None:
    model = build(kind)
    with pytest.raises(ValueError, match=message):
        step(model, mtl.Balancer("upgrad", stream=True))
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(("options", "message"), [
    ({"method": "moco"}, "keeps whole gradients"),
    ({"method": "gradvac", "groups": "layer"}, "does not compare all parameters at once"),
    ({"method": "mgda", "level": "features"}, "does not compare all parameters at once"),
])  # fmt: skip
def test_stream_is_refused_where_it_has_no_meaning(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mtl.Balancer(stream=True, **options)


@pytest.mark.parametrize("name", ["upgrad", "nash_mtl"])
def test_a_gradient_scaler_changes_nothing(name: str, always: list[int]) -> None:
    """Factors carry the scale, what is solved does not; where they overflow the scaler skips the step."""
    for scaled, plain in scaled_and_plain(build("convolutions"), build("convolutions"), name):
        torch.testing.assert_close(scaled, plain, rtol=1e-5, atol=1e-8)
    assert overflowing_step(build("convolutions"), mtl.Balancer(name))


def test_the_graph_is_freed(always: list[int]) -> None:
    """As by a plain backward: what the layers kept is gone while the losses are still held (but the batch itself)."""
    model = build("plain")
    inputs, targets = model.batch(1)
    losses = model.losses(model(inputs), targets)
    mtl.Balancer("upgrad").backward(losses, model)
    layers, waiting = [], [losses["kind"].grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None:
            layers += [node] if node.name() == "AddmmBackward0" else []
            waiting += [following for following, _ in node.next_functions]
    _, second, first = layers  # behind the head
    with pytest.raises(RuntimeError, match="already been freed"):
        _ = second._saved_mat1
    assert first._saved_mat1.data_ptr() == inputs.data_ptr()
