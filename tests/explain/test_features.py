"""What is one feature: tables, sequences, volumes, several inputs, superpixels, ids; and every mistake in one line."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import explain
from tests.explain.models import Heads, heads
from tests.explain.perturbed import (
    EFFICIENT,
    FEW,
    METHODS,
    OVER_FEATURES,
)


@pytest.fixture
def model() -> Heads:
    return heads()


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.randn(4, 2, 8, 8, generator=generator)


@pytest.mark.parametrize("method", METHODS)
def test_tables_sequences_and_volumes(method: str) -> None:
    class Weighted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            places = torch.arange(1, x[0].numel() + 1, dtype=x.dtype).reshape(x.shape[1:])
            return (x * places).flatten(1).sum(1)

    for shape in ((2, 4), (2, 3, 2), (2, 1, 3, 2), (2, 2, 2, 3, 2)):
        x = torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 0.5
        found = explain.saliency(Weighted(), x, method=method, **FEW.get(method, {}))
        assert found.shape == x.shape
        if method == "rise":
            continue
        places = torch.arange(1, x[0].numel() + 1.0).reshape(shape[1:])
        across = {2: (), 3: (2,)}.get(len(shape), (1,))  # a token's numbers, a pixel's channels
        worth = (places * x).sum(across, keepdim=True) if across else places * x
        if method in ("shapley_sampling", "kernel_shap", "lime") and across:
            worth = worth / shape[across[0]]
        torch.testing.assert_close(found, worth.expand_as(x), rtol=1e-4, atol=1e-4)


class Both(nn.Module):
    """An image and words."""

    def forward(self, image: Tensor, words: Tensor) -> dict[str, Tensor]:
        return {
            "product": image.flatten(1).sum(1) * words.flatten(1).sum(1),
            "words": words.flatten(1).sum(1),
        }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["tuple", "dict"])
def test_several_inputs(method: str, kind: str, generator: torch.Generator) -> None:
    """Cells of the image and words are features of one game."""
    image, words = torch.rand(2, 3, 4, 4, generator=generator), torch.rand(2, 3, 5, generator=generator)
    inputs: Any = (image, words) if kind == "tuple" else {"image": image, "words": words}
    options: dict[str, Any] = {"features": "grid", "size": 2} if method in OVER_FEATURES else {}
    if method in OVER_FEATURES:
        options["divided"] = True
    maps = explain.saliency(Both(), inputs, method=method, **options, **FEW.get(method, {}))
    parts = [maps[task] if kind == "tuple" else tuple(maps[task].values()) for task in ("product", "words")]
    assert [p.shape for p in parts[0]] == [image.shape, words.shape]
    if method != "rise":
        assert parts[1][0].abs().max() < 1e-4  # the image is not used
    if method in OVER_FEATURES:
        expected = words.sum(2, keepdim=True).expand_as(words) / 5
        torch.testing.assert_close(parts[1][1], expected, rtol=1e-4, atol=1e-4)
    if method in EFFICIENT:
        both = sum(p.flatten(1).sum(1) for p in parts[0])
        torch.testing.assert_close(both, Both()(image, words)["product"], rtol=1e-4, atol=1e-4)
    if method == "feature_ablation":
        whole = explain.saliency(
            Both(),
            inputs,
            method=method,
            features={"0" if kind == "tuple" else "image": "each"},
            divided=True,
        )["product"]
        first = whole[0] if kind == "tuple" else whole["image"]
        pixels = image.sum(1, keepdim=True) / 3 * words.sum(dim=(1, 2)).reshape(2, 1, 1, 1)
        torch.testing.assert_close(first, pixels.expand_as(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_superpixels_follow_the_image(channels: int) -> None:
    """A bright disc off the cells of any grid; each image has its own features, none both in and outside."""
    y, x = torch.arange(24)[:, None], torch.arange(24)
    discs = torch.stack([(y - 11) ** 2 + (x - at) ** 2 < 50 for at in (9, 14)])[:, None]
    images = discs.float().expand(2, channels, 24, 24)

    class Sum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).sum(1)

    found = explain.saliency(
        Sum(), images, method="feature_ablation", features="superpixels", size=16, divided=True
    )
    assert (found * discs).sum() / found.sum() > 0.97
    grid = explain.saliency(Sum(), images, method="feature_ablation", size=4, divided=True)
    assert (grid * discs).sum() / grid.sum() < 0.9


def test_noise_has_as_many_superpixels_as_asked(generator: torch.Generator) -> None:
    """With a fixed compactness all of it is one piece, and a map is one number."""
    x = torch.rand(2, 3, 36, 36, generator=generator)
    maps = explain.saliency(
        nn.Flatten(), x, method="feature_ablation", features="superpixels", target=lambda o: o.sum(1)
    )
    assert all(40 <= len(image.unique()) <= 60 for image in maps)


def test_flat_and_grey_images_have_superpixels() -> None:
    for shape in ((2, 1, 9, 9), (2, 3, 9, 9), (2, 9, 9)):
        found = explain.saliency(
            nn.Flatten(), torch.ones(shape), target=0, method="lime", features="superpixels"
        )
        assert found.shape == shape


GRID = torch.arange(64).reshape(8, 8) // 16
WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "word": ("lime", {"features": "gird"}, "did you mean 'grid'"),
    "float ids": ("lime", {"features": GRID / 2}, "lime: feature ids must be integers, got torch.float32"),
    "bool ids": ("lime", {"features": GRID > 1}, "must be integers, got torch.bool"),
    "negative ids": ("lime", {"features": GRID - 1}, "feature ids must be >= 0, got -1"),
    "shape": ("lime", {"features": GRID[:3]}, r"must be \[8, 8\], \[2, 8, 8\], \[4, 1, 8, 8\], got \[3, 8\]"),
    "kind": ("lime", {"features": 3.0}, "features must be a word or an integer tensor, got float"),
    "names": ("lime", {"features": {"image": GRID}}, "there is one input"),
    "size": ("lime", {"size": 0}, "lime: size must be an integer >= 1, got 0"),
    "size of ids": ("lime", {"features": GRID, "size": 2}, "size goes with features 'grid'"),
    "size of each": ("lime", {"features": "each", "size": 2}, "size goes with features 'grid'"),
    "baseline": ("rise", {"baseline": "blue"}, "no baseline of rise 'blue'; did you mean 'blur'"),
    "baseline's shape": ("occlusion", {"baseline": torch.zeros(3)}, "occlusion: baseline must be"),
    "baseline NaN": ("kernel_shap", {"baseline": torch.full((2, 8, 8), torch.nan)}, "baseline holds NaN"),
    "permutations": ("shapley_sampling", {"permutations": 0}, "permutations must be an integer >= 1, got 0"),
    "tolerance": ("shapley_sampling", {"tolerance": 0.0}, "tolerance must be > 0"),
    "few coalitions": ("kernel_shap", {"samples": 97}, "samples must be >= 2 M = 98 for 49 features, got 97"),
    "no coalitions": ("kernel_shap", {"samples": 0}, "samples must be an integer >= 2"),
    "few samples": ("lime", {"samples": 97}, "samples must be >= 2 M = 98 for 49 features, got 97"),
    "samples of half": ("rise", {"samples": 2.5}, "samples must be an integer >= 1, got 2.5"),
    "stride of half": ("occlusion", {"stride": (1.5, 2)}, "stride must be an integer >= 1, got 1.5"),
    "baseline's kind": (
        "lime",
        {"baseline": None},
        "baseline must be a number, a name or a tensor, got NoneType",
    ),
    "infinite baseline": ("lime", {"baseline": float("inf")}, "lime: baseline must be finite, got inf"),
    "narrow": ("lime", {"width": 1e-3}, "lime: the samples weigh too little"),
    "width": ("lime", {"width": 0.0}, "width must be > 0"),
    "ridge": ("lime", {"ridge": -1.0}, "ridge must be >= 0"),
    "masks": ("rise", {"samples": 0}, "samples must be an integer >= 1"),
    "cells": ("rise", {"cells": 0}, "cells must be an integer >= 1"),
    "p": ("rise", {"p": 1.0}, "p must be between 0 and 1"),
    "window": ("occlusion", {"window": 0}, "window must be an integer >= 1"),
    "windows": (
        "occlusion",
        {"window": (2, 2, 2, 2)},
        r"window must be one number, or .* got \[2, 2, 2, 2\]",
    ),
    "large window": ("occlusion", {"window": (9, 1)}, r"window \[2, 9, 1\] is larger than the input's sides"),
    "gaps": ("occlusion", {"window": (2, 2), "stride": (2, 3)}, "leaves gaps"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_named(model: Heads, images: Tensor, case: str) -> None:
    method, options, message = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        explain.saliency(model, images, method=method, **options)
    assert "\n" not in str(caught.value)


def test_mistakes_of_other_inputs_are_named(generator: torch.Generator) -> None:
    x, words = torch.rand(2, 5, generator=generator), torch.rand(2, 3, 4, generator=generator)
    calls: list[tuple[Callable[[], Any], str]] = [
        (
            lambda: explain.saliency(nn.Linear(5, 1), x, method="lime", features="grid"),
            "'grid' needs an image",
        ),
        (lambda: explain.saliency(nn.Linear(5, 1), x, method="lime", size=3), "size goes with"),
        (
            lambda: explain.saliency(nn.Linear(5, 1), x, method="rise", baseline="blur"),
            "'blur' needs an image",
        ),
        (
            lambda: explain.saliency(
                Both(), {"image": x, "words": words}, method="lime", features={"text": "each"}
            ),
            "no input of lime 'text'",
        ),
        (
            lambda: explain.saliency(
                Both(), {"image": x, "words": words}, method="lime", features="superpixels"
            ),
            "needs an image",
        ),
        (
            lambda: explain.saliency(Both(), {"image": x, "words": words}, method="occlusion", window=(1, 2)),
            "window",
        ),
    ]
    calls.append(
        (
            lambda: explain.saliency(
                nn.Flatten(), torch.rand(1, 1, 65, 65), target=0, method="lime", features="each"
            ),
            "lime solves a system of M x M, and 4225 features are too many",
        )
    )
    for call, message in calls:
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
    ids = torch.arange(27).reshape(3, 3, 3)
    with pytest.raises(ValueError, match=r"read in two ways; give \[1, 3, 3, 3\] or \[3, 1, 3, 3\]"):
        explain.saliency(nn.Flatten(), torch.rand(3, 3, 3, 3), target=0, method="lime", features=ids)


@pytest.mark.parametrize("method", OVER_FEATURES)
def test_one_feature_has_the_whole_change(method: str) -> None:
    x = torch.tensor([[2.0], [-1.0]])
    found = explain.saliency(
        nn.Linear(1, 1, bias=False).requires_grad_(False).double(), x.double(), method=method
    )
    assert (found / x).std() < 1e-6


def test_ids_of_any_integers(model: Heads, images: Tensor) -> None:
    """Ids need not be contiguous, nor start at 0; numpy's are fine."""
    plain = explain.saliency(model, images, "a", method="feature_ablation", features=GRID)
    for ids in (GRID * 10 + 3, GRID.numpy(), GRID.short()[None, None], GRID.expand(4, 2, 8, 8)):
        found = explain.saliency(model, images, "a", method="feature_ablation", features=ids)
        torch.testing.assert_close(found, plain)
