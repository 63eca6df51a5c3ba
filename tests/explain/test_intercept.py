"""Functions are seen under every name and in every form, and what happens in place is the same as out of place."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import _get_current_function_mode_stack

from explain.inputs import lay_out
from explain.rules import functions
from explain.rules.intercept import Call, Intercept, passed
from explain.scorer import Scorer

KINDS = [*functions.NAMES, "scale", "product", "relu", "clipped_relu", "maximum", "gate", "select", "shift"]


class Model(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def scorer_of(model: nn.Module, x: Tensor, target: object = None, task: str | None = None) -> Scorer:
    target = target or (lambda output: output.flatten(1).sum(1))
    return Scorer(model, lay_out(x)[0], task, target, "logit", slice(0, len(x)), len(x))


def kinds(function: Callable[[Tensor], Tensor], x: Tensor) -> list[str]:
    """The kinds of the calls in ``function(x)`` that a rule would get, in order."""
    seen: list[str] = []

    def note(call: Call) -> object:
        seen.append(call.kind)
        return call.run()

    intercept = Intercept("test", nn.Identity(), dict.fromkeys(KINDS, note))
    scorer = scorer_of(Model(function), x)
    intercept.columns(scorer, x)
    return seen[:-2] + ["unknown"] * len(intercept._refused)  # without the target's flatten and sum


def explained(
    rules: object, model: nn.Module, x: Tensor, target: object = None, method: str = "test"
) -> list[Tensor]:
    scorer = scorer_of(model, x, target)
    intercept = Intercept(method, model, rules)
    return intercept.gradients(scorer, intercept.columns(scorer, x))


# ---- one function, many names

RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu": F.relu,
    "F.relu inplace": lambda x: F.relu(x, inplace=True),
    "F.relu inplace by place": lambda x: F.relu(x, True),
    "F.relu by keywords": lambda x: F.relu(input=x, inplace=True),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": Tensor.relu,
    "Tensor.relu_": Tensor.relu_,
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU inplace": nn.ReLU(inplace=True),
    "clamp": lambda x: x.clamp(min=0),
    "clamp by place": lambda x: torch.clamp(x, 0),
    "clamp a tensor": lambda x: x.clamp(torch.tensor(0.0)),
    "clamp_": lambda x: x.clamp_(min=0.0),
    "clip": lambda x: torch.clip(x, min=0),
    "clamp_min": lambda x: x.clamp_min(0),
    "clamp_min_": lambda x: x.clamp_min_(0),
    "threshold": lambda x: F.threshold(x, 0, 0),
    "nn.Threshold": nn.Threshold(0, 0, inplace=True),
    "maximum": lambda x: torch.maximum(x, torch.zeros(())),
    "maximum of zero and it": lambda x: torch.maximum(torch.zeros(1), x),
    "max": lambda x: torch.max(x, torch.zeros_like(x)),
}


@pytest.mark.parametrize("name", RELUS)
def test_relu_under_every_name(name: str) -> None:
    x = torch.tensor([[-1.0, 0.0, 2.0]])
    assert kinds(RELUS[name], x) == ["relu"]


@pytest.mark.parametrize(
    ("expected", "function"),
    [
        (["clipped_relu"], F.relu6),
        (["clipped_relu"], nn.ReLU6(inplace=True)),
        (["clipped_relu"], lambda x: x.clamp(0, 6)),
        (["clipped_relu"], lambda x: F.hardtanh_(x, 0.0, 6.0)),
        (["elementwise"], F.hardtanh),
        (["elementwise"], lambda x: x.clamp(min=-1)),
        (["elementwise"], lambda x: F.threshold(x, 0, 1)),
        (["elementwise"], lambda x: F.silu(x, inplace=True)),
        (["elementwise"], lambda x: x**2),
        (["elementwise"], lambda x: 2**x),
        (["elementwise", "product"], lambda x: x * torch.sigmoid(x)),
        (["product"], lambda x: x @ x.mT),
        (["scale", "linear"], lambda x: (2 * x) @ torch.ones(4, 4)),
        (["linear"], lambda x: F.linear(x, torch.ones(2, 4), torch.ones(2))),
        (["scale", "product"], lambda x: F.linear(x[0], x[0] * 2)[None]),
        (["product"], lambda x: torch.einsum("bij,bkj->bik", x, x)),
        (["linear"], lambda x: torch.einsum("bij,kj->bik", x, torch.ones(2, 4))),
        (["product"], lambda x: torch.baddbmm(torch.zeros(1), x, x.mT)),
        (["unknown"], lambda x: torch.einsum("bij,bij,bij->bi", x, x, x)),
        (["scale"], lambda x: x / 2),
        (["divide"], lambda x: x / x),
        (["divide"], lambda x: 1 / x),
        (["add"], lambda x: 1 - x),
        (["add"], lambda x: x.add(x, alpha=2)),
        (["gate"], lambda x: x * (x > 0)),
        (["gate"], lambda x: torch.where(x > 0, x, 0)),
        (["gate"], lambda x: x.masked_fill(x < 0, 0)),
        (["shape"], lambda x: x.masked_fill(torch.tensor([True, False, True, True]), 0)),
        (["select"], lambda x: x.gather(2, x.argmax(2, keepdim=True))),
        (["shape"], lambda x: x.gather(2, torch.zeros(x.shape[0], 2, 1).long())),
        (["shift"], lambda x: x - x.detach().amax()),
        (["shift"], lambda x: torch.cat([x, x.detach()])[:1]),
        (["max"], lambda x: F.max_pool1d(x, 2)),
        (["max"], lambda x: x.amax(2)),
        (["max"], lambda x: x.max(2).values),
        (["scale", "maximum"], lambda x: torch.maximum(x, 2 * x)),
        (["elementwise"], lambda x: torch.maximum(x, torch.ones(4))),
        (["elementwise"], lambda x: torch.minimum(x, torch.zeros(4))),
        (["scale", "min"], lambda x: torch.minimum(x, 2 * x)),
        (["sorted"], lambda x: x.topk(2).values),
        (["softmax"], lambda x: F.softmax(x, dim=-1)),
        (["norm"], lambda x: F.layer_norm(x, (4,))),
        (["norm"], lambda x: F.instance_norm(x)),
        (["batch_norm"], lambda x: F.batch_norm(x, torch.zeros(2), torch.ones(2))),
        (["dropout"], lambda x: F.dropout(x, training=False)),
        (["gated"], F.glu),
        (["attention"], lambda x: F.scaled_dot_product_attention(x, x, x)),
        (["add"], lambda x: x + x.new_zeros(4) + torch.ones_like(x)),
        (["scale"], lambda x: x * torch.ones(4).to(x) * torch.ones(1, 1, 4).expand_as(x)),
        (["unknown"], lambda x: torch.cdist(x, x)),
    ],
)  # fmt: skip
def test_kinds(expected: list[str], function: Callable[[Tensor], Tensor]) -> None:
    x = torch.linspace(-1, 2, 8).reshape(1, 2, 4) + 0.01
    found = kinds(function, x)
    drop = {"shape"} - set(expected)
    assert list(dict.fromkeys(kind for kind in found if kind not in drop))[: len(expected)] == expected


def test_what_a_python_function_is_made_of_is_seen() -> None:
    """F.multi_head_attention_forward and F.normalize have no rule of their own."""
    attention = nn.MultiheadAttention(4, 2, batch_first=True).eval()
    x = torch.randn(2, 3, 4)
    for weights in (True, False):
        found = kinds(lambda x, w=weights: attention(x, x, x, need_weights=w)[0], x)
        assert found.count("linear") >= 2
        assert {"product", "softmax"} <= set(found) or "attention" in found
    assert "moment" in kinds(F.normalize, x)
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()  # its fast path hides everything
    assert kinds(layer, x).count("norm") == 2


# ---- in place and out of place


def written_into_a_view(x: Tensor) -> Tensor:
    y = x * 2
    y[:, :1] += x[:, 1:]
    y[:, 1:].sigmoid_()
    return y * x


def written_into_a_buffer(x: Tensor) -> Tensor:
    y = torch.zeros(x.shape)
    y[..., :2] = x[..., 2:].tanh()
    y[..., 2:].copy_(x[..., :2])
    return y.mul(x).sub_(x).relu_()


def written_into_the_input(x: Tensor) -> Tensor:
    x.mul_(2)
    x += 1
    return x.exp_()


def not_bound_again(x: Tensor) -> Tensor:
    y = x + 1
    F.hardswish(y, inplace=True)
    y.add_(x)
    y /= x.exp()
    F.leaky_relu_(y, 0.3)
    return y


def out_and_identity(x: Tensor) -> Tensor:
    identity = x
    out = F.silu(x * 3)
    out += identity
    return F.relu(out, inplace=True) * identity


@pytest.mark.parametrize(
    "function",
    [written_into_a_view, written_into_a_buffer, written_into_the_input, not_bound_again, out_and_identity],
)
def test_in_place_is_as_autograd_has_it(function: Callable[[Tensor], Tensor]) -> None:
    """Every call goes through a rule that runs the function out of place; values and gradients are autograd's."""
    x = torch.linspace(-2, 3, 16, dtype=torch.float64).reshape(2, 2, 4)
    leaf = x.clone().requires_grad_()
    value = function(leaf.clone())
    expected = torch.autograd.grad(value.sum(), leaf)[0]
    rules = dict.fromkeys(KINDS, lambda call: call.run())
    before = x.clone()
    torch.testing.assert_close(explained(rules, Model(function), x)[0], expected)
    torch.testing.assert_close(explained(dict.fromkeys(KINDS, passed), Model(function), x)[0], expected)
    assert torch.equal(x, before)


# ---- what is refused


class Gated(nn.Module):
    """Two heads on one trunk; head b alone uses a sigmoid and a distance."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU())
        self.a, self.b = (
            nn.Linear(4, 1),
            nn.Sequential(nn.Linear(4, 2), nn.Sigmoid(), nn.Linear(2, 1), nn.GELU()),
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.trunk(x)
        return {"a": self.a(features), "b": self.b(features) * torch.cdist(features, features).sum()}


RULES = dict.fromkeys(["shape", "linear", "scale", "product", "relu", "select"], passed)


def test_all_that_is_refused_is_named_with_its_module() -> None:
    with pytest.raises(ValueError, match="test has no rule for") as caught:
        explained(RULES, Gated(), torch.ones(2, 3), lambda output: output[:, 0])
    assert str(caught.value) == ("test has no rule for: sigmoid in b.1; gelu in b.3; cdist in the model")


def test_a_head_that_is_not_explained_refuses_nothing() -> None:
    model, x = Gated(), torch.ones(2, 3)
    scorer = scorer_of(model, x, "predicted", "a")
    intercept = Intercept("test", model, RULES)
    [found] = intercept.gradients(scorer, intercept.columns(scorer, x))
    leaf = x.clone().requires_grad_()
    torch.testing.assert_close(found, torch.autograd.grad(model(leaf)["a"].sum(), leaf)[0])


class Twice(torch.autograd.Function):
    """The backward pass is not that of the forward pass; what runs inside it is not to be mistaken for the result."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient


class Reversed(torch.autograd.Function):
    """The gradient reversal of domain-adversarial training, which gives what it got."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return -gradient


class InPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        return x.relu_()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_what_cannot_be_seen_is_refused() -> None:
    scripted = torch.jit.script(nn.ReLU())
    for hidden in (Twice.apply, Reversed.apply, scripted, lambda x: InPlace.apply(x * 1)):
        for model in (Model(hidden), Model(lambda x, h=hidden: h(x * 2) + 1)):
            with pytest.raises(ValueError, match="hidden from Python"):
                explained(dict.fromkeys(KINDS, passed), model, torch.ones(2, 3))


def test_parameters_are_constants_whatever_is_done_to_them() -> None:
    """A weight that is standardised on its way, a token that is expanded; and a score of parameters alone."""

    class Standardised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.token = (
                nn.Parameter(torch.arange(6.0).reshape(2, 3)),
                nn.Parameter(torch.ones(1, 3)),
            )

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            weight = (self.weight - self.weight.mean()) / self.weight.T.std().sigmoid()
            x = torch.stack([x, self.token.expand(len(x), -1)])
            return {"a": F.linear(x, weight).sum((0, 2)), "b": self.token.sum().expand(2)}

    model, x = Standardised(), torch.ones(2, 3)
    a, b = explained({**RULES, "add": passed}, model, x, lambda output: output * 1)
    leaf = x.clone().requires_grad_()
    torch.testing.assert_close(a, torch.autograd.grad(model(leaf)["a"].sum(), leaf)[0])
    assert torch.equal(b, torch.zeros(2, 3))
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_a_score_that_is_cut_from_the_input_is_an_error() -> None:
    with pytest.raises(ValueError, match="differentiable"):
        explained(RULES, Model(lambda x: (x * 2).detach() * 3), torch.ones(2, 3))


def test_gradient_checkpointing_is_refused() -> None:
    from torch.utils.checkpoint import checkpoint

    model = Model(lambda x: checkpoint(lambda x: (x * x).relu(), x, use_reentrant=False))
    with pytest.raises(ValueError, match="gradient checkpointing"):
        explained(RULES, model, torch.ones(2, 3))


def test_a_compiled_part_is_seen() -> None:
    part = torch.compile(lambda x: x.sigmoid() * 2, backend="eager")
    with pytest.raises(ValueError, match="no rule for: sigmoid"):
        explained(RULES, Model(part), torch.ones(2, 3))


def test_nothing_is_left_after_an_exception() -> None:
    def broken(x: Tensor) -> Tensor:
        F.normalize(x)
        raise KeyError("from inside")

    with pytest.raises(KeyError):
        explained(dict.fromkeys(KINDS, passed), Model(broken), torch.ones(2, 3))
    assert not _get_current_function_mode_stack()
    assert type(F.normalize(torch.ones(1, 2, requires_grad=True)).grad_fn).__name__ == "DivBackward0"
