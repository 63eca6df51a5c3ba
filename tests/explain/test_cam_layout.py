"""How the output of a layer is read as maps, and the image among several inputs."""

import pytest
import torch
from torch import Tensor, nn

import explain
from explain.methods.cam_layer import found, given
from explain.methods.cam_layout import MapLayout, Reader, Unread
from tests.explain.cams import chosen, made, scorer_of

# ---- reading shapes


def reader(
    *said: tuple[nn.Module, tuple[int, ...]], size: tuple[int, int] = (32, 32), prefix: int = 16
) -> Reader:
    one = Reader(size, 2, prefix)
    for module, shape in said:
        one.hear(module, shape)
    return one


CONV, LINEAR, NORM = nn.Conv2d(3, 8, 1), nn.Linear(8, 8), nn.LayerNorm(8)
READ: dict[str, tuple[Reader, tuple[int, ...], MapLayout | str]] = {
    "a convolution's, whatever its sides": (
        reader((CONV, (2, 8, 1, 30))), (2, 8, 1, 30), MapLayout("channels_first", (1, 30))
    ),
    "what has a convolution's shape": (
        reader((CONV, (2, 6, 8, 8))), (2, 6, 8, 8), MapLayout("channels_first", (8, 8))
    ),
    "a norm's over the last side": (
        reader((NORM, (2, 4, 4, 8))), (2, 4, 4, 8), MapLayout("channels_last", (4, 4))
    ),
    "a cube, whoever gave such a one": (
        reader((CONV, (2, 8, 8, 8))), (2, 8, 8, 8), "may be channels first or channels last"
    ),
    "nobody's, with sides of a convolution": (
        reader((CONV, (2, 4, 8, 8))), (2, 8, 8, 96), MapLayout("channels_last", (8, 8))
    ),
    "nobody's, either way": (reader((CONV, (2, 4, 8, 8))), (2, 8, 8, 8), "may be channels first or channels last"),
    "an attention matrix": (reader((CONV, (2, 4, 4, 4))), (2, 3, 16, 16), "fit neither the image's"),
    "heads of an attention": (reader((CONV, (2, 4, 4, 4)), (NORM, (2, 3, 17, 8))), (2, 3, 17, 8), "fit neither"),
    "windows of a Swin": (reader((CONV, (2, 4, 8, 8))), (8, 16, 96), "with B = 2"),
    "one pixel": (reader((CONV, (2, 8, 1, 1))), (2, 8, 1, 1), "a single pixel"),
    "vectors": (reader(), (2, 8), "expected"),
    "tokens": (reader((CONV, (2, 8, 4, 6))), (2, 25, 8), MapLayout("tokens", (4, 6), 1)),
    "tokens of a grid without a convolution": (reader(), (2, 17, 8), MapLayout("tokens", (4, 4), 1)),
    "tokens of an oblong image": (reader(size=(32, 64)), (2, 32, 8), MapLayout("tokens", (4, 8))),
    "too many tokens": (reader((CONV, (2, 8, 4, 4))), (2, 40, 8), "40 tokens are not those of a grid"),
    "tokens, and perhaps words": (reader((CONV, (2, 8, 4, 4)), prefix=1), (2, 20, 8), "are not those of a grid"),
    "channels before tokens": (
        reader((CONV, (2, 8, 4, 4)), (nn.LayerNorm(64), (2, 16, 64))), (2, 64, 16), "channels before tokens"
    ),
    "as many tokens as channels": (
        reader((CONV, (2, 16, 4, 4)), (nn.LayerNorm(16), (2, 16, 16))), (2, 16, 16), "either side may count the patches"
    ),
    "tokens or examples first": (
        reader((nn.MultiheadAttention(8, 1), ()), (CONV, (2, 8, 1, 2))), (2, 2, 8), "either side may count the examples"
    ),
    "two grids of as many": (
        reader((CONV, (2, 8, 4, 4)), (CONV, (2, 8, 2, 8)), (NORM, (2, 16, 8))), (2, 16, 8), "fit several grids"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_shapes_are_read_or_refused(case: str) -> None:
    one, shape, expected = READ[case]
    read = one.read(shape)
    if isinstance(expected, str):
        assert isinstance(read, Unread)
        assert expected in read.reason
    else:
        assert read == expected


def test_a_layout_that_is_open_can_be_stated(generator: torch.Generator) -> None:
    class Cube(nn.Module):
        """[B, 6, 6, 6], channels last, from no module that would say so."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.turned, self.head = nn.Conv2d(1, 6, 1), nn.Identity(), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(
                self.turned(self.conv(x).tanh().permute(0, 2, 3, 1)).flatten(1, 2).cumsum(1)[:, 20]
            )

    model, images = made(Cube), torch.randn(2, 1, 6, 6, generator=generator)
    with pytest.raises(ValueError, match="may be channels first or channels last; give layout="):
        explain.saliency(model, images, target=0, method="hirescam", layer="turned")
    stated = explain.saliency(
        model, images, target=0, method="hirescam", layer="turned", layout="channels_last"
    )
    features = model.conv(images).tanh().permute(0, 2, 3, 1).flatten(1, 2)
    places = features @ model.head.weight[0]
    expected = torch.where(torch.arange(36) <= 20, places, 0.0).reshape(2, 1, 6, 6)
    torch.testing.assert_close(stated, expected.detach())
    assert chosen(model, images).name == "conv"  # whose layout is known; not what may be turned


# ---- image and text


class Both(nn.Module):
    """Tokens of text, as many as the image has cells, and an image; the answer uses both."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2))
        self.text = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
        self.answer = nn.Linear(12, 3)

    def forward(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        seen, read = self.image(image).mean(dim=(2, 3)), self.text(text).mean(1)
        return {"answer": self.answer(torch.cat([seen, read], 1)), "image": self.answer.weight.sum() * seen}


@pytest.mark.parametrize("kind", ["tuple", "dict"])
@pytest.mark.parametrize("method", ["grad_cam", "eigencam", "score_cam", "guided_grad_cam"])
def test_of_several_inputs_the_image_gets_the_map(kind: str, method: str, generator: torch.Generator) -> None:
    model = made(Both)
    image, text = torch.randn(2, 1, 8, 8, generator=generator), torch.randn(2, 16, 8, generator=generator)
    inputs = (image, text) if kind == "tuple" else {"image": image, "text": text}

    class Fixed(nn.Module):
        """The same model of the image alone, at its first two texts."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x, text.repeat(len(x) // len(text), 1, 1))["answer"]

    maps = explain.saliency(model, inputs, "answer", target=0, method=method)
    of_image, of_text = maps if kind == "tuple" else (maps["image"], maps["text"])
    torch.testing.assert_close(of_image, explain.saliency(Fixed(), image, target=0, method=method))
    assert of_image.abs().max() > 0
    assert of_text.abs().max() == 0
    assert of_text.shape == text.shape


def test_a_layer_of_the_text_is_refused(generator: torch.Generator) -> None:
    """Its 16 tokens would fit the 4 x 4 cells of the image."""
    model = made(Both)
    inputs = (torch.randn(2, 1, 8, 8, generator=generator), torch.randn(2, 16, 8, generator=generator))
    with pytest.raises(ValueError, match=r"grad_cam: layer 'text.1' does not see the image"):
        explain.saliency(model, inputs, "answer", target=1, method="grad_cam", layer="text.1")
    scorer, joined = scorer_of(model, {"image": inputs[0], "text": inputs[1]}, "answer")
    assert given("grad_cam", scorer, joined, 0, "image.1", None).name == "image.1"
    assert found("grad_cam", scorer, joined, 0).name == "image.1"
    with pytest.raises(
        ValueError, match=r"needs images \[B, C, H, W\], one input of them, got \[\[2, 1, 8, 8\], "
    ):
        explain.saliency(nn.Bilinear(8, 8, 2), (inputs[0], inputs[0]), target=1, method="grad_cam")
