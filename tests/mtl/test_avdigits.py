"""Spoken and written digits: files as published, pairs of one class, sources that are disjoint, and clear errors."""

from pathlib import Path

import numpy as np
import pytest
import torch

import mtl
from mtl.data.avdigits import RATE, recordings
from mtl.data.spectrogram import log_mel
from tests.mtl.spoken import write_published, write_wav

REAL = Path(__file__).parents[3] / "shared" / "data" / "fsdd"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published(tmp_path_factory.mktemp("fsdd"))


def test_files_are_read_as_published(published: Path) -> None:
    sound = recordings(published)
    assert sound.waves.shape == (240, RATE)
    assert sound.speakers == ("ann", "bob")
    row = int(((sound.digit == 3) & (sound.speaker == 1) & (sound.take == 4)).nonzero())
    loudest = 12000 / 32768 * np.sin(0.4 * np.pi)  # ten samples a turn
    assert sound.waves[row].abs().max() == pytest.approx(loudest, rel=1e-3)
    assert int(sound.waves[row].nonzero().max()) < 2400  # zeros behind the end


def test_pairs_are_of_one_class_and_do_not_share_sources(published: Path) -> None:
    data = mtl.dataset(
        "avdigits", root=published, train=300, validation=50, test=100, image_noise=0, audio_noise=0
    )
    assert [task.name for task in data.tasks] == ["digit", "speaker", "bold"]
    assert data.train.inputs["image"].shape == (300, 1, 28, 28)
    assert data.train.inputs["audio"].shape == (300, 1, 32, 33)
    # the loudest band of a pure tone tells the digit that the target names
    band = data.train.inputs["audio"][:, 0].mean(dim=2).argmax(dim=1)
    order = [int(band[data.train.targets["digit"] == c].float().median()) for c in range(10)]
    assert order == sorted(order)
    images, classes = mtl.dataset("mnist5k").train.inputs, mtl.dataset("mnist5k").train.targets["digit"]
    known = {image.numpy().tobytes(): int(c) for image, c in zip(images, classes, strict=True)}
    said = [
        (known[image.numpy().tobytes()], int(c))
        for image, c in zip(data.train.inputs["image"], data.train.targets["digit"], strict=True)
        if image.numpy().tobytes() in known
    ]
    assert len(said) > 100
    assert all(drawn == target for drawn, target in said)
    seen = [
        {x.numpy().tobytes() for x in s.inputs["image"]} for s in (data.train, data.validation, data.test)
    ]
    heard = [
        {x.numpy().tobytes() for x in s.inputs["audio"]} for s in (data.train, data.validation, data.test)
    ]
    for parts in (seen, heard):
        assert not parts[0] & parts[1]
        assert not parts[0] & parts[2]
        assert not parts[1] & parts[2]
    assert 0.3 < float(data.train.targets["bold"].float().mean()) < 0.7


def test_the_same_seed_gives_the_same_data(published: Path) -> None:
    options = {"root": published, "train": 20, "validation": 5, "test": 5}
    first = mtl.dataset("avdigits", **options).fingerprint()
    assert mtl.dataset("avdigits", **options).fingerprint() == first
    assert mtl.dataset("avdigits", **options, seed=1).fingerprint() != first


def test_real_recordings() -> None:
    if not REAL.is_dir():
        pytest.skip("needs the recordings in ../shared/data/fsdd")
    data = mtl.dataset("avdigits", root=REAL, train=50, validation=20, test=30)
    assert data.tasks[1].class_names == ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
    assert bool(data.train.inputs["audio"].isfinite().all())


def test_a_tone_lies_in_its_band() -> None:
    """Against a direct computation: the band whose middle is nearest on the mel scale."""
    time = torch.arange(RATE) / RATE
    for hertz in (300.0, 1000.0, 3000.0):
        picture = log_mel(torch.sin(2 * torch.pi * hertz * time)[None].double(), RATE)
        mel = 2595 * np.log10(1 + np.array([hertz, RATE / 2]) / 700)
        expected = round(33 * mel[0] / mel[1]) - 1
        assert abs(int(picture[0, 0].mean(dim=1).argmax()) - expected) <= 1
    assert float(log_mel(torch.zeros(1, RATE), RATE).max()) <= 1.0  # silence is no error


@pytest.mark.parametrize("fault", ["nothing", "rate", "torn", "empty", "few", "npz"])
def test_faults_are_named(tmp_path: Path, fault: str) -> None:
    folder, told = tmp_path, "no recordings in .*; get the Free Spoken Digit Dataset"
    if fault == "rate":
        write_wav(folder / "0_ann_0.wav", np.ones(100), rate=16000)
        told = r"0_ann_0.wav must have 8000 samples a second, 1 channel and 2 bytes a sample, got \(16000, 1, 2\)"
    elif fault == "torn":
        write_wav(folder / "0_ann_0.wav", np.ones(1000))
        file = folder / "0_ann_0.wav"
        file.write_bytes(file.read_bytes()[:500])
        told = "0_ann_0.wav is cut short: 228 of 1000 samples"
    elif fault == "empty":
        (folder / "0_ann_0.wav").write_bytes(b"")
        told = "0_ann_0.wav cannot be read"
    elif fault == "few":
        write_wav(folder / "0_ann_0.wav", np.ones(1000))
        told = "lacks recordings of some digit for train"
    elif fault == "npz":
        (folder / "fsdd.npz").write_bytes(b"PK not really")
        told = "fsdd.npz cannot be read"
    with pytest.raises(ValueError, match=told):
        mtl.dataset("avdigits", root=folder)
