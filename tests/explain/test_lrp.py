"""LRP: rules by loops from the papers, Captum where it is right, and conservation where it is not."""

import warnings
from typing import Any

import pytest
import torch
from captum.attr import LRP
from captum.attr._utils.lrp_rules import EpsilonRule
from torch import Tensor, nn
from torch.nn import functional as F

import explain
from explain.methods.lrp import COMPOSITES
from tests.explain.models import Heads, heads


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.randn(3, 2, 8, 8, generator=generator, dtype=torch.float64)


def seeded(make: Any) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return make().double().eval()


class Chain(nn.Module):
    """What Captum's LRP knows, each once; ``bias`` anywhere or nowhere."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, 5, 3, padding=1, bias=bias), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 6, 3, bias=bias),
            nn.ReLU(), nn.AvgPool2d(2),
        )  # fmt: skip
        self.linear = nn.Linear(6, 4, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.layers(x).flatten(1))


def test_equals_captum_on_a_chain(images: Tensor) -> None:
    model = seeded(Chain)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.AvgPool2d):
            module.rule = EpsilonRule(1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Captum's, about its own hooks
        expected = LRP(model).attribute(images, target=2).detach()
    plain = seeded(Chain)
    found = explain.saliency(plain, images, method="lrp", composite="epsilon", epsilon=1e-6, target=2)
    assert expected.abs().max() > 1e-2
    torch.testing.assert_close(found, expected)


def test_is_input_times_gradient_without_biases(images: Tensor) -> None:
    """Ancona et al. 2018: LRP-0 on a ReLU network."""
    model = seeded(lambda: Chain(bias=False))
    found = explain.saliency(model, images, method="lrp", composite="epsilon", epsilon=0.0, target=1)
    torch.testing.assert_close(found, explain.saliency(model, images, method="input_x_gradient", target=1))
    torch.testing.assert_close(found.flatten(1).sum(1), model(images)[:, 1])


# ---- rules by loops over one linear layer, of inputs and weights of both signs

X, W, B = (
    torch.tensor([1.0, -2.0, 0.5]),
    torch.tensor([[1.0, 0.5, -1.0], [-2.0, 1.0, 3.0]]),
    torch.tensor([0.75, -1.0]),
)
OUT = torch.tensor([3.0, -4.0])  # relevance of the layer's two outputs


def up(v: float) -> float:
    return max(v, 0.0)


def down(v: float) -> float:
    return min(v, 0.0)


def by_loops(rule: str, j: int) -> float:
    """Relevance of input j."""
    total = 0.0
    for k in range(2):
        x, w, b, out = X.tolist(), W[k].tolist(), float(B[k]), float(OUT[k])
        z = [a * c for a, c in zip(x, w, strict=True)]
        if rule == "epsilon":
            total += z[j] / (sum(z) + b) * out
        elif rule == "epsilon-plus":
            total += up(z[j]) / (sum(map(up, z)) + up(b)) * out
        elif rule == "epsilon-alpha2-beta1":
            total += 2 * up(z[j]) / (sum(map(up, z)) + up(b)) * out
            negative = sum(map(down, z)) + down(b)
            total -= down(z[j]) / negative * out if negative else 0.0
        elif rule == "gamma":
            more = up if sum(z) + b > 0 else down
            total += (
                (z[j] + 0.25 * more(z[j])) / (sum(a + 0.25 * more(a) for a in z) + b + 0.25 * more(b)) * out
            )
        elif rule.endswith("flat"):
            total += out / 3
        elif rule == "epsilon-gamma-box":
            low, high = min(x), max(x)
            q = [a * c - low * up(c) - high * down(c) for a, c in zip(x, w, strict=True)]
            total += q[j] / sum(q) * out
    return total


@pytest.mark.parametrize("composite", COMPOSITES)
def test_rules_by_loops(composite: str) -> None:
    """As a 1x1 convolution over three channels, for convolutions have the composite's own rule."""
    layer = nn.Conv2d(3, 2, 1)
    layer.weight, layer.bias = nn.Parameter(W[:, :, None, None]), nn.Parameter(B)

    class Scored(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            z = layer(x).flatten(1)  # times a constant each, so that the outputs' relevance is OUT
            return (z * (OUT / z.detach().new_tensor((W @ X + B).tolist()))).sum(1)

    found = explain.saliency(Scored(), X.reshape(1, 3, 1, 1), method="lrp", composite=composite, epsilon=0.0)
    expected = torch.tensor([by_loops(composite, j) for j in range(3)])
    torch.testing.assert_close(found.flatten(), expected)


# ---- what Captum gets wrong without a word: residual additions, functional forms, a second call


class Residual(nn.Module):
    """Blocks with additions and batch norm: in place, functional, and a ReLU that is used twice."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.one, self.two = (
            nn.Conv2d(4, 4, 3, padding=1, bias=False),
            nn.Conv2d(4, 4, 3, padding=1, bias=False),
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4)])
        self.relu, self.linear = nn.ReLU(inplace=form == "in place"), nn.Linear(4, 3)
        for norm in self.norms:
            nn.init.normal_(norm.running_mean, std=0.3)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
            nn.init.normal_(norm.bias, std=0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        out = self.norms[1](self.two(self.relu(self.norms[0](self.one(x)))))
        if self.form == "in place":
            out += x
        else:
            out = torch.add(out, x) if self.form == "functional" else out + x
        return self.linear(F.adaptive_avg_pool2d(self.relu(out), 1).flatten(1))


def reference(model: Residual, image: Tensor, target: int) -> tuple[Tensor, float]:
    """LRP-epsilon by hand, batch norm folded by hand: (relevance of the input, what biases keep)."""

    def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        return conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale

    def back(x: Tensor, run: Any, out: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        z = run(x)
        return (x * torch.autograd.grad(z, x, out / z.detach())[0]).detach()

    (w1, b1), (w2, b2) = fold(model.one, model.norms[0]), fold(model.two, model.norms[1])
    h0 = F.relu(model.first(image))
    h1 = F.relu(F.conv2d(h0, w1, b1, padding=1))
    branch = F.conv2d(h1, w2, b2, padding=1)
    h2 = F.relu(branch + h0)
    pooled = h2.mean(dim=(2, 3))
    score = model.linear(pooled)[:, target]
    out = back(pooled, lambda v: model.linear(v)[:, target], score.detach())
    out = back(h2, lambda v: v.mean(dim=(2, 3)), out)
    total = branch + h0
    to_branch, to_skip = out * branch / total, out * h0 / total
    to_skip = to_skip.detach() + back(
        h0,
        lambda v: F.conv2d(v, w1, b1, padding=1),
        back(h1, lambda v: F.conv2d(v, w2, b2, padding=1), to_branch),
    )
    found = back(image, model.first, to_skip)
    return found, float(score.detach().sum() - found.sum())


@pytest.mark.parametrize("form", ["operator", "functional", "in place"])
def test_residual_additions_and_folded_batch_norm(images: Tensor, form: str) -> None:
    model = seeded(lambda: Residual(form))
    found = explain.saliency(model, images, method="lrp", composite="epsilon", epsilon=0.0, target=1)
    expected, kept = reference(model, images, 1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    assert abs(kept) > 1e-3
    again = explain.saliency(model, images, method="lrp", composite="epsilon", epsilon=0.0, target=1)
    assert torch.equal(found, again)


def test_a_repeated_call_with_a_rule_of_its_own(images: Tensor) -> None:
    """Captum's second call with a custom rule falls back to epsilon."""
    model = seeded(Chain)
    one, two = (explain.saliency(model, images, method="lrp", composite="gamma", target=0) for _ in range(2))
    epsilon = explain.saliency(model, images, method="lrp", composite="epsilon", target=0)
    assert torch.equal(one, two)
    assert (one - epsilon).abs().max() > 1e-3
    assert not any(hasattr(module, "rule") or hasattr(module, "activations") for module in model.modules())


# ---- conservation


class Gated(nn.Module):
    """Squeeze and excite, GELU, layer norm, attention, a class token; an image normalised inside of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.squeeze = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.norm, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 3)
        self.token = nn.Parameter(torch.ones(1, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.conv((x - 0.3) / 0.5))
        x = x * self.squeeze(x.mean(dim=(2, 3), keepdim=True)).sigmoid()
        tokens = torch.cat([self.token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
        q, k, v = self.qkv(self.norm(tokens)).chunk(3, dim=-1)
        tokens = tokens + F.scaled_dot_product_attention(q, k, v)
        return self.out(tokens.mean(dim=1))


@pytest.mark.parametrize("composite", COMPOSITES)
def test_relevance_is_conserved(images: Tensor, composite: str) -> None:
    """The check of every call; and without biases the map adds up to the score."""
    for make in (Chain, Gated, lambda: Residual("in place")):
        assert (
            explain.saliency(seeded(make), images, method="lrp", composite=composite, target=1).abs().sum()
            > 0
        )
    model = seeded(lambda: Chain(bias=False))
    found = explain.saliency(model, images, method="lrp", composite=composite, target=1)
    torch.testing.assert_close(found.flatten(1).sum(1), model(images)[:, 1], rtol=1e-4, atol=1e-5)


def test_a_gate_takes_no_relevance() -> None:
    """x * sigmoid(w): all to x; x * y: half each; x / y: all to x."""

    class Model(nn.Module):
        def __init__(self, how: str) -> None:
            super().__init__()
            self.how = how

        def forward(self, x: Tensor) -> Tensor:
            a, b = x[:, 0], x[:, 1]
            return {"gate": a * b.sigmoid(), "product": a * b, "quotient": a / b}[self.how]

    x = torch.tensor([[3.0, 2.0]])
    for how, shares in {"gate": [1, 0], "product": [0.5, 0.5], "quotient": [1, 0]}.items():
        found = explain.saliency(Model(how), x, method="lrp")
        torch.testing.assert_close(
            found[0] / Model(how)(x), torch.tensor(shares, dtype=torch.float32), msg=how
        )


def test_a_flow_that_does_not_conserve_is_refused(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checker that cannot fail is a defect: here one kind of function loses a tenth."""
    from explain.methods import lrp_flow

    def losing(_ctx: Any, *relevances: Tensor) -> tuple[Tensor, None]:
        return 0.9 * relevances[0], None

    monkeypatch.setattr(lrp_flow._Passed, "backward", staticmethod(losing))
    with pytest.raises(ValueError, match="relevance of task 'output' is not conserved"):
        explain.saliency(seeded(Chain), images, method="lrp", target=1)
    assert (
        explain.saliency(seeded(Chain), images, method="lrp", target=1, tolerance=float("inf")).shape
        == images.shape
    )


# ---- several tasks


def test_one_forward_for_all_tasks_and_off_path_modules_do_not_matter(images: Tensor) -> None:
    class Odd(Heads):
        def forward(self, x: Tensor) -> Any:
            outputs = super().forward(x)
            return {**outputs, "c": torch.logsumexp(outputs["b"], dim=1)}  # no rule for it

    model = heads().double()
    model.forwards = 0
    maps = explain.saliency(model, images, method="lrp")
    assert model.forwards == 1
    for task in maps:
        torch.testing.assert_close(explain.saliency(model, images, task, method="lrp"), maps[task])
    odd = seeded(Odd)
    assert explain.saliency(odd, images, "a", method="lrp").shape == images.shape
    with pytest.raises(ValueError, match="lrp has no rule for: logsumexp"):
        explain.saliency(odd, images, method="lrp")


OPTIONS = {
    "composite": ({"composite": "epsilon-plus-flt"}, "did you mean 'epsilon-plus-flat'"),
    "epsilon": ({"epsilon": -1.0}, "epsilon must be >= 0"),
    "bounds": ({"low": 1.0, "high": 0.0}, "low must be below high"),
    "tolerance": ({"tolerance": 0.0}, "tolerance must be > 0"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_mistakes_are_named(case: str, images: Tensor) -> None:
    options, message = OPTIONS[case]
    with pytest.raises(ValueError, match=message):
        explain.saliency(seeded(Chain), images, method="lrp", **options)
