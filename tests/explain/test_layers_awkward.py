"""Layers that run twice, give several tensors or are changed in place; token ids; mistakes."""

from collections.abc import Callable
from typing import Any

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


# ---- awkward layers


class Awkward(nn.Module):
    """A module used twice, an LSTM that gives three tensors, a change in place after a layer, and a memory shared."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Tanh()
        self.lstm = nn.LSTM(4, 3, batch_first=True)
        self.scale = nn.Linear(3, 3)
        self.view = nn.Identity()
        self.unused = nn.Linear(3, 3)
        self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        sequence = self.lstm(self.twice(x))[0]
        hidden = self.twice(sequence[:, -1])
        hidden = self.scale(hidden).mul_(2.0).relu_()
        alias = hidden + 0
        seen = self.view(alias)
        alias += 1  # seen changes too
        return {"a": self.a(hidden), "b": self.b(seen)}


@pytest.fixture
def awkward() -> Awkward:
    torch.manual_seed(0)
    model = Awkward()
    nn.init.zeros_(model.scale.bias)  # some units positive, some negative
    return model


def test_a_module_used_twice(awkward: Awkward) -> None:
    x = torch.randn(2, 5, 4)
    with pytest.raises(ValueError, match=r"layer 'twice' runs more than once .* give call=0, 1"):
        explain.layer_attribution(awkward, x, "twice")
    first = explain.layer_attribution(awkward, x, "twice", "a", target=0, call=0, method="gradient")
    second = explain.layer_attribution(awkward, x, "twice", "a", target=0, call=1, method="gradient")
    assert (first.shape, second.shape) == (torch.Size([2, 5, 4]), torch.Size([2, 3]))
    hidden = torch.tanh(awkward.lstm(torch.tanh(x))[0][:, -1]).detach().requires_grad_()
    exact = torch.autograd.grad(awkward.a((awkward.scale(hidden) * 2).relu())[:, 0].sum(), hidden)[0]
    torch.testing.assert_close(second, exact)
    with pytest.raises(ValueError, match=r"runs 2 times; call must be in 0..1, got 2"):
        explain.layer_attribution(awkward, x, "twice", call=2)


def test_a_layer_that_gives_several_tensors(awkward: Awkward) -> None:
    x = torch.randn(2, 5, 4)
    with pytest.raises(ValueError, match=r"gives 3 float tensors \(\[2, 5, 3\], \[1, 2, 3\].*part=0 to 2"):
        explain.layer_attribution(awkward, x, "lstm")
    found = explain.layer_attribution(awkward, x, "lstm", "b", part=0, method="gradient_x_activation")
    assert found[:, :-1].abs().sum() == 0  # only the last step is used
    assert found[:, -1].abs().sum() > 0
    conductance = explain.layer_attribution(awkward, x, "lstm", "b", part=0)
    change = awkward(x)["b"] - awkward(torch.zeros_like(x))["b"]
    torch.testing.assert_close(conductance.flatten(1).sum(1), change[:, 0].detach(), rtol=0.02, atol=1e-3)
    with pytest.raises(ValueError, match=r"part must be in 0..2, got 3"):
        explain.layer_attribution(awkward, x, "lstm", part=3)
    for x in (
        torch.randn(2, 5, 4),
        torch.randn(1, 5, 4),
    ):  # [1, B, 3]: not the examples first, even where B is 1
        with pytest.raises(ValueError, match=r"layer 'lstm' gives \[1, ., 3\] for . examples; expected \[B"):
            explain.layer_attribution(awkward, x, "lstm", part=1, method="activation")


def test_changes_in_place_after_the_layer(awkward: Awkward) -> None:
    x = torch.randn(2, 5, 4)
    with torch.no_grad():
        exact = awkward.scale(awkward.twice(awkward.lstm(awkward.twice(x))[0][:, -1]))
    assert (exact < 0).any()
    found = explain.layer_attribution(awkward, x, "scale", "a", method="activation")
    torch.testing.assert_close(found, exact)  # not what the model made of it in place
    gradient = explain.layer_attribution(awkward, x, "scale", "a", target=1, method="gradient")
    torch.testing.assert_close(gradient, 2 * awkward.a.weight[1].detach() * (exact > 0))
    unit = explain.neuron_attribution(awkward, x, "scale", 1, method="occlusion", window=4)
    assert unit.shape == x.shape
    with pytest.raises(ValueError, match="layer 'view' gives a tensor that shares its memory"):
        explain.layer_attribution(awkward, x, "view", "b", method="gradient")


def test_layers_off_a_tasks_path(awkward: Awkward, model: Heads, images: Tensor) -> None:
    """Zeros in silence would read as 'this task uses none of it'."""
    x = torch.randn(2, 5, 4)
    for method in ("conductance", "integrated_gradients", "gradient", "gradient_x_activation"):
        with pytest.raises(ValueError, match=r"task 'b' does not depend on layer 'heads.0'"):
            explain.layer_attribution(model, images, "heads.0", method=method)
        assert explain.layer_attribution(model, images, "heads.0", "a", method=method).shape == (4, 3)
        with pytest.raises(ValueError, match="layer 'unused' took no part in the forward pass"):
            explain.layer_attribution(awkward, x, "unused", method=method)
    model.requires_grad_(False)
    with pytest.raises(ValueError, match=r"task 'b' does not depend on layer 'heads.0'"):
        explain.layer_attribution(model, images, "heads.0", method="gradient")


# ---- token ids, several inputs


class Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4, padding_idx=0)
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 1)

    def forward(
        self, ids: Tensor, mask: Tensor | None = None, image: Tensor | None = None
    ) -> dict[str, Tensor]:
        words = torch.tanh(self.embed(ids)) ** 2
        words = words if mask is None else words * mask[..., None]
        hidden = words.sum(1) if image is None else words.sum(1) * image
        return {"a": self.a(hidden), "b": self.b(hidden)}


@pytest.fixture
def text() -> Text:
    torch.manual_seed(0)
    return Text()


IDS = torch.tensor([[1, 2, 0], [3, 3, 6], [5, 0, 0]])


def test_token_ids(text: Text) -> None:
    found = explain.layer_attribution(
        text, IDS, "embed", method="integrated_gradients", baseline=0, target={"a": 2}, steps=20
    )
    for task, target in (("a", 2), ("b", 0)):
        one = attr.LayerIntegratedGradients(lambda ids, task=task: text(ids)[task], text.embed)
        expected = one.attribute(IDS, torch.zeros_like(IDS), target=target, n_steps=20)
        torch.testing.assert_close(found[task], expected.detach(), rtol=1e-4, atol=1e-6)
        change = (text(IDS)[task] - text(IDS * 0)[task])[:, target].detach()
        torch.testing.assert_close(found[task].sum(dim=(1, 2)), change, rtol=1e-2, atol=1e-4)
    zero = explain.layer_attribution(text, IDS, "embed", method="integrated_gradients", layer_baseline=0.0)
    torch.testing.assert_close(zero["b"], found["b"], rtol=1e-3, atol=1e-5)  # padding embeds to 0
    assert explain.layer_attribution(text, IDS, "embed", method="gradient_x_activation")["a"].shape == (
        3,
        3,
        4,
    )
    with pytest.raises(TypeError, match=r"explain.layer_attribution"):
        explain.saliency(text, IDS)
    with pytest.raises(ValueError, match="token ids have no natural baseline"):
        explain.layer_attribution(text, IDS, "embed", method="integrated_gradients")
    with pytest.raises(ValueError, match="between token ids there is none"):
        explain.layer_attribution(text, IDS, "embed")


def test_ids_with_a_mask_and_an_image(text: Text, generator: torch.Generator) -> None:
    mask, image = IDS > 0, torch.rand(3, 4, generator=generator)
    options: dict[str, Any] = {"method": "integrated_gradients", "target": {"a": 1}}
    for inputs, baseline in (
        ({"ids": IDS, "mask": mask}, {"ids": 1}), ((IDS, mask), (1, None)), ((IDS, mask), (torch.ones_like(IDS), None)),
    ):  # fmt: skip
        found = explain.layer_attribution(text, inputs, "embed", baseline=baseline, **options)
        change = (text(IDS, mask)["a"] - text(IDS * 0 + 1, mask)["a"])[:, 1].detach()
        torch.testing.assert_close(found["a"].sum(dim=(1, 2)), change, rtol=1e-2, atol=1e-4)
    found = explain.layer_attribution(
        text, (IDS, mask, image), "embed", baseline={"0": 1, "2": image}, **options
    )
    change = (text(IDS, mask, image)["a"] - text(IDS * 0 + 1, mask, image)["a"])[:, 1].detach()
    torch.testing.assert_close(found["a"].sum(dim=(1, 2)), change, rtol=1e-2, atol=1e-4)
    one = explain.layer_attribution(
        text, (IDS, mask, image), "embed", baseline={"0": 1, "2": image}, batch_size=1, **options
    )
    torch.testing.assert_close(one["a"], found["a"])
    flow = explain.layer_attribution(text, (IDS, mask, image), "a", "a", target=1)
    torch.testing.assert_close(flow[:, [0, 2]], torch.zeros(3, 2))
    unit = explain.neuron_attribution(text, (IDS, mask, image), "a", 1)
    assert unit[:2] == (None, None)
    assert unit[2].shape == image.shape


WRONG: dict[str, tuple[Callable[[Heads, Tensor], Any], str]] = {
    "layer": (lambda m, x: explain.layer_attribution(m, x, "trunk.55"), "no layer 'trunk.55'; did you mean 'trunk.5'"),
    "foreign": (lambda m, x: explain.layer_attribution(m, x, nn.ReLU()), "layer ReLU is not a part of the model"),
    "no layer": (lambda m, x: explain.layer_attribution(m, x, 3), "layer must be a module of the model or its name"),
    "method": (lambda m, x: explain.layer_attribution(m, x, "trunk", method="conductanc"), "did you mean 'conduct"),
    "option": (lambda m, x: explain.layer_attribution(m, x, "trunk", step=3), "did you mean 'steps'"),
    "steps": (lambda m, x: explain.layer_attribution(m, x, "trunk", steps=0), "1 <= steps <= max_steps"),
    "kind": (lambda m, x: explain.layer_attribution(m, x, "trunk", steps="3"), "wrong type"),
    "tolerance": (lambda m, x: explain.layer_attribution(m, x, "trunk", tolerance=0), "tolerance must be > 0"),
    "call": (lambda m, x: explain.layer_attribution(m, x, "trunk", call=-1), "call must be an integer >= 0"),
    "task": (lambda m, x: explain.layer_attribution(m, x, "trunk", "d"), "no task 'd'"),
    "target": (lambda m, x: explain.layer_attribution(m, x, "trunk", "a", target=3), "must be in 0..2"),
    "batch": (lambda m, x: explain.layer_attribution(m, x, "trunk", batch_size=0), "batch_size must be"),
    "baseline": (lambda m, x: explain.layer_attribution(m, x, "trunk", baseline=x[:2]), "baseline must be a number"),
    "NaN": (lambda m, x: explain.layer_attribution(m, x, "trunk", baseline=float("nan")), "baseline must be finite"),
    "word": (lambda m, x: explain.layer_attribution(m, x, "trunk", baseline="zer"), "did you mean 'zero'"),
    "name": (lambda m, x: explain.layer_attribution(m, x, "trunk", baseline={"x": 0}), "no input 'x'"),
    "both": (
        lambda m, x: explain.layer_attribution(
            m, x, "trunk", method="integrated_gradients", baseline=0, layer_baseline=0
        ), "not both",
    ),
    "of the layer": (
        lambda m, x: explain.layer_attribution(
            m, x, "trunk", method="integrated_gradients", layer_baseline=torch.ones(3)
        ), r"number or \[128\] like the output of layer 'trunk', got \[3\]",
    ),
    "inputs": (lambda m, x: explain.layer_attribution(m, x[:, :1], "trunk"), "cannot take inputs"),
    "nothing": (lambda m, x: explain.layer_attribution(m, [x, 3], "trunk"), "got int"),
    "no module": (lambda m, x: explain.layer_attribution(m.forward, x, "trunk"), "must be an nn.Module"),
    "neuron": (lambda m, x: explain.neuron_attribution(m, x, "trunk.5", 3), r"index into \[8, 4, 4\].*got \(3,\)"),
    "outside": (lambda m, x: explain.neuron_attribution(m, x, "trunk", -1), r"index into \[128\]"),
    "floats": (lambda m, x: explain.neuron_attribution(m, x, "trunk", (0.5,)), "index of integers or a callable"),
    "shape": (lambda m, x: explain.neuron_attribution(m, x, "trunk", lambda a: a), r"must give \[B\]"),
    "neuron's layer": (lambda m, x: explain.neuron_attribution(m, x, "trnk", 3), "did you mean 'trunk'"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_named(model: Heads, images: Tensor, case: str) -> None:
    call, message = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        call(model, images)
    assert "\n" not in str(caught.value)
