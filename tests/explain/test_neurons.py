"""Attribution of a neuron against Captum and against models that end there."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum import attr
from torch import Tensor, nn

import explain
from tests.explain.models import Heads, heads
from tests.explain.test_guards import state


@pytest.fixture
def model() -> Heads:
    return heads()


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.randn(4, 2, 8, 8, generator=generator)


def test_neurons_equal_to_captum(model: Heads, images: Tensor) -> None:
    neuron = (3, 2, 1)
    gradient = explain.neuron_attribution(model, images, "trunk.5", neuron)
    path = explain.neuron_attribution(
        model, images, "trunk.5", neuron, method="integrated_gradients", steps=20, tolerance=float("inf")
    )
    channel = explain.neuron_attribution(model, images, "trunk.5", lambda a: a[:, 3].mean(dim=(1, 2)))
    model.eval()
    layer, one = model.trunk[5], lambda x: model(x)["a"]  # type: ignore[call-overload]
    images = images.requires_grad_()  # or Captum warns
    expected = attr.NeuronGradient(one, layer).attribute(images, neuron)
    torch.testing.assert_close(gradient, expected.detach())
    expected = attr.NeuronIntegratedGradients(one, layer).attribute(images, neuron, n_steps=20)
    torch.testing.assert_close(path, expected.detach(), rtol=1e-4, atol=1e-6)
    score = model.trunk[:6](images)[:, 3].mean(dim=(1, 2)).sum()
    torch.testing.assert_close(channel, torch.autograd.grad(score, images)[0])


@pytest.mark.parametrize("method", explain.METHODS)
def test_neurons_by_every_method(images: Tensor, method: str) -> None:
    """A neuron of a late layer is explained as a model that ends there would be, with its checks."""
    model = heads()
    body = nn.Sequential(*model.trunk, nn.Flatten(), Unit(5))
    try:
        expected = explain.saliency(body, images, method=method)
    except ValueError as error:
        with pytest.raises(ValueError, match=str(error).split(":")[0]):
            explain.neuron_attribution(model, images, "trunk.7", 5, method=method)
    else:
        found = explain.neuron_attribution(model, images, "trunk.7", 5, method=method)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


class Unit(nn.Module):
    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.index]


def test_layer_names_mean_the_same_for_a_neuron(model: Heads, images: Tensor) -> None:
    found = explain.neuron_attribution(model, images, "trunk.7", 5, method="grad_cam", layer="trunk.1")
    other = explain.neuron_attribution(model, images, "trunk.7", 5, method="grad_cam", layer=model.trunk[1])
    torch.testing.assert_close(found, other)


# ---- conductance of the inputs through units


@pytest.mark.parametrize("task", ["a", "b", "c"])
def test_conductance_equal_to_captum(model: Heads, images: Tensor, task: str) -> None:
    options: dict[str, Any] = {"target": {"a": 1, "b": 4}, "steps": 40, "tolerance": float("inf")}
    found = explain.neuron_conductance(model, images, "trunk.5", (3, 2, 1), **options)
    model.eval()
    one = attr.NeuronConductance(lambda x: model(x)[task], model.trunk[5])  # type: ignore[call-overload]
    expected = one.attribute(
        images, (3, 2, 1), target={"a": 1, "b": 4, "c": 0}[task], n_steps=40, method="gausslegendre"
    )
    assert expected.abs().sum() > 0
    torch.testing.assert_close(found[task], expected.detach(), rtol=1e-4, atol=1e-7)


def test_conductance_adds_up(model: Heads, images: Tensor) -> None:
    """Over the input to the units' conductance; over the units to integrated gradients."""
    channel = torch.zeros(8, 4, 4, dtype=torch.bool)
    channel[3] = True
    options: dict[str, Any] = {"target": {"a": 1}, "steps": 128, "tolerance": float("inf")}
    own = explain.neuron_conductance(model, images, "trunk.5", channel, **options)
    rest = explain.neuron_conductance(model, images, "trunk.5", ~channel, **options)
    whole = explain.saliency(model, images, method="integrated_gradients", **options)
    layer = explain.layer_attribution(model, images, "trunk.5", **options)
    for task in ("a", "b", "c"):
        torch.testing.assert_close(own[task] + rest[task], whole[task], rtol=1e-3, atol=1e-6)
        units = layer[task][:, 3].flatten(1).sum(1)
        assert float((own[task].flatten(1).sum(1) - units).abs().max() / units.abs().max()) < 0.02


def test_conductance_of_a_linear_unit(generator: torch.Generator) -> None:
    """v w (x - b), with the sign, for several inputs."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(5, 3), nn.Linear(3, 2)

        def forward(self, image: Tensor, text: Tensor) -> Tensor:
            return self.head(self.body(torch.cat([image, text], 1)))

    model, image, text = Two(), torch.randn(2, 3, generator=generator), torch.randn(2, 2, generator=generator)
    found = explain.neuron_conductance(model, (image, text), "body", 2, target=1, baseline=0.5)
    exact = model.head.weight[1, 2] * model.body.weight[2] * (torch.cat([image, text], 1) - 0.5)
    torch.testing.assert_close(torch.cat(found, 1), exact.detach())


def test_conductance_that_does_not_converge_is_refused() -> None:
    class Steep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.units = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(500 * (self.units(x) - 0.503)).sum(1)

    x = torch.tensor([[1.0, 0.9]])
    with pytest.raises(ValueError, match=r"misses its sum by up to .* after 8 steps"):
        explain.neuron_conductance(Steep(), x, "units", 0, steps=4, max_steps=8)
    found = explain.neuron_conductance(Steep(), x, "units", 0, steps=4)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0]]), rtol=0.02, atol=0)


def test_conductance_in_chunks_and_untouched(images: Tensor) -> None:
    model = heads().train()
    before = state(model, images)
    expected = explain.neuron_conductance(model, images, "trunk.2", (0, 1, 1))
    for task, found in explain.neuron_conductance(model, images, "trunk.2", (0, 1, 1), batch_size=1).items():
        torch.testing.assert_close(found, expected[task], rtol=1e-4, atol=1e-7)
    assert state(model, images) == before


WRONG: dict[str, tuple[Callable[[Heads, Tensor], Any], str]] = {
    "index": (lambda m, x: explain.neuron_conductance(m, x, "trunk.5", 3), r"index into \[8, 4, 4\].*got \(3,\)"),
    "mask": (lambda m, x: explain.neuron_conductance(m, x, "trunk.5", x[0] > 0), r"must be bool \[8, 4, 4\]"),
    "empty": (lambda m, x: explain.neuron_conductance(m, x, "heads.0", torch.zeros(3) > 0, "a"), "at least one"),
    "floats": (lambda m, x: explain.neuron_conductance(m, x, "trunk", (0.5,)), "index of integers or a bool mask"),
    "unused": (lambda m, x: explain.neuron_conductance(m, x, "heads.0", 1), "task 'b' does not depend on layer"),
    "steps": (lambda m, x: explain.neuron_conductance(m, x, "trunk", 1, steps=0), "1 <= steps"),
    "ids": (lambda m, x: explain.neuron_conductance(m, x.long(), "trunk", 1), "must be floating point"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_named(model: Heads, images: Tensor, case: str) -> None:
    call, message = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        call(model, images)
    assert "\n" not in str(caught.value)
