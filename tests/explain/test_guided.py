"""Guided backpropagation and deconvolution: by hand, against Captum, and wherever others give the plain gradient."""

import warnings
from collections.abc import Callable

import pytest
import torch
from captum import attr
from torch import Tensor, nn
from torch.nn import functional as F

import explain
from tests.explain.models import Head, heads

METHODS = {"guided_backprop": attr.GuidedBackprop, "deconvolution": attr.Deconvolution}


def captum(method: str, model: nn.Module, x: Tensor, task: str, target: int) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it sets hooks
        return METHODS[method](Head(model, task)).attribute(x.clone().requires_grad_(), target=target)


class Net(nn.Module):
    """Two convolutions and an activation that is given as a function; one hidden layer of two heads."""

    def __init__(self, activation: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.one, self.two = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 8, 3)
            self.norm = nn.GroupNorm(2, 6)
            self.a, self.b = nn.Linear(8, 3), nn.Linear(8, 2)
        self.activation = activation

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = F.max_pool2d(self.activation(self.norm(self.one(x))), 2)
        x = self.activation(self.two(x)).amax((2, 3))
        return {"a": self.a(x), "b": self.b(x)}


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.randn(3, 2, 8, 8, generator=generator, dtype=torch.float64)


def explained(model: nn.Module, x: Tensor, method: str, **options: object) -> dict[str, Tensor]:
    return explain.saliency(model.to(x.dtype), x, method=method, target={"a": 1, "b": 1}, **options)


# ---- by hand: y = v relu(W x), x = (1, -1, 2)

W = torch.tensor([[1.0, 0.0, 1.0], [2.0, 1.0, 0.0], [0.0, 1.0, -1.0], [1.0, 1.0, 1.0]])
V = torch.tensor([[3.0, -1.0, 5.0, 2.0]])


class Small(nn.Module):
    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x @ W.T) @ V[0]


@pytest.mark.parametrize(
    ("method", "activation", "expected"),
    [
        # W x = (3, 1, -3, 2); the gradient at the four units is V = (3, -1, 5, 2)
        ("guided_backprop", F.relu, 3 * W[0] + 2 * W[3]),
        ("deconvolution", F.relu, 3 * W[0] + 5 * W[2] + 2 * W[3]),
        # with an upper bound of 2.5 the first unit has no slope
        ("guided_backprop", lambda x: x.clamp(0, 2.5), 2 * W[3]),
        ("deconvolution", lambda x: x.clamp(0, 2.5), 3 * W[0] + 5 * W[2] + 2 * W[3]),
        ("guided_backprop", F.relu6, 3 * W[0] + 2 * W[3]),
    ],
)
def test_by_hand(method: str, activation: Callable[[Tensor], Tensor], expected: Tensor) -> None:
    x = torch.tensor([[1.0, -1.0, 2.0]])
    torch.testing.assert_close(explain.saliency(Small(activation), x, method=method), expected[None])


# ---- the same as Captum where all is modules, and the same for every other way to write it


@pytest.mark.parametrize("method", METHODS)
def test_equals_captum_task_by_task(method: str, images: Tensor) -> None:
    """In-place ReLU, batch norm and max pooling included."""
    model = heads().double().eval()
    maps = explain.saliency(model, images, method=method, target={"a": 2, "b": 3})
    gradients = explain.saliency(model, images, target={"a": 2, "b": 3})
    for task, target in (("a", 2), ("b", 3)):
        expected = captum(method, model, images, task, target)
        torch.testing.assert_close(maps[task], expected, rtol=0, atol=1e-12)
        assert (maps[task] - gradients[task]).abs().max() > 1e-2


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "functional": F.relu,
    "torch": torch.relu,
    "method": Tensor.relu,
    "in place": lambda x: F.relu(x, inplace=True),
    "clamp": lambda x: x.clamp_(min=0),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "one module twice, in place": nn.ReLU(inplace=True),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", WAYS)
def test_the_same_however_relu_is_written(method: str, way: str, images: Tensor) -> None:
    """Captum gives the plain gradient, without a word, for all but the last."""
    reused = Net(nn.ReLU()).double()
    maps = explained(Net(WAYS[way]), images, method)
    for task in ("a", "b"):
        expected = captum(method, reused, images, task, 1)
        torch.testing.assert_close(maps[task], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_compiled_model_is_no_plain_gradient(method: str, images: Tensor) -> None:
    model = Net().double()
    compiled = torch.compile(model, backend="eager")
    compiled(images)
    torch.testing.assert_close(
        explained(compiled, images, method)["a"], explained(model, images, method)["a"], rtol=0, atol=0
    )


def test_all_tasks_from_one_forward_pass(images: Tensor) -> None:
    model = heads().double()
    model.forwards = 0
    explain.saliency(model, images, method="guided_backprop")
    assert model.forwards == 1


# ---- where the methods are not defined


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("activation", "named"),
    [
        (nn.GELU(), "gelu in activation"),
        (nn.SiLU(inplace=True), "silu in activation"),
        (nn.LeakyReLU(), "leaky_relu in activation"),
        (nn.Hardswish(), "hardswish in activation"),
        (nn.PReLU(), "prelu in activation"),
        (lambda x: x * torch.sigmoid(x), "sigmoid in the model; mul in the model"),
        (lambda x: x * (x > 0), "mul with a value computed from the input without a gradient in the model"),
        (lambda x: torch.where(x > 0, x, 0.0), "where with a value computed"),
        (nn.Softmax(dim=1), "softmax in activation"),
    ],
)
def test_other_nonlinearities_are_named(
    method: str, activation: Callable[[Tensor], Tensor], named: str, images: Tensor
) -> None:
    with pytest.raises(ValueError, match=rf"{method} has no rule for: {named}") as caught:
        explained(Net(activation), images, method)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
def test_a_task_without_relu_is_refused_alone(method: str) -> None:
    """Its map would be the plain gradient under another name."""

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.deep = (
                nn.Linear(3, 2),
                nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)),
            )
            self.constant = nn.Parameter(torch.ones(2))

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {
                "linear": self.linear(x),
                "deep": self.deep(x),
                "constant": self.constant.expand(len(x), 2),
            }

    model, x = Mixed(), torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"no ReLU lies between the input and \['linear'\]"):
        explain.saliency(model, x, method=method)
    assert explain.saliency(model, x, "deep", method=method).shape == x.shape
    assert explain.saliency(model, x, "constant", method=method).abs().max() == 0


def test_the_score_is_no_part_of_the_network(images: Tensor) -> None:
    """A probability is a function of the logits: dp_1/dz = p_1 (e_1 - p), passed on to them as it is."""
    model = Net().double()
    maps = explained(model, images, "deconvolution", score="probability")["a"]
    p = model(images)["a"].softmax(1).detach()
    weights = p[:, 1:2] * (F.one_hot(torch.ones(3).long(), 3) - p)
    expected = explain.saliency(
        model, images, "a", method="deconvolution", target=lambda output: (output * weights).sum(1)
    )
    torch.testing.assert_close(maps, expected)
