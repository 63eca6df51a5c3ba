"""Maps against closed forms and against Captum, task by task."""

from collections.abc import Callable

import pytest
import torch
from captum import attr
from torch import Tensor, nn

import explain
from tests.explain.models import Head, Heads, Linear, heads

GRADIENT_BASED = ["gradient", "input_x_gradient", "integrated_gradients", "smoothgrad", "grad_cam"]
TARGETS = {"a": torch.tensor([0, 1, 2, 0]), "b": torch.tensor([4, 3, 0, 0]), "c": "predicted"}


@pytest.fixture
def model() -> Heads:
    return heads()


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.randn(4, 2, 8, 8, generator=generator)


# ---- closed forms on a linear model: w, w x, w (x - baseline)


X = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]])
W = {"left": torch.tensor([4.0, 5.0, -6.0]), "right": torch.tensor([7.0, 0.0, -1.0])}
MEAN = torch.tensor([0.5, -1.0, 2.0])
CLOSED: dict[str, tuple[dict[str, object], Callable[[Tensor], Tensor]]] = {
    "gradient": ({}, lambda w: w.expand_as(X)),
    "input_x_gradient": ({}, lambda w: w * X),
    "integrated_gradients": ({"baseline": MEAN}, lambda w: w * (X - MEAN)),
    "smoothgrad": ({"samples": 3}, lambda w: w.expand_as(X)),
    "occlusion": ({"baseline": 0.0}, lambda w: w * X),
}


@pytest.mark.parametrize("method", CLOSED)
def test_closed_form_on_a_linear_model(method: str) -> None:
    """Signs included: an absolute value anywhere would fail."""
    options, exact = CLOSED[method]
    maps = explain.saliency(Linear(), X, method=method, target={"left": 1}, **options)
    for task, w in W.items():
        torch.testing.assert_close(maps[task], exact(w), rtol=1e-5, atol=1e-5)


def test_integrated_gradients_of_the_papers_example() -> None:
    """Sundararajan et al. 2017, appendix: f = relu(x1 - 1) - relu(x2), at (3, 1): attributions (1.5, -0.5) for
    relu(f), computed by the authors for h = relu(relu(x1 - 1) - relu(x2))."""

    class Paper(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return ((x[:, 0] - 1).relu() - x[:, 1].relu()).relu()

    found = explain.saliency(
        Paper(), torch.tensor([[3.0, 1.0]]), method="integrated_gradients", tolerance=1e-3
    )
    torch.testing.assert_close(found, torch.tensor([[1.5, -0.5]]), atol=3e-3, rtol=0)


# ---- the same as Captum, called once for each task


def captum(method: str, model: Heads, images: Tensor, task: str, target: Tensor | None) -> Tensor:
    head, images = Head(model.eval(), task), images.clone().requires_grad_()
    if method == "gradient":
        return attr.Saliency(head).attribute(images, target=target, abs=False)
    if method == "input_x_gradient":
        return attr.InputXGradient(head).attribute(images, target=target)
    if method == "integrated_gradients":
        return attr.IntegratedGradients(head).attribute(images, target=target, n_steps=64)
    if method == "occlusion":
        return attr.Occlusion(head).attribute(images, (2, 3, 3), (2, 2, 2), target=target)
    layer = model.trunk[5]
    cam = attr.LayerGradCam(head, layer).attribute(images, target=target)
    return nn.functional.interpolate(cam.detach(), size=(8, 8), mode="bilinear") / 2 * torch.ones(1, 2, 1, 1)


@pytest.mark.parametrize(
    "method", ["gradient", "input_x_gradient", "integrated_gradients", "occlusion", "grad_cam"]
)
def test_equals_captum_task_by_task(model: Heads, images: Tensor, method: str) -> None:
    options = {
        "integrated_gradients": {"steps": 64, "tolerance": 1.0},
        "occlusion": {"window": 3, "stride": 2},
    }.get(method, {})
    maps = explain.saliency(model, images, method=method, target=TARGETS, **options)
    for task, target in TARGETS.items():
        expected = captum(method, model, images, task, target if isinstance(target, Tensor) else None)
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(maps[task], expected, rtol=0, atol=1e-5)


def test_smoothgrad_is_the_mean_gradient_over_its_noise(model: Heads, images: Tensor) -> None:
    """A slow reference: Captum's gradient at each noisy copy; noise relative to each image's own range."""
    from explain.batching import noise_like

    scale = torch.tensor([1.0, 10.0, 0.1, 3.0]).reshape(4, 1, 1, 1)
    maps = explain.saliency(
        model, images * scale, method="smoothgrad", samples=3, noise=0.2, seed=5, target=TARGETS
    )
    spread = 0.2 * torch.stack([image.max() - image.min() for image in images * scale]).reshape(4, 1, 1, 1)
    noisy = [images * scale + spread * noise_like(images, 5, 0, sample) for sample in range(3)]
    for task in ("a", "b"):
        reference = torch.stack([captum("gradient", model, x, task, TARGETS[task]) for x in noisy]).mean(0)
        torch.testing.assert_close(maps[task], reference, rtol=1e-4, atol=1e-5)


def test_squared_and_variance_are_of_the_same_noise(model: Heads, images: Tensor) -> None:
    """Slow references in float64: the gradient at each noisy copy, its mean square and its variance."""
    from explain.batching import noise_like

    model, images = model.double(), images.double()
    spread = 0.15 * (images.flatten(1).amax(1) - images.flatten(1).amin(1)).reshape(4, 1, 1, 1)
    noisy = [images + spread * noise_like(images, 2, 0, sample) for sample in range(40)]
    for task in ("a", "b"):
        each = torch.stack([captum("gradient", model, x, task, TARGETS[task]) for x in noisy])
        for method, expected in {
            "smoothgrad_squared": each.square().mean(0),
            "vargrad": each.var(0, unbiased=False),
        }.items():
            found = explain.saliency(model, images, task, method=method, samples=40, seed=2, target=TARGETS)
            torch.testing.assert_close(found, expected)


def test_the_variance_of_a_constant_gradient_is_zero(generator: torch.Generator) -> None:
    """E[g^2] - E[g]^2 in float32 gave +-7e-4 here, half of it negative."""
    weight = 100 * torch.randn(1, 500, generator=generator)
    model = nn.Linear(500, 1)
    model.weight = nn.Parameter(weight)
    found = explain.saliency(model, torch.randn(3, 500, generator=generator), method="vargrad", samples=50)
    assert found.min() >= 0
    assert found.max() <= 1e-8


def test_gradient_shap_estimates_what_captum_estimates(model: Heads, images: Tensor) -> None:
    """The mean over many draws of both, within five standard errors of Captum's; the same baselines."""
    images, baselines = images[:2], 0.3 * torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    found = explain.saliency(
        model,
        images,
        "a",
        method="gradient_shap",
        baselines=baselines,
        samples=600,
        target=TARGETS["a"][:2].tolist(),
    )
    head = Head(model.eval(), "a")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        means = torch.stack(
            [
                attr.GradientShap(head)
                .attribute(images, baselines=baselines, n_samples=20, stdevs=0.0, target=TARGETS["a"][:2])
                .detach()
                for _ in range(30)
            ]
        )
    error = means.std(0) / 30**0.5
    assert ((found - means.mean(0)).abs() <= 6 * error + 1e-4).all()
    assert (found - means.mean(0)).abs().max() < 0.1 * found.abs().max()


def test_gradient_shap_is_exact_on_a_linear_model(generator: torch.Generator) -> None:
    """w (x - mean of the drawn baselines), whose sum over features is complete for any draw of one baseline."""
    found = explain.saliency(
        Linear(), X, method="gradient_shap", baselines=MEAN[None], target={"left": 1}, samples=7
    )
    for task, w in W.items():
        torch.testing.assert_close(found[task], w * (X - MEAN), rtol=1e-5, atol=1e-5)
    many = torch.randn(5, 3, generator=generator)
    alone = explain.saliency(Linear(), X[1:], "right", method="gradient_shap", baselines=many, samples=4000)
    torch.testing.assert_close(alone, W["right"] * (X[1:] - many.mean(0)), atol=0.3, rtol=0)


def test_edges_know_nothing_of_the_model(model: Heads, images: Tensor) -> None:
    found = explain.saliency(model, images, method="edges")
    x = nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
    across = (x[..., 2:] - x[..., :-2])[..., :-2, :] + 2 * (x[..., 2:] - x[..., :-2])[..., 1:-1, :]
    across = across + (x[..., 2:] - x[..., :-2])[..., 2:, :]
    down = (x[..., 2:, :] - x[..., :-2, :])[..., :-2] + 2 * (x[..., 2:, :] - x[..., :-2, :])[..., 1:-1]
    down = down + (x[..., 2:, :] - x[..., :-2, :])[..., 2:]
    for task in ("a", "b", "c"):
        torch.testing.assert_close(
            found[task], (across.square() + down.square()).sqrt(), rtol=1e-4, atol=1e-5
        )
    with pytest.raises(ValueError, match="edges needs an image"):
        explain.saliency(Linear(), X, method="edges")


# ---- one forward pass for all tasks


@pytest.mark.parametrize("method", ["gradient", "input_x_gradient", "grad_cam", "layercam", "eigencam"])
def test_all_tasks_from_one_forward_pass(model: Heads, images: Tensor, method: str) -> None:
    model.forwards = 0
    explain.saliency(model, images, method=method)
    assert model.forwards == 1


@pytest.mark.parametrize("method", ["integrated_gradients", "smoothgrad", "occlusion"])
def test_forwards_do_not_grow_with_tasks(model: Heads, images: Tensor, method: str) -> None:
    options = {"tolerance": 1.0} if method == "integrated_gradients" else {}
    counts = []
    for task in ("a", None):
        model.forwards = 0
        explain.saliency(model, images, task, method=method, **options)
        counts.append(model.forwards)
    assert counts[0] == counts[1] > 1


@pytest.mark.parametrize("method", explain.METHODS)
def test_one_task_is_the_same_as_among_all(model: Heads, images: Tensor, method: str) -> None:
    maps = explain.saliency(model, images, method=method)
    assert list(maps) == ["a", "b", "c"]
    for task, expected in maps.items():
        torch.testing.assert_close(
            explain.saliency(model, images, task, method=method), expected, rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("method", explain.METHODS)
def test_the_micro_batch_does_not_change_the_maps(model: Heads, images: Tensor, method: str) -> None:
    """Captum's SmoothGrad with one seed gave other maps for other micro-batches (23% apart)."""
    whole = explain.saliency(model, images, method=method, target=TARGETS, seed=3)
    for rows in (1, 3):
        parts = explain.saliency(model, images, method=method, target=TARGETS, seed=3, batch_size=rows)
        for task in whole:
            torch.testing.assert_close(parts[task], whole[task], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wrap", ["tuple", "list"])
def test_tuples_and_lists_are_named_by_position(images: Tensor, wrap: str) -> None:
    named, numbered = (explain.saliency(heads(w), images) for w in ("dict", wrap))
    assert list(numbered) == ["0", "1", "2"]
    torch.testing.assert_close(list(numbered.values()), list(named.values()))


def test_a_lone_tensor_gives_a_tensor(images: Tensor) -> None:
    found = explain.saliency(heads("tensor"), images, target=2)
    torch.testing.assert_close(found, explain.saliency(heads(), images, "a", target=2))


def test_wrapped_models_are_looked_through(model: Heads, images: Tensor) -> None:
    expected = explain.saliency(model, images, "a")
    for wrapped in (nn.DataParallel(model), torch.compile(model, backend="eager")):
        torch.testing.assert_close(explain.saliency(wrapped, images, "a"), expected)


# ---- targets


def test_targets_of_every_kind_agree(model: Heads, images: Tensor) -> None:
    labels = torch.tensor([1, 1, 1, 1])
    expected = explain.saliency(model, images, "a", target=1)
    for target in (labels, labels.numpy(), labels.tolist(), labels[:, None], lambda output: output[:, 1]):
        torch.testing.assert_close(explain.saliency(model, images, "a", target=target), expected)


def test_predicted_is_the_largest_logit(model: Heads, images: Tensor) -> None:
    predicted = model.eval()(images)["b"].argmax(1)
    assert len(predicted.unique()) > 1
    torch.testing.assert_close(
        explain.saliency(model, images, "b"), explain.saliency(model, images, "b", target=predicted)
    )


def test_a_dense_output_takes_a_callable(images: Tensor) -> None:
    """d(mean of a 1x1 convolution's output) / dx = w / pixels."""
    model = nn.Conv2d(2, 3, 1)
    found = explain.saliency(model, images, target=lambda output: output[:, 2].mean(dim=(1, 2)))
    expected = model.weight[2].detach().reshape(1, 2, 1, 1).expand_as(images) / 64
    torch.testing.assert_close(found, expected)


def test_a_task_that_does_not_use_the_input_has_a_zero_map() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.constant = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"used": x.sum(1), "unused": self.constant.expand(len(x)) * 2}

    assert explain.saliency(Half(), X)["unused"].abs().max() == 0
