"""Which layer a class activation map is taken from, and how its output is read; never a patch embedding in silence."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from captum import attr
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models as vision

import explain
from explain.inputs import lay_out
from explain.methods.cam_layer import Layer, found, given
from explain.methods.cam_layout import Kind, MapLayout, Reader, Unread
from explain.scorer import Scorer
from tests.explain.models import heads


def total(output: Tensor) -> Tensor:
    return output.flatten(1)[:, 1]


def scorer_of(model: nn.Module, inputs: Any, task: str | None = None) -> tuple[Scorer, Tensor]:
    layout, joined = lay_out(inputs)
    return Scorer(model.eval(), layout, task, total, "logit", slice(0, len(joined)), len(joined)), joined


def chosen(model: nn.Module, inputs: Any, task: str | None = None, place: int = 0) -> Layer:
    scorer, joined = scorer_of(model, inputs, task)
    return found("grad_cam", scorer, joined, place)


def made(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().eval()
        for parameter in model.parameters():  # some heads begin at zero, and then no layer matters
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1)
    return model


# ---- the zoo: small members of the families, random weights

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 5}
SWIN = {"embed_dim": 12, "depths": (2, 2), "num_heads": (2, 2), "num_classes": 5}
ZOO: dict[str, tuple[Callable[[], nn.Module], tuple[int, int], str, Kind, tuple[int, int], int]] = {
    "resnet, torchvision": (
        lambda: vision.ResNet(vision.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5),
        (64, 64), "layer4.0", "channels_first", (2, 2), 0,
    ),
    "resnet, timm": (
        lambda: timm.create_model("resnet10t", num_classes=5), (64, 64), "layer4.0", "channels_first", (2, 2), 0
    ),
    "convnext, timm": (
        lambda: timm.create_model("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 8, 12, 16), num_classes=5),
        (64, 64), "stages.3.blocks.0", "channels_first", (2, 2), 0,
    ),
    "convnext, torchvision": (
        lambda: vision.ConvNeXt(
            [vision.convnext.CNBlockConfig(8, 12, 1), vision.convnext.CNBlockConfig(12, None, 2)], num_classes=5
        ),
        (32, 32), "features.3.1", "channels_first", (4, 4), 0,
    ),
    "densenet, torchvision": (
        lambda: vision.DenseNet(8, (2, 2), 8, num_classes=5), (32, 32), "features", "channels_first", (4, 4), 0
    ),
    "mobilenetv3, timm": (
        lambda: timm.create_model("mobilenetv3_small_050", num_classes=5),
        (64, 64), "blocks.5.0.bn1", "channels_first", (2, 2), 0,
    ),
    "pooled to the convolution's own grid": (  # as torchvision's VGG pools to 7 x 7, whatever it had
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(8), nn.Flatten(),
            nn.Linear(256, 5),
        ),
        (8, 8), "1", "channels_first", (8, 8), 0,
    ),
    "vit, timm": (
        lambda: timm.models.VisionTransformer(**VIT), (32, 32), "blocks.1.norm1", "tokens", (4, 4), 1
    ),
    "vit, torchvision": (
        lambda: vision.VisionTransformer(32, 8, 2, 2, 24, 48, num_classes=5),
        (32, 32), "encoder.layers.encoder_layer_1.ln_1", "tokens", (4, 4), 1,
    ),
    "vit with registers, not square": (
        lambda: timm.models.VisionTransformer(**{**VIT, "img_size": (32, 48)}, reg_tokens=4),
        (32, 48), "blocks.1.norm1", "tokens", (4, 6), 5,
    ),
    "vit with a mean over patches": (
        lambda: timm.models.VisionTransformer(**VIT, global_pool="avg", class_token=False),
        (32, 32), "blocks.1", "tokens", (4, 4), 0,
    ),
    "deit, distilled": (
        lambda: timm.create_model("deit_tiny_distilled_patch16_224", **VIT),
        (32, 32), "blocks.1.norm1", "tokens", (4, 4), 2,
    ),
    "swin, timm": (
        lambda: timm.models.SwinTransformer(img_size=32, patch_size=4, window_size=4, **SWIN),
        (32, 32), "norm", "channels_last", (4, 4), 0,
    ),
    "swin, torchvision": (
        lambda: vision.SwinTransformer([4, 4], 12, [2, 2], [2, 2], [4, 4], num_classes=5),
        (32, 32), "permute", "channels_first", (4, 4), 0,
    ),
    "mixer, timm": (
        lambda: timm.models.MlpMixer(num_classes=5, img_size=32, patch_size=8, num_blocks=2, embed_dim=24),
        (32, 32), "norm", "tokens", (4, 4), 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ZOO)
def test_the_layer_of_a_family(name: str, generator: torch.Generator) -> None:
    make, size, layer, kind, sides, prefix = ZOO[name]
    model, images = made(make), torch.randn(2, 3, *size, generator=generator)
    at = chosen(model, images)
    assert (at.name, at.layout) == (layer, MapLayout(kind, sides, prefix))
    maps = explain.saliency(model, images, target=1, method="grad_cam")
    assert maps.shape == images.shape
    assert maps.abs().max() > 0


@pytest.mark.parametrize(
    "name", [name for name, row in ZOO.items() if row[3] != "channels_first" or "swin" in name]
)
def test_a_cell_of_the_map_is_a_cell_of_the_image(name: str, generator: torch.Generator) -> None:
    """The layer's maps change most where the image was changed: neither transposed, nor shifted by the class token."""
    make, size, layer, kind, (high, wide), _ = ZOO[name]
    model, image = made(make), torch.randn(1, 3, *size, generator=generator)
    clean = None
    for row, column in ((0, 0), (0, wide - 1), (high - 1, 0), (1, 2)):
        scorer, _ = scorer_of(model, image)
        at = given("grad_cam", scorer, image, 0, layer, None)
        assert at.layout.kind == kind
        clean = at.layout.maps(at.output.detach())
        other, (h, w) = image.clone(), (size[0] // high, size[1] // wide)
        cell = other[:, :, row * h : (row + 1) * h, column * w : (column + 1) * w]
        cell += torch.randn(cell.shape, generator=generator)
        changed = given("grad_cam", scorer, other, 0, layer, None)
        change = (changed.layout.maps(changed.output.detach()) - clean).abs().sum((0, 1))
        assert divmod(int(change.argmax()), wide) == (row, column)


def by_hand(model: nn.Module, layer: nn.Module, images: Tensor, read: Callable[[Tensor], Tensor]) -> Tensor:
    """Grad-CAM with a hook and a reading written for one model."""
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    score = model(images)[:, 1].sum()
    handle.remove()
    gradient = read(torch.autograd.grad(score, kept[0])[0])
    cam = (gradient.mean((2, 3), keepdim=True) * read(kept[0].detach())).sum(1, keepdim=True)
    return F.interpolate(cam, size=images.shape[2:], mode="bilinear")[:, 0]


def test_vit_swin_and_mixer_by_hand(generator: torch.Generator) -> None:
    images = torch.randn(2, 3, 32, 32, generator=generator)
    for name, layer, read in (
        ("vit, timm", "blocks.1.norm1", lambda t: t[:, 1:].reshape(2, 4, 4, 24).permute(0, 3, 1, 2)),
        ("swin, timm", "norm", lambda t: t.permute(0, 3, 1, 2)),
        ("swin, torchvision", "norm", lambda t: t.permute(0, 3, 1, 2)),
        ("mixer, timm", "norm", lambda t: t.reshape(2, 4, 4, 24).permute(0, 3, 1, 2)),
    ):
        model = made(ZOO[name][0])
        expected = by_hand(model, model.get_submodule(layer), images, read)
        maps = explain.saliency(model, images, target=1, method="grad_cam")
        torch.testing.assert_close(maps.sum(1), expected, rtol=1e-4, atol=1e-7)
        assert expected.abs().max() > 1e-4


def test_captum_reads_swin_as_channels_first(generator: torch.Generator) -> None:
    """The silent error that the layout guards against: a map of [4, channels] cells, and no message."""
    model = made(ZOO["swin, timm"][0])
    images = torch.randn(1, 3, 32, 32, generator=generator)
    assert attr.LayerGradCam(model, model.norm).attribute(images, target=1).shape == (1, 1, 4, 24)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [
        ("efficientnet_lite0", 64, "bn2"),
        ("regnetx_002", 64, "s4.b7"),
        ("maxvit_tiny_tf_224", 224, "stages.3.blocks.1"),
        ("poolformer_s12", 64, "stages.3.blocks.1"),
        ("vit_base_patch16_siglip_224", 224, "norm"),
        ("cait_xxs24_224", 224, "blocks_token_only.1.norm1"),
        ("pvt_v2_b0", 64, "stages.3"),
        ("levit_128s", 224, "stages.2.blocks.3"),
        ("inception_v4", 160, "features.21"),
    ],
)
def test_more_of_timm(name: str, size: int, layer: str) -> None:
    model = made(lambda: timm.create_model(name, num_classes=5))
    assert chosen(model, torch.rand(1, 3, size, size)).name == layer


# ---- the rule


class Residual(nn.Module):
    """One ReLU for two places, and an addition that no module makes."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.relu = (
            nn.Conv2d(2, 2, 3, padding=1),
            nn.Conv2d(2, 2, 3, padding=1),
            nn.ReLU(True),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.two(self.relu(self.one(x)))
        y += x
        return self.relu(y)


def test_of_a_residual_block_the_sum_is_taken(generator: torch.Generator) -> None:
    model = made(lambda: nn.Sequential(Residual(), nn.Flatten(), nn.Linear(50, 3)))
    images = torch.randn(2, 2, 5, 5, generator=generator)
    at = chosen(model, images)
    assert at.name == "0"
    torch.testing.assert_close(at.output, model[0](images))
    auto, block, relu = (
        explain.saliency(model, images, target=1, method="grad_cam", layer=layer)
        for layer in (None, "0", "0.relu")  # the ReLU runs twice, and the scores use what the second gives
    )
    torch.testing.assert_close(auto, block)
    torch.testing.assert_close(auto, relu)


def test_a_layer_that_is_changed_in_place_afterwards(generator: torch.Generator) -> None:
    """The activation is the layer's own output, whatever is done to that memory later."""

    class InPlace(nn.Module):
        def __init__(self, in_place: bool) -> None:
            super().__init__()
            self.conv, self.linear, self.in_place = nn.Conv2d(2, 4, 3), nn.Linear(4, 2), in_place

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            x = torch.relu_(x) if self.in_place else torch.relu(x)
            return self.linear(x.mean(dim=(2, 3)))

    images = torch.randn(4, 2, 8, 8, generator=generator)
    for method in ("grad_cam", "grad_cam_plus_plus", "hirescam", "eigencam"):
        for layer in (None, "conv"):
            maps = [
                explain.saliency(made(lambda: InPlace(flag)), images, method=method, target=0, layer=layer)  # noqa: B023
                for flag in (True, False)
            ]
            torch.testing.assert_close(maps[0], maps[1])


class Tasks(nn.Module):
    """A shared trunk, a branch of each task, and a dense task whose last convolution is its output."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
        )
        self.branches = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(4, 3, 3, padding=1), nn.ReLU()) for _ in range(2)]
        )
        self.heads = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)])
        self.decoder, self.dense = nn.Conv2d(4, 5, 3, padding=1), nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.trunk(x)
        maps = [branch(x) for branch in self.branches]
        one, two = (head(m.mean(dim=(2, 3))) for head, m in zip(self.heads, maps, strict=True))
        return {"one": one, "two": two, "dense": self.dense(self.decoder(x).relu())}


def test_the_layer_is_one_that_every_explained_task_uses(generator: torch.Generator) -> None:
    model, images = made(Tasks), torch.randn(2, 1, 6, 6, generator=generator)
    assert chosen(model, images).name == "trunk"
    assert chosen(model, images, "one").name == "branches.0"
    assert chosen(model, images, "two").name == "branches.1"
    assert chosen(model, images, "dense").name == "decoder"  # what follows is the output itself
    maps = explain.saliency(model, images, target=total, method="grad_cam")
    for task, found_map in maps.items():
        torch.testing.assert_close(
            found_map, explain.saliency(model, images, task, target=total, method="grad_cam", layer="trunk.3")
        )
        assert found_map.abs().max() > 0


def test_the_layer_of_another_task_is_refused(generator: torch.Generator) -> None:
    """Zeros in silence would read as 'this task looks at nothing'."""
    model, images = made(Tasks), torch.randn(2, 1, 6, 6, generator=generator)
    with pytest.raises(ValueError, match=r"grad_cam: task 'two' does not depend on layer 'branches.0'"):
        explain.saliency(model, images, target=total, method="grad_cam", layer="branches.0")

    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"a": self.a(x).mean(dim=(2, 3)), "b": self.b(x).mean(dim=(2, 3))}

    with pytest.raises(ValueError, match=r"tasks \['a', 'b'\] share no layer .*one at a time with task="):
        explain.saliency(Apart(), images, method="grad_cam")
    assert chosen(Apart(), images, "a").name == "a"


def test_a_layer_that_the_scores_use_twice_is_refused() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).mean(dim=(2, 3)) + self.conv(x.flip(3)).mean(dim=(2, 3))

    with pytest.raises(ValueError, match="layer 'conv' ran 2 times and the scores use 2 of these"):
        explain.saliency(Twice(), torch.rand(1, 1, 5, 5), target=0, method="grad_cam", layer="conv")


def test_patches_alone_are_refused() -> None:
    patches = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(128, 2))
    shallow = made(
        lambda: timm.models.VisionTransformer(**{**VIT, "depth": 1})
    )  # class token: before the attention
    for model, size in ((patches, 16), (shallow, 32)):
        with pytest.raises(
            ValueError, match="holds the image cut into patches and nothing of what the model makes"
        ):
            explain.saliency(model, torch.rand(1, 3, size, size), target=0, method="grad_cam")
    flat = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    with pytest.raises(ValueError, match="the model has no layer whose output can be read as maps"):
        explain.saliency(flat, torch.rand(1, 3, 4, 4), target=0, method="grad_cam")


def test_no_graph_before_a_given_layer() -> None:
    model, images = heads(), torch.rand(2, 2, 8, 8)
    modes: dict[str, bool] = {}
    for name, module in model.named_modules():
        module.register_forward_pre_hook(
            lambda _m, _i, name=name: modes.update({name: torch.is_grad_enabled()})
        )
    with torch.no_grad():
        explain.saliency(model, images, method="grad_cam", layer="trunk.4")
        assert not torch.is_grad_enabled()
    assert [modes[f"trunk.{place}"] for place in range(7)] == [False] * 5 + [True] * 2


def test_nothing_is_left_behind_after_an_exception() -> None:
    """Neither hooks nor a gradient mode, where the model fails before, at and after the layer, and where it is none."""
    for place in (0, 4, 7):
        model = heads()

        def fail(*_: object) -> None:
            raise KeyError("from inside the model")

        model.trunk[place].register_forward_pre_hook(fail)
        with pytest.raises(KeyError), torch.no_grad():
            explain.saliency(model, torch.rand(2, 2, 8, 8), method="grad_cam", layer="trunk.4")
        assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()) == 1
        assert torch.is_grad_enabled()
    model = made(ZOO["vit, torchvision"][0])
    with pytest.raises(
        ValueError, match=r"layer 'encoder.layers.encoder_layer_1.self_attention' gives a tuple"
    ):
        explain.saliency(
            model, torch.rand(1, 3, 32, 32), target=1, method="grad_cam",
            layer="encoder.layers.encoder_layer_1.self_attention",
        )  # fmt: skip
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


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


# ---- wrappers


def test_wrapped_models_are_looked_through(generator: torch.Generator) -> None:
    images, model = torch.randn(2, 2, 8, 8, generator=generator), heads()
    expected = explain.saliency(model, images, "a", method="layercam")
    for wrapped in (nn.DataParallel(model), torch.compile(model, backend="eager")):
        for layer in (None, "trunk.5", model.trunk[5]):
            found_map = explain.saliency(wrapped, images, "a", method="layercam", layer=layer)
            torch.testing.assert_close(found_map, expected)
