"""DeepLIFT and DeepLIFT-SHAP: as Captum where that adds up, the right map where it does not, and what is refused."""

import warnings
from collections.abc import Callable

import pytest
import torch
from captum import attr
from torch import Tensor, nn
from torch.nn import functional as F

import explain
from tests.explain.models import Head
from tests.explain.test_multipliers import lifted, total

# ---- the same as Captum where that adds up; and the right map where it does not


class Modules(nn.Module):
    """Every nonlinearity a module of its own, none next to another."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.one, self.two = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
            self.a, self.b = nn.Linear(32, 3), nn.Linear(32, 5)
        self.relu, self.pool, self.softplus, self.mean = (
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Softplus(),
            nn.AvgPool2d(2),
        )
        self.elu, self.leaky, self.tanh = nn.ELU(), nn.LeakyReLU(), nn.Tanh()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.pool(self.relu(self.one(x)).clone())
        x = self.mean(self.softplus(self.two(x))).flatten(1)
        return {"a": self.tanh(self.a(self.elu(x * 1))) * 1, "b": self.b(self.leaky(x * 1))}


def captum(method: type, model: nn.Module, x: Tensor, baselines: Tensor, target: int) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it sets hooks
        return method(model).attribute(x.clone().requires_grad_(), baselines, target=target).detach()


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.randn(4, 2, 8, 8, generator=generator, dtype=torch.float64)


@pytest.fixture
def others(generator: torch.Generator) -> Tensor:
    return torch.rand(4, 2, 8, 8, generator=generator.manual_seed(9), dtype=torch.float64)


@pytest.mark.parametrize(("task", "target"), [("a", 1), ("b", 4)])
def test_equals_captum_task_by_task(images: Tensor, others: Tensor, task: str, target: int) -> None:
    model = Modules().double()
    maps = explain.saliency(model, images, method="deeplift", baseline=others, target={task: target})
    expected = captum(attr.DeepLift, Head(model, task), images, others, target)
    torch.testing.assert_close(maps[task], expected, rtol=0, atol=1e-12)
    found = explain.saliency(model, images, task, method="deeplift_shap", baselines=others[:3], target=target)
    expected = captum(attr.DeepLiftShap, Head(model, task), images, others[:3], target)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def convolutional(relu: Callable[[Tensor], Tensor], between: Callable[[Tensor], Tensor]) -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with torch.random.fork_rng():
                torch.manual_seed(0)
                self.conv, self.linear = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(64, 3)
            self.relu, self.pool = relu, nn.MaxPool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(self.pool(between(self.relu(self.conv(x)))).flatten(1))

    return Net().double()


@pytest.mark.parametrize(
    "relu", [F.relu, nn.ReLU(), nn.ReLU(inplace=True), torch.relu_, lambda x: x.clamp(min=0)]
)
def test_relu_in_any_form_next_to_max_pooling(
    relu: Callable[[Tensor], Tensor], images: Tensor, others: Tensor
) -> None:
    """Captum: F.relu gives input x gradient; nn.ReLU right before nn.MaxPool2d a map that does not add up."""
    expected = captum(attr.DeepLift, convolutional(nn.ReLU(), torch.clone), images, others, 1)
    found = explain.saliency(
        convolutional(relu, lambda x: x), images, method="deeplift", baseline=others, target=1
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_an_image_alone_has_the_same_map(images: Tensor, others: Tensor) -> None:
    """Captum's max pooling took the first image's gradient for all where input and baseline agree."""
    model = convolutional(F.relu, lambda x: x)
    half = torch.cat([others[:, :, :4], images[:, :, 4:]], dim=2)  # the lower half is that of the baseline
    whole = explain.saliency(model, half, method="deeplift", baseline=images, target=1)
    for i in range(len(images)):
        alone = explain.saliency(
            model, half[i : i + 1], method="deeplift", baseline=images[i : i + 1], target=1
        )
        torch.testing.assert_close(whole[i : i + 1], alone, rtol=0, atol=1e-12)


def test_a_module_that_is_used_twice(images: Tensor, others: Tensor) -> None:
    """An error in Captum; here each use has multipliers of its own."""
    twice = nn.Sequential(
        nn.Flatten(), nn.Linear(128, 8), relu := nn.ReLU(), nn.Linear(8, 8), relu, nn.Linear(8, 3)
    )
    once = nn.Sequential(*twice[:4], nn.ReLU(), twice[5])
    found = explain.saliency(twice.double(), images, method="deeplift", baseline=others, target=1)
    torch.testing.assert_close(
        found, captum(attr.DeepLift, once.double(), images, others, 1), rtol=0, atol=1e-12
    )


def test_a_compiled_model_gives_the_same_map(images: Tensor, others: Tensor) -> None:
    model = convolutional(F.relu, lambda x: x)
    compiled = torch.compile(model, backend="eager")
    compiled(images)
    maps = [
        explain.saliency(m, images, method="deeplift", baseline=others, target=1) for m in (model, compiled)
    ]
    assert torch.equal(*maps)


def test_scores_of_every_kind(images: Tensor, others: Tensor) -> None:
    """Probability, margin and loss are functions of the logits, with multipliers of their own."""
    model = convolutional(F.relu, lambda x: x)
    for score in ("probability", "margin", "loss"):
        found = explain.saliency(
            model, images, method="deeplift", baseline=others, target=1, score=score, tolerance=1e-9
        )
        assert found.abs().sum() > 1e-3


def test_several_inputs(images: Tensor, others: Tensor) -> None:
    class Two(nn.Module):
        def forward(self, one: Tensor, other: Tensor) -> Tensor:
            return (one.flatten(1) * other.flatten(1)).tanh()

    one, other = explain.saliency(Two(), (images, others), method="deeplift", target=3)
    assert (one.flatten(1) != 0).sum() == (other.flatten(1) != 0).sum() == len(images)
    torch.testing.assert_close(one, other)  # even shares, from a baseline of zero
    torch.testing.assert_close(2 * total(one), (images * others).flatten(1).tanh()[:, 3])


# ---- baselines, batches, cost


def test_shap_is_the_mean_over_its_baselines(images: Tensor, others: Tensor) -> None:
    """Whatever goes through a forward pass together: 2 x 30 pairs take two, and one image alone another number."""
    model, baselines = (
        convolutional(F.relu, lambda x: x),
        others.repeat(8, 1, 1, 1)[:30] * torch.rand(30, 1, 1, 1),
    )
    found = explain.saliency(model, images[:2], method="deeplift_shap", baselines=baselines, target=1)
    one_by_one = [
        explain.saliency(model, images[:2], method="deeplift", baseline=b, target=1) for b in baselines
    ]
    torch.testing.assert_close(found, torch.stack(one_by_one).mean(0), rtol=0, atol=1e-12)
    alone = explain.saliency(model, images[:1], method="deeplift_shap", baselines=baselines, target=1)
    torch.testing.assert_close(found[:1], alone, rtol=0, atol=1e-12)
    predicted = explain.saliency(model, images[:2], method="deeplift_shap", baselines=baselines)
    labels = model(images[:2]).argmax(1)
    torch.testing.assert_close(
        predicted,
        explain.saliency(model, images[:2], method="deeplift_shap", baselines=baselines, target=labels),
    )


def test_predicted_is_the_prediction_for_the_input(images: Tensor, others: Tensor) -> None:
    model = convolutional(F.relu, lambda x: x)
    labels = model(images).argmax(1)
    assert (labels != model(others).argmax(1)).any()
    maps = [
        explain.saliency(model, images, method="deeplift", baseline=others, target=target)
        for target in ("predicted", labels)
    ]
    assert torch.equal(*maps)


def test_forwards_do_not_grow_with_tasks(images: Tensor) -> None:
    from tests.explain.models import heads

    model = heads().double()
    for task in (None, "a"):
        model.forwards = 0
        explain.saliency(model, images, task, method="deeplift")
        assert model.forwards == 2


# ---- what is refused


def test_what_has_no_rule_is_named() -> None:
    for function, named in {
        "mul with a value computed": lambda x: x * (x > 0),
        "cat of a value computed": lambda x: torch.cat([x, x.detach()], 1),
        "batch_norm with the statistics of the batch": lambda x: F.batch_norm(x, None, None, training=True),
        "dropout at random": lambda x: F.dropout(x, training=True),
        "einsum": lambda x: torch.einsum("bi,bi,bi->bi", x, x, x),
        "cumprod": lambda x: x.cumprod(1),
        "pad_sequence in the model; _pack_padded_sequence": lambda x: nn.GRU(3, 4)(
            nn.utils.rnn.pack_sequence([x])
        )[1].expand(2, 1, 4),
    }.items():
        with pytest.raises(ValueError, match=f"no rule for: {function}"):
            lifted(named, torch.ones(2, 3))


def test_another_way_through_the_model_is_refused() -> None:
    def by_value(x: Tensor) -> Tensor:
        return x.tanh() if float(x.detach().sum()) > 0 else x.sigmoid()

    with pytest.raises(ValueError, match="computes other functions for the baseline than for the input"):
        lifted(by_value, torch.ones(2, 3), -1.0)


def test_a_map_that_does_not_add_up_is_refused() -> None:
    class Counting(nn.Module):
        """Another scale in each pass."""

        def __init__(self) -> None:
            super().__init__()
            self.passes = 0

        def forward(self, x: Tensor) -> Tensor:
            self.passes += 1
            return x * self.passes

    with pytest.raises(ValueError, match="'output' adds up to 6, but the score changes by 3"):
        explain.saliency(Counting(), torch.ones(2, 3), method="deeplift", target=total, baseline=0.0)
    shown = explain.saliency(
        Counting(), torch.ones(2, 3), method="deeplift", target=total, tolerance=float("inf")
    )
    assert torch.equal(shown, torch.full((2, 3), 2.0))
    with pytest.raises(ValueError, match="tolerance must be > 0"):
        explain.saliency(Counting(), torch.ones(2, 3), method="deeplift", tolerance=0.0)


@pytest.mark.parametrize("method", ["deeplift", "deeplift_shap"])
def test_baselines_that_do_not_fit(method: str, images: Tensor) -> None:
    option = "baseline" if method == "deeplift" else "baselines"
    for wrong in (images[:2, :1], torch.full((2, 8, 8), torch.nan)):
        with pytest.raises(ValueError, match=f"{method}: .*baseline"):
            explain.saliency(convolutional(F.relu, F.relu), images, method=method, **{option: wrong})
