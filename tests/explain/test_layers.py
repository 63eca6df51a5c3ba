"""Attribution to layers against closed forms and against Captum, task by task."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum import attr
from torch import Tensor, nn

import explain
from tests.explain.models import Heads, heads
from tests.explain.test_guards import Fails, state

TARGETS = {"a": torch.tensor([0, 1, 2, 0]), "b": torch.tensor([4, 3, 0, 0]), "c": "predicted"}


@pytest.fixture
def model() -> Heads:
    return heads()


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.randn(4, 2, 8, 8, generator=generator)


def task_of(model: Heads, task: str) -> Callable[[Tensor], Tensor]:
    class One(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return model(x)[task]  # type: ignore[index]

    return One()


def captum_target(task: str) -> Tensor | None:
    chosen = TARGETS[task]
    return chosen if isinstance(chosen, Tensor) else None


# ---- closed forms


class Bent(nn.Module):
    """Units (x, x²) whose product is the one task, and whose sum is the other."""

    def __init__(self) -> None:
        super().__init__()
        self.units = nn.Identity()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        units = self.units(torch.cat([x, x**2], dim=1))
        return {"product": units[:, 0] * units[:, 1], "sum": units.sum(1)}


BENT: dict[str, dict[str, list[float]]] = {  # at x = 3 from 0: units (3, 9)
    "activation": {"product": [3, 9], "sum": [3, 9]},
    "gradient": {"product": [9, 3], "sum": [1, 1]},
    "gradient_x_activation": {"product": [27, 27], "sum": [3, 9]},
    "integrated_gradients": {"product": [13.5, 13.5], "sum": [3, 9]},  # along the line (3 a, 9 a)
    "conductance": {"product": [9, 18], "sum": [3, 9]},  # along the curve (3 a, 9 a²): x³/3 and 2 x³/3
}


@pytest.mark.parametrize("method", explain.LAYER_METHODS)
def test_closed_form_on_a_curve(method: str) -> None:
    """The two path methods differ: one goes straight in the layer, the other in the input."""
    options = {"steps": 256} if method == "conductance" else {}
    x = torch.tensor([[3.0]], dtype=torch.float64)
    found = explain.layer_attribution(Bent(), x, "units", method=method, **options)
    assert list(found) == ["product", "sum"]
    for task, exact in BENT[method].items():
        assert found[task][0].tolist() == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize("method", ["conductance", "integrated_gradients"])
def test_a_linear_layer_from_a_baseline(generator: torch.Generator, method: str) -> None:
    """v (y(x) - y(b)), with the sign; a baseline for all, one an example, and for the layer itself."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1)).double()
    x, b = torch.randn(2, 2, 3, generator=generator, dtype=torch.float64)
    v, y = model[1].weight[0], model[0]
    find = lambda **options: explain.layer_attribution(model, x, "0", method=method, **options)  # noqa: E731
    torch.testing.assert_close(find(baseline=b[0]), (v * (y(x) - y(b[:1]))).detach())
    torch.testing.assert_close(find(baseline=b), (v * (y(x) - y(b))).detach())
    if method == "integrated_gradients":
        torch.testing.assert_close(find(layer_baseline=0.0), (v * y(x)).detach())
        own = torch.randn(4, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(find(layer_baseline=own), (v * (y(x) - own)).detach())


def test_conductance_against_a_loop(model: Heads, images: Tensor) -> None:
    """Dhamdhere et al. 2019, equation 2, point by point at 4000 midpoints, by differences of the units."""
    model.eval().double()
    x = images[:1].double()
    ends, middles = torch.linspace(0, 1, 4001).double(), (torch.arange(4000).double() + 0.5) / 4000
    units = [model.trunk[:3](a.reshape(-1, 1, 1, 1) * x).detach() for a in (ends, middles)]
    middle = units[1].requires_grad_()
    score = model.heads[0](model.trunk[3:](middle.clone()))[:, 1].sum()
    exact = (torch.autograd.grad(score, middle)[0] * (units[0][1:] - units[0][:-1])).sum(0, keepdim=True)
    found = explain.layer_attribution(
        model, x, "trunk.2", "a", target=1, steps=512, max_steps=4096, tolerance=1e-3
    )
    assert float((found - exact).abs().sum() / exact.abs().sum()) < 3e-3


# ---- Captum, task by task


@pytest.mark.parametrize("layer", ["trunk.0", "trunk.1", "trunk.3", "trunk.5", "trunk.7"])
def test_equal_to_captum(model: Heads, images: Tensor, layer: str) -> None:
    module = model.get_submodule(layer)
    once = explain.layer_attribution(
        model, images, layer, method="gradient_x_activation", target=TARGETS, batch_size=3
    )
    paths = explain.layer_attribution(
        model, images, layer, method="integrated_gradients", target=TARGETS, tolerance=float("inf"), steps=20
    )
    flows = explain.layer_attribution(model, images, layer, target=TARGETS, steps=256)
    model.eval()
    for task in ("a", "b", "c"):
        one, target = task_of(model, task), captum_target(task)
        expected = attr.LayerGradientXActivation(one, module).attribute(images, target=target)
        torch.testing.assert_close(once[task], expected.detach(), rtol=1e-4, atol=1e-5)
        if layer != "trunk.1":  # an in-place ReLU follows, on which Captum fails
            expected = attr.LayerIntegratedGradients(one, module).attribute(images, target=target, n_steps=20)
            torch.testing.assert_close(paths[task], expected.detach(), rtol=1e-4, atol=1e-5)
        expected = attr.LayerConductance(one, module).attribute(images, target=target, n_steps=400).detach()
        assert float((flows[task] - expected).abs().sum() / expected.abs().sum()) < 0.01


def test_the_ends_that_captum_leaves_out(model: Heads, images: Tensor) -> None:
    """With 20 steps each, Captum's conductance misses its sum by more; ours is refined until it does not."""
    found = explain.layer_attribution(model, images, "trunk.2", "a", target=0, steps=20)
    model.eval()
    one = task_of(model, "a")
    change = (one(images) - one(torch.zeros_like(images)))[:, 0].detach()
    ours = (found.flatten(1).sum(1) - change).abs() / found.flatten(1).abs().sum(1)
    captum = attr.LayerConductance(one, model.trunk[2])
    theirs, delta = captum.attribute(images, target=0, n_steps=20, return_convergence_delta=True)
    gap = (delta.abs() / theirs.flatten(1).abs().sum(1)).detach()
    assert float(ours.max()) <= 0.01
    assert float(gap.mean()) > float(ours.mean())


# ---- completeness


def test_sums(model: Heads, images: Tensor) -> None:
    model.eval()
    with torch.no_grad():
        outputs, zero = model(images), model(torch.zeros_like(images))
    for method in ("conductance", "integrated_gradients"):
        maps = explain.layer_attribution(model, images, "trunk.3", method=method, target={"a": 1, "b": 4})
        for task, label in (("a", 1), ("b", 4), ("c", 0)):
            change = (outputs[task] - zero[task])[:, label]
            gap = (maps[task].flatten(1).sum(1) - change).abs() / maps[task].flatten(1).abs().sum(1)
            assert float(gap.max()) <= 0.01 + 1e-5


class Steep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(500 * (self.layer(x) - 0.503)).sum(1) + x.sum(1) * 0


@pytest.mark.parametrize("method", ["conductance", "integrated_gradients"])
def test_an_incomplete_map_is_refined_or_refused(method: str) -> None:
    x = torch.tensor([[1.0, 0.9]])
    with pytest.raises(
        ValueError,
        match=r"at layer 'layer': .* misses its sum by up to .* after 4 steps",
    ):
        explain.layer_attribution(Steep(), x, "layer", method=method, steps=4, max_steps=4)
    found = explain.layer_attribution(Steep(), x, "layer", method=method, steps=4)
    torch.testing.assert_close(found, torch.ones(1, 2), rtol=0.02, atol=0)
    wrong = explain.layer_attribution(Steep(), x, "layer", method=method, steps=4, tolerance=float("inf"))
    assert float((wrong - 1).abs().max()) > 0.1  # what was refused above was wrong


def test_large_values_that_cancel_do_not_excuse_a_sum_that_is_off(generator: torch.Generator) -> None:
    """A score that depends on the direction of x alone, from 0: all its change lies at the very start of the path, and
    few points see it; gradients there are huge and cancel, so that the gap is small beside the absolute values."""

    class Direction(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()
            self.weight = torch.randn(400, generator=generator)

        def forward(self, x: Tensor) -> Tensor:
            units = self.layer(x)
            return (units * self.weight).sum(1) / (units.square().sum(1) + 1e-9).sqrt()

    model, x = Direction(), torch.randn(1, 400, generator=generator) * 3
    options: dict[str, Any] = {"method": "integrated_gradients", "steps": 64, "max_steps": 64}
    wrong = explain.layer_attribution(model, x, "layer", tolerance=float("inf"), **options)
    gap = float((wrong.sum() - model(x)).abs())
    assert gap > 0.5 * float(model(x).abs())
    assert gap < 0.01 * float(wrong.abs().sum())
    with pytest.raises(ValueError, match="misses its sum"):
        explain.layer_attribution(model, x, "layer", **options)


class Residual(nn.Module):
    """score = 2 x + x² of each input: the branch gives x², the rest passes by."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Identity())
        self.join = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.join(2 * x + self.branch(x) ** 2).sum(1)


def test_a_branch_beside_a_residual_connection() -> None:
    """Its map has no sum that is known: it must converge instead, and a path in the layer sums to what it adds."""
    x = torch.tensor([[1.0, -3.0]])
    found = explain.layer_attribution(Residual(), x, "branch", tolerance=1e-3)
    torch.testing.assert_close(found, x**2, rtol=1e-3, atol=1e-3)
    found = explain.layer_attribution(Residual(), x, "branch", method="integrated_gradients")
    torch.testing.assert_close(found, x**2)
    found = explain.layer_attribution(Residual(), x, "join")
    torch.testing.assert_close(found, 2 * x + x**2)

    class Jump(Residual):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(500 * (self.branch(x) - 0.503)).sum(1) + x.sum(1)

    with pytest.raises(ValueError, match=r"misses its sum by up to .* after 8 steps"):
        explain.layer_attribution(Jump(), x, "branch", steps=4, max_steps=8)
    explain.layer_attribution(Jump(), x, "branch", steps=4, max_steps=8, tolerance=float("inf"))


def test_a_right_sum_of_map_and_rest_is_not_enough() -> None:
    """The branch gives cos(40 x), the rest takes it away again: the sum is right with any number of steps, even 1."""

    class Hidden(Residual):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1) + torch.cos(40 * self.branch(x)).sum(1) - torch.cos(40 * x).sum(1)

    x = torch.tensor([[1.0, 0.4]])
    with pytest.raises(ValueError, match="still changes when the steps are doubled"):
        explain.layer_attribution(Hidden(), x, "branch", steps=2, max_steps=8)
    found = explain.layer_attribution(Hidden(), x, "branch", steps=2, tolerance=1e-3)
    torch.testing.assert_close(found, torch.cos(40 * x) - 1, rtol=1e-2, atol=1e-2)


# ---- batching, state


@pytest.mark.parametrize("method", explain.LAYER_METHODS)
def test_batching_changes_nothing(model: Heads, images: Tensor, method: str) -> None:
    expected = explain.layer_attribution(model, images, "trunk.1", method=method)
    for rows in (1, 3):
        found = explain.layer_attribution(model, images, "trunk.1", method=method, batch_size=rows)
        for task in expected:
            torch.testing.assert_close(found[task], expected[task], rtol=1e-5, atol=1e-6)
    alone = explain.layer_attribution(model, images[2:3], "trunk.1", method=method)
    torch.testing.assert_close(alone["b"], expected["b"][2:3], rtol=1e-5, atol=1e-6)


def test_one_forward_a_point_whatever_the_number_of_tasks(model: Heads, images: Tensor) -> None:
    counts = []
    for task in (None, "a"):
        model.forwards = 0
        explain.layer_attribution(model, images, "trunk.5", task, steps=16, tolerance=float("inf"))
        counts.append(model.forwards)
    assert counts[0] == counts[1] <= 9  # 17 points, 8 at a time, and the checks


def of_layer(model: nn.Module, images: Tensor, method: str) -> None:
    explain.layer_attribution(model, images, "trunk.2", method=method)


def of_neuron(model: nn.Module, images: Tensor, method: str) -> None:
    explain.neuron_attribution(model, images, "trunk.2", (0, 1, 1), method="integrated_gradients")


@pytest.mark.parametrize("method", explain.LAYER_METHODS)
def test_everything_is_as_before(images: Tensor, method: str) -> None:
    model = heads().train()
    model.trunk[1].eval()
    next(model.parameters()).requires_grad_(False)
    before = state(model, images)
    of_layer(model, images, method)
    of_neuron(model, images, method)
    assert state(model, images) == before
    for at in (1, 2, 4):
        broken = heads().train()
        broken.trunk.insert(5, Fails(at))
        before = state(broken, images)
        before["attributes"] = None
        for call in (of_layer, of_neuron):
            broken.trunk[5].left = at
            try:
                call(broken, images, method)
            except KeyError:
                pass
            else:
                assert at == 4  # a method of few passes
            assert {**state(broken, images), "attributes": None} == before
