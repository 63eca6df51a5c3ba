"""Perturbation methods against closed forms and Captum, task by task; batches; efficiency."""

from typing import Any

import pytest
import torch
from captum import attr
from torch import Tensor, nn

import explain
from explain.batching import generator
from explain.coalitions import Game, check_efficiency
from tests.explain.models import Head, Heads, Linear, heads
from tests.explain.perturbed import (
    EFFICIENT,
    FEW,
    METHODS,
    OVER_FEATURES,
    TARGETS,
    Products,
    table,
)


@pytest.fixture
def model() -> Heads:
    return heads()


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.randn(4, 2, 8, 8, generator=generator)


# ---- closed forms


@pytest.mark.parametrize("method", ["occlusion", *OVER_FEATURES])
@pytest.mark.parametrize("baseline", [0.0, torch.tensor([0.5, -1.0, 2.0]), "mean"])
def test_a_linear_model_gives_its_weights_times_the_change(method: str, baseline: Any) -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]], dtype=torch.float64)
    model = Linear().double()
    absent = x.mean(1, keepdim=True) if baseline == "mean" else torch.as_tensor(baseline)
    maps = explain.saliency(model, x, method=method, target={"left": 1}, baseline=baseline)
    for task, w in {"left": [4.0, 5.0, -6.0], "right": [7.0, 0.0, -1.0]}.items():
        torch.testing.assert_close(
            maps[task], torch.tensor(w, dtype=torch.float64) * (x - absent), rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("method", OVER_FEATURES)
@pytest.mark.parametrize("samples", [True, False])
def test_a_linear_model_of_many_features(method: str, samples: bool) -> None:
    """Too many to score every coalition: the samples too determine a linear model, whichever they are."""
    x = table(3, 20)
    model = nn.Linear(20, 1).double()
    maps = explain.saliency(model, x, method=method, **(FEW.get(method, {}) if samples else {}))
    torch.testing.assert_close(maps, model.weight.detach() * x, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("divided", [True, False])
@pytest.mark.parametrize("method", OVER_FEATURES)
def test_features_share_their_value_or_carry_it(method: str, divided: bool) -> None:
    """A sum over an image: a cell of 2 x 4 pixels and 2 channels is worth the sum of its 16 numbers."""
    x = torch.rand(2, 2, 4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    class Sum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).sum(1)

    found = explain.saliency(Sum(), x, method=method, features="grid", size=2, divided=divided)
    cells = x.reshape(2, 2, 2, 2, 2, 4).sum(dim=(1, 3, 5))  # [B, 2, 2]
    expected = cells.repeat_interleave(2, 1).repeat_interleave(4, 2)[:, None].expand_as(x)
    torch.testing.assert_close(found, expected / 16 if divided else expected, rtol=1e-6, atol=1e-6)


def test_rise_of_a_linear_model_is_its_expectation() -> None:
    """Independent masks: E[score m_i] / p = sum_j w_j x_j p + c + w_i x_i (1 - p); centred, w_i x_i (1 - p)."""
    x, model, p, samples = table(2, 6), nn.Linear(6, 1).double(), 0.3, 20000
    part = model.weight.detach() * x
    rest = p * part.sum(1, keepdim=True) + model.bias.detach()
    for centred, expected in ((False, rest + (1 - p) * part), (True, (1 - p) * part)):
        found = explain.saliency(model, x, method="rise", p=p, samples=samples, centred=centred)
        error = (found - expected).abs().max()
        assert error < 5 * float(part.norm(dim=1).max() + rest.abs().max()) / (p * samples) ** 0.5
        assert error < 0.2 * expected.abs().max()
    assert not torch.allclose(found, expected, atol=1e-6)  # it was sampled


def test_rise_masks_are_smooth_and_kept_with_probability_p() -> None:
    """The mean of the masks, seen as the map of a constant score times p: p everywhere, also at the border."""

    class One(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).sum(1) * 0 + 1

    x = torch.ones(1, 1, 20, 31)
    found = explain.saliency(One(), x, method="rise", samples=3000, p=0.4)
    assert (found - 1).abs().max() < 5 * (0.6 / 0.4 / 3000) ** 0.5
    one = explain.saliency(One(), x, method="rise", samples=1, p=0.4) * 0.4
    assert one.max() <= 1
    assert one.min() >= 0
    steps = torch.cat([one.diff(dim=2).flatten(), one.diff(dim=3).flatten()]).abs().max()
    assert 0 < steps <= 1 / 3 + 1e-6  # a cell of 3 x 5 pixels


# ---- Captum, task by task


@pytest.mark.parametrize(
    ("window", "stride", "theirs"),
    [
        (3, 2, ((2, 3, 3), (2, 2, 2))),  # cut off at the border
        (3, 3, ((2, 3, 3), (2, 3, 3))),
        (5, 4, ((2, 5, 5), (2, 4, 4))),
        (8, 1, ((2, 8, 8), (2, 1, 1))),
        ((3, 4), (1, 3), ((2, 3, 4), (2, 1, 3))),
        ((1, 3, 4), (1, 2, 3), ((1, 3, 4), (1, 2, 3))),  # channel by channel
    ],
)
def test_occlusion_equals_captum(model: Heads, images: Tensor, window: Any, stride: Any, theirs: Any) -> None:
    cover = images.roll(1, 0)
    maps = explain.saliency(
        model, images, method="occlusion", target=TARGETS, window=window, stride=stride, baseline=cover
    )
    for task, target in TARGETS.items():
        expected = attr.Occlusion(Head(model.eval(), task)).attribute(
            images, *theirs, target=target if isinstance(target, Tensor) else None, baselines=cover
        )
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(maps[task], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shared", [True, False])
def test_feature_ablation_equals_captum(
    model: Heads, images: Tensor, shared: bool, generator: torch.Generator
) -> None:
    ids = torch.randint(5, (1 if shared else 4, 1, 8, 8), generator=generator)
    maps = explain.saliency(
        model, images, method="feature_ablation", target=TARGETS, features=ids, baseline=0.3
    )
    for task, target in TARGETS.items():
        expected = attr.FeatureAblation(Head(model.eval(), task)).attribute(
            images, 0.3, target if isinstance(target, Tensor) else None, feature_mask=ids
        )
        torch.testing.assert_close(maps[task], expected, rtol=0, atol=1e-6)


def test_shapley_sampling_equals_captum_on_the_same_permutations(model: Heads, images: Tensor) -> None:
    ids = torch.arange(64).reshape(8, 8) // 7
    maps = explain.saliency(
        model, images, method="shapley_sampling", target=TARGETS, features=ids, permutations=4, divided=False
    )
    for i, image in enumerate(images):  # Captum has the same permutations for all examples
        for task, target in TARGETS.items():
            module = attr.ShapleyValueSampling(Head(model.eval(), task))
            module.permutation_generator = lambda *_, i=i: (
                torch.randperm(10, generator=generator(0, i, s)).argsort().tolist() for s in range(4)
            )
            label = int(target[i]) if isinstance(target, Tensor) else None
            expected = module.attribute(image[None], target=label, feature_mask=ids[None, None], n_samples=4)
            torch.testing.assert_close(maps[task][i], expected.reshape(2, 8, 8), rtol=0, atol=1e-6)


# ---- all tasks from one forward, whatever the batch


@pytest.mark.parametrize("method", METHODS)
def test_forwards_do_not_grow_with_tasks_and_hold_few_rows(model: Heads, images: Tensor, method: str) -> None:
    rows: list[int] = []
    model.trunk[0].register_forward_pre_hook(lambda _, x: rows.append(len(x[0])))
    found = []
    for task in ("a", None):
        rows.clear()
        explain.saliency(model, images, task, method=method, **FEW.get(method, {}))
        found.append(list(rows))
    assert found[0] == found[1]
    assert len(rows) > 1
    assert max(rows) <= 32


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("features", ["grid", "superpixels"])
def test_nothing_depends_on_the_batch(model: Heads, images: Tensor, method: str, features: str) -> None:
    options: dict[str, Any] = {"target": 0, "seed": 3, **FEW.get(method, {})}
    if method in OVER_FEATURES:
        options |= {"features": features, "size": {"grid": 3, "superpixels": 12}[features]}
    model, images = model.double(), images.double()
    whole = explain.saliency(model, images, "a", method=method, **options)
    for rows in (1, 3, 64):
        parts = explain.saliency(model, images, "a", method=method, batch_size=rows, **options)
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-9)
    alone = explain.saliency(model, images[:1], "a", method=method, **options)
    torch.testing.assert_close(alone, whole[:1], rtol=0, atol=1e-9)
    if method not in ("occlusion", "feature_ablation"):
        other = explain.saliency(model, images, "a", method=method, **options | {"seed": 4})
        assert (other - whole).abs().max() > 1e-4


def test_examples_have_samples_of_their_own() -> None:
    """Errors of the same coalitions would not average out over examples."""
    x = table(1, 12).expand(2, 12)
    for method in ("shapley_sampling", "kernel_shap", "lime"):
        found = explain.saliency(Products(12), x, "one", method=method, **FEW[method])
        assert (found[0] - found[1]).abs().max() > 1e-3


# ---- efficiency


@pytest.mark.parametrize("method", EFFICIENT)
@pytest.mark.parametrize("features", [None, "grid", "superpixels", "each"])
def test_maps_sum_to_the_change_of_the_score(
    model: Heads, images: Tensor, method: str, features: str | None
) -> None:
    options = {"samples": 140} if method == "kernel_shap" else {"permutations": 1}
    maps = explain.saliency(
        model, images, method=method, target=TARGETS, features=features, baseline="blur", **options
    )
    from explain.baselines import _blurred

    with torch.no_grad():
        clean, blurred = model.eval()(images), model(_blurred(images))
    for task, target in TARGETS.items():
        index = target[:, None] if isinstance(target, Tensor) else torch.zeros(4, 1, dtype=torch.long)
        change = (clean[task] - blurred[task]).gather(1, index)[:, 0]
        torch.testing.assert_close(maps[task].flatten(1).sum(1), change, rtol=1e-5, atol=1e-6)


def test_the_checkers_can_fail() -> None:
    x = torch.zeros(2, 3)
    change = torch.tensor([[1.0], [2.0]], dtype=torch.float64)

    class Named:
        tasks: tuple[str, ...] = ("a",)

    game = Game("shapley_sampling", Named(), x, x, x.long()[:1], 3, [0, 1], change, change * 0)  # type: ignore[arg-type]
    values = torch.tensor([[[1.0], [0.0], [0.0]], [[1.0], [1.0], [0.0]]], dtype=torch.float64)
    assert check_efficiency(game, values, 1e-6) is values
    with pytest.raises(ValueError, match="task 'a' miss their sum"):
        check_efficiency(game, values * 1.01, 1e-6)
    assert check_efficiency(game, values * 1.01, float("inf")) is not None


@pytest.mark.parametrize("method", METHODS)
def test_models_that_mix_examples_or_draw_are_refused(method: str) -> None:
    class Mixes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x - x.mean(0)).square().sum(1)  # batch statistics by hand

    class Draws(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(x, 0.5, training=True).sum(1)

    for rows in (1, 2, 32):
        for model in (Mixes(), Draws()):
            with pytest.raises(
                ValueError, match=f"{method}: the scores of task 'output' depend on the other"
            ):
                explain.saliency(model, table(rows, 20), method=method, **FEW.get(method, {}))


@pytest.mark.parametrize("method", METHODS)
def test_a_model_that_writes_into_its_input(method: str) -> None:
    class Writes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mul_(2).sum(1)

    x = table(3, 6)
    before = x.clone()
    found = explain.saliency(Writes(), x, method=method, **FEW.get(method, {}))
    assert torch.equal(x, before)
    if method != "rise":
        torch.testing.assert_close(found, 2 * x, rtol=1e-6, atol=1e-6)
