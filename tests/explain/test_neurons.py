"""Attribution of a neuron against Captum and against models that end there."""

import pytest
import torch
from captum import attr
from torch import Tensor, nn

import explain
from tests.explain.models import Heads, heads


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
