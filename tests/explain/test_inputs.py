"""Several inputs, outputs of any structure, and every kind of target and score."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import explain
from tests.explain.models import heads

W, V = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([[0.5, -1.0], [4.0, 2.0]])


class Fusion(nn.Module):
    """Two tasks of an image [B, 3] and tokens [B, 2, 2], linear, with a mask of tokens that is no float."""

    def forward(self, image: Tensor, tokens: Tensor, keep: Tensor | None = None) -> dict[str, Tensor]:
        kept = tokens if keep is None else tokens * keep[..., None]
        return {"both": image @ W + (kept * V).sum(dim=(1, 2)), "text": 2 * (kept * V).sum(dim=(1, 2))}


@pytest.fixture
def parts(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.randn(5, 3, generator=generator), torch.randn(5, 2, 2, generator=generator)


LINEAR = ["input_x_gradient", "integrated_gradients"]


@pytest.mark.parametrize("method", LINEAR)
def test_a_map_for_each_of_several_inputs(parts: tuple[Tensor, Tensor], method: str) -> None:
    image, tokens = parts
    maps = explain.saliency(Fusion(), parts, method=method)
    torch.testing.assert_close(maps["both"], (W * image, V * tokens))
    torch.testing.assert_close(maps["text"], (torch.zeros_like(image), 2 * V * tokens))
    named = explain.saliency(Fusion(), {"tokens": tokens, "image": image}, "both", method=method)
    assert list(named) == ["tokens", "image"]
    torch.testing.assert_close((named["image"], named["tokens"]), maps["both"])


def test_what_is_not_float_goes_along(parts: tuple[Tensor, Tensor]) -> None:
    """A mask [B, 2] is picked by rows in every micro-batch, and repeated with the copies of each example."""
    image, tokens = parts
    keep = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0], [1, 0]])
    expected = V * tokens * keep[..., None]
    for method in (*LINEAR, "smoothgrad"):
        maps = explain.saliency(Fusion(), (image, tokens, keep), "both", method=method, batch_size=2)
        assert maps[2] is None
        found = maps[1] * tokens if method == "smoothgrad" else maps[1]
        torch.testing.assert_close(found, expected)
    named = explain.saliency(Fusion(), {"image": image, "tokens": tokens, "keep": keep}, "both")
    assert list(named) == ["image", "tokens"]


def test_a_baseline_for_each_of_several_inputs(parts: tuple[Tensor, Tensor]) -> None:
    image, tokens = parts
    away = torch.tensor([1.0, 2.0, 3.0])
    for method in ("integrated_gradients", "deeplift", "feature_ablation"):
        maps = explain.saliency(Fusion(), parts, "both", method=method, baseline=(away, "zero"))
        torch.testing.assert_close(maps[0], W * (image - away), rtol=1e-4, atol=1e-5)
    named = {"tokens": torch.ones(7, 2, 2), "image": away.expand(7, 3)}
    for method in ("gradient_shap", "deeplift_shap"):
        inputs = {"image": image, "tokens": tokens}
        maps = explain.saliency(Fusion(), inputs, "both", method=method, baselines=named)
        torch.testing.assert_close(maps["image"], W * (image - away), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(maps["tokens"], V * (tokens - 1), rtol=1e-4, atol=1e-5)
    for wrong, message in (
        ((0.0,), "one for each of"),
        ({"picture": 0.0, "tokens": 0.0}, "no input of the baseline"),
    ):
        with pytest.raises(ValueError, match=message):
            explain.saliency(Fusion(), {"image": image, "tokens": tokens}, method="deeplift", baseline=wrong)


def test_inputs_of_several_precisions(parts: tuple[Tensor, Tensor]) -> None:
    class Mixed(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            assert (a.dtype, b.dtype) == (torch.float32, torch.float64)
            return a.double() @ W.double() + b.sum(dim=(1, 2))

    one, two = explain.saliency(Mixed(), (parts[0], parts[1].double()), method="input_x_gradient")
    assert (one.dtype, two.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(one, W * parts[0])


WRONG: dict[str, tuple[Any, str]] = {
    "sizes": ((torch.ones(2, 3), torch.ones(3, 2, 2)), "same examples on the same device"),
    "no float": ((torch.ones(2, 3).long(), torch.ones(2, 2).long()), "input '0' must be floating point"),
    "none": ((), "inputs are empty"),
    "no tensor": ((torch.ones(2, 3), 3), "input '1' must be a tensor .* got int"),
    "NaN": ((torch.ones(2, 3), torch.full((2, 2, 2), torch.nan)), "input '1' hold NaN"),
    "too many": (
        (torch.ones(2, 3), torch.ones(2, 2, 2), torch.ones(2, 2), torch.ones(2, 2)),
        "takes from 3 to 4",
    ),
    "names": ({"picture": torch.ones(2, 3), "tokens": torch.ones(2, 2, 2)}, "picture"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_in_several_inputs_are_named(case: str) -> None:
    inputs, message = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        explain.saliency(Fusion(), inputs)
    assert "\n" not in str(caught.value)


# ---- outputs


@dataclass
class Out:
    first: Tensor
    second: dict[str, Any]


class Pair(NamedTuple):
    a: Tensor
    b: Tensor


SHAPES: dict[str, tuple[Callable[[Tensor], Any], list[str]]] = {
    "dataclass, nested": (lambda y: Out(y, {"x": 2 * y, "state": None}), ["first", "second.x"]),
    "named tuple": (lambda y: Pair(y, 2 * y), ["a", "b"]),
    "nested list": (lambda y: [y, (3, 2 * y)], ["0", "1.1"]),
    "dict of a dict": (lambda y: {"a": {"b": y}, 7: 2 * y}, ["a.b", "7"]),
}


@pytest.mark.parametrize("case", SHAPES)
def test_outputs_of_any_structure(case: str) -> None:
    make, names = SHAPES[case]

    class Model(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return make(x * W)

    maps = explain.saliency(Model(), torch.ones(2, 3), target=2)
    assert list(maps) == names
    expected = torch.tensor([0.0, 0.0, 3.0]).expand(2, 3)
    torch.testing.assert_close(maps[names[0]], expected)
    torch.testing.assert_close(explain.saliency(Model(), torch.ones(2, 3), names[1], target=2), 2 * expected)


def test_two_outputs_of_one_name_are_refused() -> None:
    class Model(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return {"a": {"b": x}, "a.b": x}

    with pytest.raises(ValueError, match=r"two outputs of the model are called 'a\.b'"):
        explain.saliency(Model(), torch.ones(2, 3))


def test_an_output_that_is_not_asked_for_may_have_any_shape() -> None:
    class Model(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return {"task": x * W, "loss": x.sum(), "attention": x[:, None, :, None].expand(-1, 4, -1, 9)}

    assert explain.saliency(Model(), torch.ones(2, 3), "task").shape == (2, 3)


# ---- scores


def reference(z: Tensor, label: Tensor, score: str) -> Tensor:
    """One example at a time, as the definitions read."""
    values = []
    for row, c in zip(z, label.tolist(), strict=True):
        others = torch.cat([row[:c], row[c + 1 :]])
        values.append(
            {
                "logit": row[c],
                "probability": row[c].exp() / row.exp().sum(),
                "margin": row[c] - others.max(),
                "loss": F.cross_entropy(row[None], torch.tensor([c])),
            }[score]
        )
    return torch.stack(values)


@pytest.mark.parametrize("score", ["logit", "probability", "margin", "loss"])
@pytest.mark.parametrize("target", ["predicted", [0, 1, 2, 0]])
def test_scores_of_a_class(score: str, target: Any, generator: torch.Generator) -> None:
    model = heads().double().eval()
    images = torch.randn(4, 2, 8, 8, generator=generator, dtype=torch.float64)
    found = explain.saliency(model, images, "a", target=target, score=score)
    x = images.clone().requires_grad_()
    z = model(x)["a"]
    label = z.argmax(1) if target == "predicted" else torch.tensor(target)
    (expected,) = torch.autograd.grad(reference(z, label, score).sum(), x)
    torch.testing.assert_close(found, expected)
    mixed = explain.saliency(model, images, target={"a": target}, score={"a": score})
    torch.testing.assert_close(mixed["a"], expected)
    torch.testing.assert_close(mixed["b"], explain.saliency(model, images, "b"))


def test_the_loss_of_a_value_is_its_squared_error(generator: torch.Generator) -> None:
    x, y = torch.randn(4, 3, generator=generator), torch.tensor([1.0, 2.0, 3.0, 4.0])

    class Value(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x @ W)[:, None]

    found = explain.saliency(Value(), x, target=y, score="loss", batch_size=3)
    torch.testing.assert_close(found, 2 * (x @ W - y)[:, None] * W)


# ---- regions of dense outputs


class Dense(nn.Module):
    """Class scores [B, 3, H, W] and depth [B, 1, H, W] or [B, H, W] of an image [B, 1, H, W], pixel by pixel."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        factors = torch.tensor([1.0, -1.0, 2.0]).reshape(1, 3, 1, 1)
        return {"classes": x * factors, "depth": 5 * x, "flat": 7 * x[:, 0]}


def masks() -> Tensor:
    mask = torch.zeros(3, 4, 4, dtype=torch.bool)
    mask[0, 0, 0], mask[1, 1:3, 1], mask[2] = True, True, True
    return mask


def test_regions_are_means_over_their_pixels() -> None:
    x, mask = torch.rand(3, 1, 4, 4) + 0.1, masks()
    share = mask / mask.flatten(1).sum(1)[:, None, None]
    target = {
        "classes": explain.Region(mask, label=[0, 1, 2]),
        "depth": explain.Region(mask),
        "flat": explain.Region(mask[2]),
    }
    for rows in (1, 2, 7):
        maps = explain.saliency(Dense(), x, target=target, batch_size=rows)
        factors = torch.tensor([1.0, -1.0, 2.0]).reshape(3, 1, 1)
        torch.testing.assert_close(maps["classes"][:, 0], factors * share)
        torch.testing.assert_close(maps["depth"][:, 0], 5 * share)
        torch.testing.assert_close(maps["flat"][:, 0], torch.full((3, 4, 4), 7 / 16))


def test_the_predicted_class_of_each_pixel() -> None:
    """Where x > 0 the third class has the largest score, where x < 0 the second."""
    x = torch.tensor([1.0, -1.0, 2.0, -3.0]).reshape(1, 1, 2, 2)
    region = explain.Region(torch.ones(2, 2, dtype=torch.bool), label="predicted")
    found = explain.saliency(Dense(), x, "classes", target=region, method="integrated_gradients")
    torch.testing.assert_close(found, torch.where(x > 0, 2 * x, -x) / 4)


def test_where_a_class_is_predicted(generator: torch.Generator) -> None:
    """The mean score of class 2 over the pixels where it is the largest: those where x > 0, of each example."""
    x = torch.randn(3, 1, 4, 4, generator=generator)
    inside = x > 0
    for labels in (2, [2, 2, 2]):
        region = explain.Region("predicted", label=labels)
        for rows in (1, 2, 7):
            found = explain.saliency(Dense(), x, "classes", target=region, batch_size=rows)
            expected = 2.0 * inside / inside.flatten(1).sum(dim=1)[:, None, None, None]
            torch.testing.assert_close(found, expected)
    one = explain.saliency(Dense(), x, "classes", target=explain.Region("predicted", label=[1, 2, 2]))
    torch.testing.assert_close(one[0], -1.0 * ~inside[0] / (~inside[0]).sum())


def test_a_predicted_region_stays_where_the_clean_inputs_have_it() -> None:
    """Occluding a pixel takes it out of the score and not out of the region."""
    x = torch.tensor([3.0, 1.0, -2.0, -1.0]).reshape(1, 1, 2, 2)
    region = explain.Region("predicted", label=2)
    found = explain.saliency(Dense(), x, "classes", target=region, method="occlusion", window=1)
    torch.testing.assert_close(found, torch.tensor([3.0, 1.0, 0.0, 0.0]).reshape(1, 1, 2, 2))


def test_probability_in_a_region(generator: torch.Generator) -> None:
    x = torch.randn(3, 1, 4, 4, generator=generator, dtype=torch.float64)
    region = explain.Region(masks(), label=2)
    found = explain.saliency(Dense(), x, "classes", target=region, score="probability")
    y = x.clone().requires_grad_()
    p = (Dense()(y)["classes"].double()).softmax(1)[:, 2]
    total = sum(p[i][masks()[i]].mean() for i in range(3))
    torch.testing.assert_close(found, torch.autograd.grad(total, y)[0])


REGIONS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "empty": (lambda m: explain.Region(m & False, label=0), "mask of a Region is empty, first for example 0"),
    "shape": (lambda m: explain.Region(m[:, :2], label=0), r"must be \[4, 4\] or \[3, 4, 4\]"),
    "float": (lambda m: explain.Region(m.float(), label=0), "needs a bool mask"),
    "label": (lambda m: explain.Region(m, label=3), "target classes must be in 0..2, got 3..3"),
    "label's name": (lambda m: explain.Region(m, label="predcted"), "did you mean 'predicted'"),
    "no label": (lambda m: explain.Region(m), "needs label=, one of its 3 channels"),
    "nowhere": (
        lambda m: explain.Region("predicted", label=1),
        r"first for example 0 \(its class is predicted nowhere",
    ),
    "mask's name": (
        lambda m: explain.Region("predicte", label=1),
        "no mask of a Region 'predicte'; did you mean",
    ),
    "no class": (lambda m: explain.Region("predicted", label="predicted"), "needs label=, that class"),
    "bare mask": (lambda m: m, "more than .B, C. needs target=explain.Region"),
    "class": (lambda m: 2, "needs target=explain.Region"),
}


@pytest.mark.parametrize("case", REGIONS)
def test_mistakes_in_regions_are_named(case: str) -> None:
    make, message = REGIONS[case]
    with pytest.raises((ValueError, TypeError), match=message):
        explain.saliency(Dense(), torch.ones(3, 1, 4, 4), "classes", target=make(masks()))


SCORES: dict[str, tuple[dict[str, Any], str]] = {
    "name": ({"score": "probabilty"}, "did you mean 'probability'"),
    "task": ({"score": {"d": "loss"}}, "no task 'd'"),
    "callable": ({"target": lambda o: o[:, 0], "score": "margin"}, "is the score itself"),
    "no class": ({"task": "c", "score": "probability"}, "has no probability"),
    "no truth": ({"task": "c", "score": "loss"}, "needs the true values"),
}


@pytest.mark.parametrize("case", SCORES)
def test_mistakes_in_scores_are_named(case: str) -> None:
    options, message = SCORES[case]
    with pytest.raises((ValueError, TypeError), match=message):
        explain.saliency(heads(), torch.ones(3, 2, 8, 8), **options)


# ---- memory layout


class Viewing(nn.Module):
    """``view`` after a convolution, as in many tutorials: it fails on channels last."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv, self.linear = nn.Conv2d(2, 4, 3), nn.Linear(4 * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.conv(x).relu().view(len(x), -1))


@pytest.mark.parametrize("method", explain.METHODS)
def test_models_that_cannot_be_channels_last(method: str, generator: torch.Generator) -> None:
    images, model = torch.randn(3, 2, 8, 8, generator=generator), Viewing()
    before = model.conv.weight.data_ptr(), model.conv.weight.stride()
    assert explain.saliency(model, images, method=method).shape == images.shape
    assert (model.conv.weight.data_ptr(), model.conv.weight.stride()) == before


def test_progress_is_drawn_where_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    x = torch.ones(2, 2, 8, 8)
    explain.saliency(heads(), x, method="smoothgrad")
    assert capsys.readouterr().err == ""
    explain.saliency(heads(), x, method="smoothgrad", samples=40, progress=True)
    assert "explain" in capsys.readouterr().err
