"""Class activation maps: each variant against its paper, written again with loops; what all of them promise."""

import math
import warnings

import numpy as np
import pytest
import torch
from captum import attr
from torch import Tensor, nn
from torch.nn import functional as F

import explain
from explain.methods.eigen_cam import first_pattern
from explain.methods.grad_cam import grad_cam_plus_plus
from tests.explain.models import Heads, heads

LAYER = "trunk.5"
TARGETS = {"a": torch.tensor([0, 1, 2, 0]), "b": torch.tensor([4, 3, 0, 0]), "c": "predicted"}
GRADIENTS = ["grad_cam", "grad_cam_plus_plus", "hirescam", "layercam"]
FAMILY = [*GRADIENTS, "eigencam", "score_cam"]


@pytest.fixture
def model() -> Heads:
    return heads().double()


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.randn(4, 2, 8, 8, generator=generator).double()


def parts(model: Heads, images: Tensor, task: str) -> tuple[Tensor, Tensor, Tensor]:
    """(activation, gradient, score) at the layer, by cutting the model in two."""
    model.eval()
    activation = model.trunk[:6](images).detach().requires_grad_()
    output = model.heads["abc".index(task)](activation.flatten(1))
    target = TARGETS[task]
    score = output[:, 0] if isinstance(target, str) else output[torch.arange(len(images)), target]
    gradient = torch.autograd.grad(score.sum(), activation)[0]
    return activation.detach(), gradient, score.detach()


def large(cam: Tensor) -> Tensor:
    """[B, h, w] enlarged to the images and divided among the two channels."""
    cam = F.interpolate(cam[:, None], size=(8, 8), mode="bilinear", align_corners=False)
    return (cam / 2).expand(-1, 2, -1, -1)


def by_loops(method: str, A: Tensor, g: Tensor) -> Tensor:
    """The papers' formulas, one place at a time."""
    B, C, h, w = A.shape
    cam = torch.zeros(B, h, w, dtype=A.dtype)
    for b in range(B):
        for k in range(C):
            places = [(i, j) for i in range(h) for j in range(w)]
            if method == "grad_cam":
                weight = sum(g[b, k, i, j] for i, j in places) / len(places)
            if method == "grad_cam_plus_plus":
                total = sum(A[b, k, i, j] for i, j in places)
                weight = 0.0
                for i, j in places:
                    slope = g[b, k, i, j]
                    if slope != 0:
                        alpha = slope**2 / (2 * slope**2 + total * slope**3)
                        weight += alpha * max(slope, torch.zeros_like(slope))
            for i, j in places:
                if method == "hirescam":
                    weight = g[b, k, i, j]
                if method == "layercam":
                    weight = max(g[b, k, i, j], torch.zeros_like(g[b, k, i, j]))
                cam[b, i, j] += weight * A[b, k, i, j]
    return cam


@pytest.mark.parametrize("method", GRADIENTS)
def test_equals_the_papers_formula_in_loops(model: Heads, images: Tensor, method: str) -> None:
    maps = explain.saliency(model, images, method=method, target=TARGETS)
    for task in TARGETS:
        A, g, _ = parts(model, images, task)
        torch.testing.assert_close(maps[task], large(by_loops(method, A, g)), rtol=0, atol=1e-9)
        assert maps[task].abs().max() > 1e-3


def test_grad_cam_plus_plus_from_the_derivatives_of_the_exponential() -> None:
    """Chattopadhay et al. 2018, equations 5 and 10, with the second and third derivatives of exp(S) by autograd."""
    torch.manual_seed(0)
    A = torch.rand(1, 2, 2, 3, dtype=torch.float64)
    slopes = torch.randn(2, 2, 3, dtype=torch.float64)
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for k in range(2):
        weight = 0.0
        for i in range(2):
            for j in range(3):
                place = A[0, k, i, j].clone().requires_grad_()
                score = (slopes * A[0]).sum() + slopes[k, i, j] * (place - A[0, k, i, j])
                derivatives = [score.exp()]
                for _ in range(3):
                    derivatives.append(torch.autograd.grad(derivatives[-1], place, create_graph=True)[0])
                _, first, second, third = (d.detach() for d in derivatives)
                weight += second / (2 * second + A[0, k].sum() * third) * first.clamp(min=0)
        expected += weight * A[0, k]
    found = grad_cam_plus_plus(A, slopes[None])
    torch.testing.assert_close(found[0, 0] * (slopes * A[0]).sum().exp(), expected)  # exp(S) is left out


def test_grad_cam_plus_plus_refuses_activations_far_below_zero() -> None:
    with pytest.raises(ValueError, match="grad_cam_plus_plus: the layer's activations are so negative"):
        grad_cam_plus_plus(torch.full((1, 1, 2, 2), -1.0), torch.ones(1, 1, 2, 2))


def test_hirescam_adds_up_to_the_score_before_a_linear_layer(generator: torch.Generator) -> None:
    """And Grad-CAM does not: its mean over places forgets which place the weight belongs to."""
    model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(75, 2)).double()
    images = torch.randn(3, 1, 5, 5, generator=generator).double()
    evidence = model(images)[:, 1] - model[3].bias[1]
    found = {
        m: explain.saliency(model, images, target=1, method=m).sum((1, 2, 3))
        for m in ("hirescam", "grad_cam")
    }
    torch.testing.assert_close(found["hirescam"], evidence)
    assert (found["grad_cam"] - evidence).abs().min() > 1e-3


def test_one_map_where_a_mean_over_places_follows(generator: torch.Generator) -> None:
    """Zhou et al. 2016's CAM in closed form: sum of w_k A_k over the number of places; HiResCAM is the same there."""
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)
    )
    images = torch.randn(2, 2, 6, 6, generator=generator)
    cam = torch.einsum("k,bkij->bij", model[4].weight[1], model[1](model[0](images))) / 36
    for method in ("grad_cam", "hirescam"):
        found = explain.saliency(model, images, target=1, method=method)
        torch.testing.assert_close(found.sum(1), cam.detach(), rtol=1e-5, atol=1e-6)


def test_grad_cam_equals_captum_at_any_layer(model: Heads, images: Tensor) -> None:
    for place in (0, 2, 3, 4):

        def first_task(x: Tensor) -> Tensor:
            return model.eval()(x)["a"]

        cam = attr.LayerGradCam(first_task, model.trunk[place]).attribute(images, target=TARGETS["a"])
        found = explain.saliency(
            model, images, "a", target=TARGETS["a"], method="grad_cam", layer=f"trunk.{place}"
        )
        torch.testing.assert_close(found, large(cam.detach()[:, 0]))


# ---- Eigen-CAM


@pytest.mark.parametrize("shape", [(3, 6, 2, 2), (3, 2, 3, 4)])  # fewer places than channels, and more
def test_eigencam_is_the_first_singular_vector(shape: tuple[int, ...], generator: torch.Generator) -> None:
    activation = torch.randn(shape, generator=generator)
    found, tied = first_pattern(activation)
    assert not tied.any()
    for one, cam in zip(activation, found, strict=True):
        O = one.flatten(1).T.double().numpy()  # noqa: E741
        expected = O @ np.linalg.svd(O)[2][0]
        expected = expected if expected.sum() > 0 else -expected
        torch.testing.assert_close(cam.flatten().double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


def test_eigencam_knows_no_task(model: Heads, images: Tensor) -> None:
    maps = explain.saliency(model, images, method="eigencam", target=TARGETS)
    A, _, _ = parts(model, images, "a")
    for found in maps.values():
        torch.testing.assert_close(found, large(first_pattern(A)[0][:, 0]))
    assert (
        min(m.min() for m in maps.values()) >= 0
    )  # after a ReLU the first pattern has one sign, and it is positive


def test_eigencam_refuses_a_tie_and_takes_zeros() -> None:
    """Two channels, each alone in its place: either could be the first."""
    two = torch.eye(2).reshape(1, 2, 1, 2)
    assert first_pattern(two)[1].tolist() == [True]
    cam, tied = first_pattern(torch.zeros(1, 2, 1, 2))
    assert tied.tolist() == [False]
    assert cam.abs().max() == 0


# ---- Score-CAM


def test_score_cam_in_loops(model: Heads, images: Tensor) -> None:
    """Algorithm 1, one image and one channel at a time, with the baseline that our weights leave out."""
    maps = explain.saliency(model, images, method="score_cam", target=TARGETS)
    for task, target in TARGETS.items():
        A, _, _ = parts(model, images, task)
        cam = torch.zeros(4, 4, 4, dtype=torch.float64)
        for b in range(4):
            column = 0 if isinstance(target, str) else int(target[b])
            rise = []
            for k in range(8):
                up = F.interpolate(A[b, k][None, None], size=(8, 8), mode="bilinear")[0, 0]
                if up.max() == up.min():  # a dead channel
                    rise.append(-math.inf)
                    continue
                mask = (up - up.min()) / (up.max() - up.min())
                masked = model(mask * images[b : b + 1])[task][0, column]
                base = model(torch.zeros(1, 2, 8, 8).double())[task][0, column]
                rise.append((masked - base).item())
            weights = [math.exp(r) / sum(math.exp(other) for other in rise) for r in rise]
            cam[b] = sum(weight * A[b, k] for k, weight in enumerate(weights))
        torch.testing.assert_close(maps[task], large(cam), rtol=0, atol=1e-9)


def test_score_cam_leaves_out_channels_that_are_the_same_everywhere(generator: torch.Generator) -> None:
    class Dead(nn.Module):
        """The second channel is 5 everywhere: no mask, and no share in the map."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 1)
            with torch.no_grad():
                self.conv.weight.copy_(torch.tensor([1.0, 0.0]).reshape(2, 1, 1, 1))
                self.conv.bias.copy_(torch.tensor([0.0, 5.0]))

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).mean(dim=(2, 3))

    images = torch.rand(2, 1, 4, 4, generator=generator)
    torch.testing.assert_close(explain.saliency(Dead(), images, target=0, method="score_cam"), images)
    assert explain.saliency(Dead(), torch.ones(1, 1, 4, 4), target=0, method="score_cam").abs().max() == 0


def test_score_cam_with_few_channels_takes_those_that_vary_most(model: Heads, images: Tensor) -> None:
    every, top = (
        explain.saliency(model, images, "a", method="score_cam", target=0, channels=n) for n in (8, 2)
    )
    torch.testing.assert_close(every, explain.saliency(model, images, "a", method="score_cam", target=0))
    A, _, _ = parts(model, images, "a")
    for b in range(4):
        order = sorted(range(8), key=lambda k: -float(A[b, k].var()))[:2]
        masked = []
        for k in order:
            up = F.interpolate(A[b, k][None, None], size=(8, 8), mode="bilinear")[0, 0]
            masked.append(model((up - up.min()) / (up.max() - up.min()) * images[b : b + 1])["a"][0, 0])
        weights = torch.stack(masked).softmax(0).detach()
        cam = sum(weight * A[b, k] for weight, k in zip(weights, order, strict=True))
        torch.testing.assert_close(top[b], large(cam[None])[0])


def test_score_cam_runs_the_same_forwards_for_all_tasks(model: Heads, images: Tensor) -> None:
    for task in ("a", None):
        model.forwards = 0
        explain.saliency(model, images, task, method="score_cam")
        assert model.forwards == 2  # the clean images; eight channels of four images together


# ---- guided Grad-CAM


def test_guided_grad_cam_equals_captum(model: Heads, images: Tensor) -> None:
    maps = explain.saliency(model, images, method="guided_grad_cam", target=TARGETS)
    for k, task in enumerate("abc"):
        head = nn.Sequential(model.trunk, model.heads[k]).eval()
        target = None if task == "c" else TARGETS[task]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Captum's hooks, which say so
            expected = attr.GuidedGradCam(head, head[0][5]).attribute(
                images.clone(), target=target, interpolate_mode="bilinear"
            )
        torch.testing.assert_close(maps[task], expected.detach())
        assert expected.abs().max() > 1e-4


# ---- what the whole family promises


@pytest.mark.parametrize("method", FAMILY)
def test_one_target_for_the_batch_explains_every_image(model: Heads, images: Tensor, method: str) -> None:
    """A peer gives zeros for all images but the first."""
    whole = explain.saliency(model, images, "b", method=method, target=3)
    for b in range(4):
        alone = explain.saliency(model, images[b : b + 1], "b", method=method, target=3)
        torch.testing.assert_close(whole[b : b + 1], alone)
        assert alone.abs().max() > 0


@pytest.mark.parametrize("method", ["grad_cam", "hirescam", "layercam"])
def test_maps_keep_their_scale(model: Heads, images: Tensor, method: str) -> None:
    """A peer stretches each map to 0..1, so that tasks and images cannot be compared."""
    before = explain.saliency(model, images, "a", method=method, target=0)
    with torch.no_grad():
        model.heads[0].weight *= 10
    torch.testing.assert_close(explain.saliency(model, images, "a", method=method, target=0), 10 * before)


@pytest.mark.parametrize("method", FAMILY)
def test_relu_keeps_the_positive_part_on_the_layers_grid(model: Heads, images: Tensor, method: str) -> None:
    """As in the papers, and as Captum does: first the ReLU, then the upsampling. The first layer has no less pixels."""
    with torch.no_grad():
        model.trunk[1].bias.fill_(1.0)  # what is negative at the first convolution passes the ReLU
    signed, positive = (
        explain.saliency(model, images, "a", method=method, layer="trunk.0", target=0, relu=relu)
        for relu in (False, True)
    )
    assert signed.min() < 0
    torch.testing.assert_close(positive, signed.relu())  # 8 x 8 as the image: nothing is enlarged


def test_grad_cam_with_relu_equals_captum(model: Heads, images: Tensor) -> None:
    def first_task(x: Tensor) -> Tensor:
        return model.eval()(x)["a"]

    cam = attr.LayerGradCam(first_task, model.trunk[5])
    expected = cam.attribute(images, target=TARGETS["a"], relu_attributions=True).detach()
    found = explain.saliency(model, images, "a", target=TARGETS["a"], method="grad_cam", relu=True)
    torch.testing.assert_close(found, large(expected[:, 0]))


@pytest.mark.parametrize("method", FAMILY)
def test_half_precision_is_computed_in_single(method: str) -> None:
    model, images = heads().bfloat16(), torch.rand(2, 2, 8, 8).bfloat16()
    found = explain.saliency(model, images, "a", method=method, target=0)
    assert found.dtype == torch.bfloat16
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("method", FAMILY)
def test_mistakes_are_named(method: str) -> None:
    model, images = heads(), torch.rand(2, 2, 8, 8)
    for options, message in (
        ({"layout": "tokens"}, f"{method}: layout says how to read a layer's output; give layer="),
        ({"layout": "channel_last", "layer": LAYER}, "did you mean 'channels_last'"),
        ({"layer": 5}, f"{method}: layer must be a module or its name, got int"),
        ({"layer": "trunk.7"}, rf"{method}: layer 'trunk.7' gives \[2, 128\]; expected \[B, C, H, W\]"),
        ({"layer": LAYER, "layout": "tokens"}, "cannot be tokens"),
    ):
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            explain.saliency(model, images, method=method, **options)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=f"{method} needs images"):
        explain.saliency(nn.Linear(3, 2), torch.ones(1, 3), method=method)


def test_score_cams_channels_are_checked() -> None:
    with pytest.raises(ValueError, match="channels must be an integer >= 1, got 0"):
        explain.saliency(heads(), torch.rand(1, 2, 8, 8), method="score_cam", channels=0)
