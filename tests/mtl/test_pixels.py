"""Pictures kept as bytes, in memory or in a mapped file: the same numbers as floats, however rows are taken."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mtl
import mtl.data.pictures as reader
from mtl.data.pictures import pictures
from mtl.data.pixels import Pixels, channel_moments, scaled
from mtl.training.batches import batches


@pytest.fixture
def stored(generator: torch.Generator) -> torch.Tensor:
    return torch.randint(0, 256, (9, 3, 4, 6), generator=generator, dtype=torch.uint8)


def written(folder: Path, count: int = 6, width: int = 20, height: int = 24) -> list[Path]:
    draw, files = np.random.default_rng(0), []
    for k in range(count):
        files.append(folder / f"p{k}.png")
        Image.fromarray(draw.integers(0, 256, size=(height, width, 3), dtype=np.uint8)).save(files[-1])
    return files


def test_channel_moments_are_those_of_the_floats(
    stored: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtl.data.pixels.CHUNK", 2)
    rows = torch.tensor([7, 1, 3, 0, 8])
    mean, deviation = channel_moments(stored, rows)
    torch.testing.assert_close(mean, stored[rows].float().mean(dim=(0, 2, 3)))
    torch.testing.assert_close(deviation, stored[rows].float().std(dim=(0, 2, 3), correction=0))
    assert channel_moments(torch.full((2, 1, 2, 2), 5, dtype=torch.uint8), torch.arange(2))[1].tolist() == [1]


def test_rows_are_the_floats_of_the_same_rows(stored: torch.Tensor) -> None:
    pixels = scaled(stored, torch.arange(5))
    mean = stored[:5].float().mean(dim=(0, 2, 3))
    deviation = stored[:5].float().std(dim=(0, 2, 3), correction=0)
    floats = (stored.float() - mean[:, None, None]) / deviation[:, None, None]
    some = torch.tensor([8, 0, 4])
    for rows in (some, slice(2, 5), slice(None), 3, torch.arange(9) > 6):
        torch.testing.assert_close(pixels[rows], floats[rows])
    few = pixels.subset(some)
    torch.testing.assert_close(few[:], floats[some])
    torch.testing.assert_close(few.subset(torch.tensor([2]))[:], floats[[4]])
    assert (len(few), few.shape, few.ndim) == (3, (3, 3, 4, 6), 4)
    assert few.stored.data_ptr() == stored.data_ptr()  # nothing is copied


def test_bytes_train_as_the_floats_do(stored: torch.Tensor) -> None:
    pixels = scaled(stored, torch.arange(9))
    targets = {"y": torch.tensor([0, 1, -1, 0, 1, 1, -1, 0, 1])}
    kept, plain = mtl.TaskData(pixels, targets), mtl.TaskData(pixels[:], targets)
    for one, other in ((kept, plain), (kept.labelled(), plain.labelled())):
        for order in (None, 0):
            passes = [
                batches(data, 4, None if order is None else torch.Generator().manual_seed(order))
                for data in (one, other)
            ]
            for (inputs, labels), (same, same_labels) in zip(*passes, strict=True):
                torch.testing.assert_close(inputs, same, atol=0, rtol=0)
                assert torch.equal(labels["y"], same_labels["y"])
    assert isinstance(kept.labelled().inputs, Pixels)
    assert isinstance(kept.take(torch.tensor([1])).inputs, torch.Tensor)
    mixed = mtl.mixture(kept)
    assert isinstance(mixed.inputs, Pixels)
    assert len(mixed.take(torch.tensor([1, 2])).sources) == 2
    joined = mtl.mixture({"a": kept, "b": plain})
    torch.testing.assert_close(joined.inputs, torch.cat([plain.inputs, plain.inputs]))
    named = mtl.TaskData({"image": pixels, "table": torch.zeros(9, 2)}, targets)
    inputs, _ = next(iter(batches(named, 4)))
    assert {name: x.shape for name, x in inputs.items()} == {"image": (4, 3, 4, 6), "table": (4, 2)}


def test_a_fingerprint_sees_each_byte_and_the_scale(stored: torch.Tensor) -> None:
    def of(pixels: Pixels) -> str:
        return mtl.TaskData(pixels, {}).fingerprint()

    changed = stored.clone()
    changed[8, 2, 3, 5] ^= 1
    same, rows = scaled(stored, torch.arange(5)), torch.arange(9)
    others = [
        Pixels(changed, rows, same.channel_mean, same.channel_deviation),
        Pixels(stored, rows.flip(0), same.channel_mean, same.channel_deviation),
        Pixels(stored, rows, same.channel_mean + 1, same.channel_deviation),
    ]
    assert of(scaled(stored.clone(), torch.arange(5))) == of(same)
    assert len({of(same), *map(of, others)}) == 4


def test_a_cache_is_made_once_and_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, cache = written(tmp_path), tmp_path / "made" / "cache"
    plain = pictures(files, 8)
    assert plain.dtype == torch.uint8
    first = pictures(files, 8, cache=cache)
    assert torch.equal(first, plain)
    (made,) = cache.iterdir()  # no half-written file beside it
    before = made.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(reader, "_read", None)  # a second look at the pictures would fail
        again = pictures(files, 8, cache=cache)
    assert torch.equal(again, plain)
    again.zero_()  # a tensor of one's own to write to; the file stays
    assert made.read_bytes() == before
    assert torch.equal(pictures(files[:3], 8, cache=cache), plain[:3])
    assert pictures(files, 6, cache=cache).shape == (6, 3, 6, 6)
    assert len(list(cache.iterdir())) == 3


def test_a_changed_picture_is_read_anew(tmp_path: Path) -> None:
    files = written(tmp_path)
    before = pictures(files, 8, cache=tmp_path / "cache")
    Image.new("RGB", (20, 24), "red").save(files[2])
    after = pictures(files, 8, cache=tmp_path / "cache")
    assert after[2].flatten(1)[:, 0].tolist() == [255, 0, 0]
    assert torch.equal(after[3:], before[3:])


def test_a_picture_that_cannot_be_read_leaves_no_cache(tmp_path: Path) -> None:
    files, where = written(tmp_path), [f"labels.csv, row {k + 1}" for k in range(6)]
    files[4].write_text("no picture")
    with pytest.raises(ValueError, match=r"p4\.png cannot be read as a picture \(labels\.csv, row 5\)"):
        pictures(files, 8, where=where, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
    files[4].unlink()
    with pytest.raises(FileNotFoundError, match=r"p4\.png is not there \(labels\.csv, row 5\)"):
        pictures(files, 8, where=where, cache=tmp_path / "cache")


def test_a_cache_that_was_cut_off_says_so(tmp_path: Path) -> None:
    files = written(tmp_path)
    pictures(files, 8, cache=tmp_path / "cache")
    (made,) = (tmp_path / "cache").iterdir()
    for length in (300, 20, 0):
        made.write_bytes(made.read_bytes()[:length])
        with pytest.raises(ValueError, match=r"pictures-\w+\.npy is cut off or damaged: remove it"):
            pictures(files, 8, cache=tmp_path / "cache")


def test_more_than_fits_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = written(tmp_path)
    monkeypatch.setattr(reader, "_free_memory", lambda: 1000)
    with pytest.raises(
        ValueError,
        match=r"p0\.png and 5 more pictures of 8x8 take 0\.0 GiB, 0\.0 GiB of memory are free; give a folder for",
    ):
        pictures(files, 8)
    assert pictures(files, 8, cache=tmp_path / "cache").shape == (6, 3, 8, 8)
    monkeypatch.setattr(reader.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(ValueError, match=r"are free in .*other; give another folder for cache="):
        pictures(files, 8, cache=tmp_path / "other")
