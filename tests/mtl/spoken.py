"""Recordings in the layout of the Free Spoken Digit Dataset, with tones in place of voices."""

import wave
from pathlib import Path

import numpy as np

from mtl.data.avdigits import RATE


def write_wav(file: Path, samples: np.ndarray, rate: int = RATE) -> None:
    with wave.open(str(file), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(rate)
        stream.writeframes(samples.astype("<i2").tobytes())


def write_published(root: Path) -> Path:
    """Two speakers, twelve takes: a tone whose pitch is the digit, its loudness the speaker, its length the take."""
    folder = root / "recordings"
    folder.mkdir()
    for digit in range(10):
        for s, speaker in enumerate(("ann", "bob")):
            for take in range(12):
                time = np.arange(2000 + 100 * take) / RATE
                tone = (4000 + 8000 * s) * np.sin(2 * np.pi * 200 * (digit + 1) * time)
                write_wav(folder / f"{digit}_{speaker}_{take}.wav", tone)
    return root
