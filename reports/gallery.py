"""Pictures: inputs and signed maps as small palette PNGs, outlines of masks as paths."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from reports.reading import Attribution, Examples, Run
from reports.wording import figure

MAX_MAPS = 1000  # of one report; the first examples are shown, and the page says so
MAX_FEATURES = 40
COVERED = 0.995  # of a map's pixels lie inside the colour scale


@dataclass(frozen=True)
class Picture:
    """One picture with its caption: a data URI, an outline (a path in pixels, may be empty), and its alt text.

    ``words`` are those of a text that goes with the image: each with its value in words and a shade in -1..1.
    """

    src: str
    width: int
    height: int
    outline: str
    title: str
    caption: str
    alt: str
    words: list[tuple[str, str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Card:
    """One example: the input, and for each variant the maps of its tasks on one colour scale."""

    heading: str
    image: Picture
    rows: list[tuple[str, list[Picture]]]


@dataclass(frozen=True)
class FeatureTable:
    """Maps of a table's rows: each cell a text and a shade in -1..1."""

    heading: str
    columns: list[str]
    rows: list[tuple[str, list[tuple[str, float]]]]


@dataclass(frozen=True)
class Group:
    """The maps of one method."""

    method: str
    cards: list[Card]
    tables: list[FeatureTable]


@dataclass(frozen=True)
class Gallery:
    """All groups, and what was left out and why."""

    groups: list[Group]
    notes: list[str]

    @property
    def words(self) -> bool:
        """Whether some picture has words."""
        cards = (card for group in self.groups for card in group.cards)
        return any(picture.words for card in cards for _, pictures in card.rows for picture in pictures)


def gallery(runs: Sequence[Run], classes: dict[str, list[str]]) -> Gallery:
    """The maps of one run for each variant (the lowest seed), all of the same inputs.

    Args:
        runs: the runs to show, in the order of their variants.
        classes: {task: class names}, for predictions and labels.
    """
    shown = [(run, run.examples, list(run.attributions())) for run in runs]
    with_maps = [(run, examples, maps) for run, examples, maps in shown if examples is not None and maps]
    if not with_maps:
        return Gallery([], [])
    first = with_maps[0][1]
    assert first is not None  # as just filtered
    notes, kept = [], []
    for run, examples, maps in with_maps:
        if examples is not None and np.array_equal(examples.inputs, first.inputs):
            kept.append((run, maps))
        else:
            notes.append(f"{run.variant}: left out, for its maps explain other inputs")
    scored = [str(method) for run, _ in kept for method in run.scores["method"]]  # in the order of the run
    saved = [a.method for _, maps in kept for a in maps]
    methods = [method for method in dict.fromkeys([*scored, *saved]) if method in saved]
    per_example = sum(len(maps) for _, maps in kept)
    count = max(1, min(len(first.inputs), MAX_MAPS // per_example))
    if count < len(first.inputs):
        notes.append(f"the first {count} of {len(first.inputs)} examples are shown")
    groups = []
    for method in methods:
        parts = [(run, [a for a in maps if a.method == method]) for run, maps in kept]
        parts = [(run, maps) for run, maps in parts if maps]
        if first.inputs.ndim == 2:
            groups.append(Group(method, [], _tables(first, parts, count, classes)))
        else:
            cards = [_card(first, parts, i, classes) for i in range(count)]
            groups.append(Group(method, cards, []))
    return Gallery(groups, notes)


def _card(
    examples: Examples, parts: list[tuple[Run, list[Attribution]]], i: int, classes: dict[str, list[str]]
) -> Card:
    rows = []
    for run, maps in parts:
        maps = [a for a in maps if np.isfinite(a.maps[i]).any()]  # else this example has none
        scale = max((_ends(a.maps[i]) for a in maps), default=0.0)
        words = _words(examples, maps, i)
        pictures = []
        for a in maps:
            said = _said(a, i, classes)
            mask = examples.masks.get(a.task)
            pictures.append(
                Picture(
                    signed_png(a.maps[i], scale),
                    a.maps.shape[2],
                    a.maps.shape[1],
                    "" if mask is None else outline(mask[i]),
                    a.task,
                    said,
                    f"{a.method} map of task {a.task}, variant {run.variant}, example {i}: {said}",
                    words.get(a.task, []),
                )
            )
        rows.append((run.variant, pictures))
    labels = {a.task: _label(a, i, classes) for _, maps in parts for a in maps}
    told = ", ".join(f"{task} {label}" for task, label in labels.items() if label)
    picture = Picture(
        image_png(examples.inputs[i]),
        examples.inputs.shape[-1],
        examples.inputs.shape[-2],
        "".join(outline(mask[i]) for mask in examples.masks.values()),
        "input",
        told,
        f"input of example {i}{', labels: ' if told else ''}{told}",
    )
    name = examples.names[i] if examples.names else " ".join(examples.words[i]) if examples.words else ""
    return Card(f"Example {i}{': ' if name else ''}{name}", picture, rows)


def _ends(values: np.ndarray) -> float:
    """Where the colour scale of a map ends: a few pixels of thousands would else leave the rest white."""
    sizes = np.abs(values[np.isfinite(values)])
    return float(np.quantile(sizes, COVERED)) or float(sizes.max())


def _words(examples: Examples, maps: list[Attribution], i: int) -> dict[str, list[tuple[str, str, float]]]:
    """{task: the words of example i, shaded}, on one scale for the tasks."""
    with_words = [a for a in maps if len(a.words) and examples.words]
    scale = max((float(np.nanmax(np.abs(a.words[i]), initial=0.0)) for a in with_words), default=0.0) or 1.0
    return {
        a.task: [
            (word, f"{value:.3g}", float(np.nan_to_num(value / scale)))
            for word, value in zip(examples.words[i], a.words[i], strict=False)
        ]
        for a in with_words
    }


def _tables(
    examples: Examples, parts: list[tuple[Run, list[Attribution]]], count: int, classes: dict[str, list[str]]
) -> list[FeatureTable]:
    names = examples.feature_names or [f"feature {j}" for j in range(examples.inputs.shape[1])]
    tables = []
    for run, maps in parts:
        for a in maps:
            kept = np.argsort(-np.abs(a.maps[:count]).mean(0), kind="stable")[:MAX_FEATURES]
            kept = np.sort(kept)
            scale = float(np.nanmax(np.abs(a.maps[:count]))) or 1.0
            heading = f"{a.task}, {run.variant}"
            if len(kept) < len(names):
                heading += f" (the {len(kept)} features with the largest values of {len(names)})"
            rows = [
                (
                    f"{i}: {_said(a, i, classes)}",
                    [(f"{a.maps[i, j]:.3g}", float(a.maps[i, j]) / scale) for j in kept],
                )
                for i in range(count)
            ]
            tables.append(FeatureTable(heading, [names[j] for j in kept], rows))
    return tables


def _said(a: Attribution, i: int, classes: dict[str, list[str]]) -> str:
    if a.captions:
        return a.captions[i]
    said, label = f"predicted {_named(a.prediction[i], classes.get(a.task, []))}", _label(a, i, classes)
    return f"{said}, label {label}" if label else said


def _label(a: Attribution, i: int, classes: dict[str, list[str]]) -> str:
    """The label in words; empty where it is missing."""
    label, names = a.label[i], classes.get(a.task, [])
    if np.ndim(label) == 0 and (label < 0 if names else label != label):  # -1 for a class, NaN for a value
        return ""
    return _named(label, names)


def _named(value: np.generic, names: list[str]) -> str:
    if np.ndim(value):
        return "several"
    number = value.item()
    if names and isinstance(number, int):
        return names[number] if 0 <= number < len(names) else "missing"
    return figure(float(number))


def signed_png(values: np.ndarray, scale: float) -> str:
    """A signed map [H, W] as a palette PNG: blue below zero, white at zero, red above; -scale..scale."""
    share = np.nan_to_num(values / scale if scale else values * 0.0)
    return _png(np.clip(np.rint(127 + 127 * share), 0, 254).astype(np.uint8), _PALETTE)


def image_png(values: np.ndarray) -> str:
    """An input [C, H, W] or [H, W]: RGB for three channels, else grey; uint8 as it is, else from minimum to maximum."""
    pixels = np.asarray(values)
    if pixels.dtype != np.uint8:
        values = np.nan_to_num(np.asarray(values, dtype=float))
        low, high = values.min(), values.max()
        pixels = np.rint(255 * (values - low) / (high - low if high > low else 1)).astype(np.uint8)
    if pixels.ndim == 3:
        if len(pixels) == 3:
            return _png(pixels.transpose(1, 2, 0), None)
        pixels = pixels.mean(0).astype(np.uint8)
    return _png(pixels, None)


def outline(mask: np.ndarray) -> str:
    """The border of a mask [H, W] as an SVG path in pixel units, straight runs in one stroke.

    >>> outline(np.array([[True, True]]))
    'M0 0H2M0 1H2M0 0V1M2 0V1'
    """
    padded = np.pad(np.asarray(mask, dtype=bool), 1)
    path = []
    for across in (True, False):
        grid = padded if across else padded.T
        edges = grid[1:, 1:-1] != grid[:-1, 1:-1]  # [rows + 1, columns]: an edge above each pixel
        for line, row in enumerate(edges):
            change = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
            for start, end in zip(change[::2], change[1::2], strict=True):
                path.append(f"M{start} {line}H{end}" if across else f"M{line} {start}V{end}")
    return "".join(path)


def _png(pixels: np.ndarray, palette: bytes | None) -> str:
    picture = Image.fromarray(pixels)
    if palette is not None:
        picture.putpalette(palette)
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _diverging() -> bytes:
    """255 colours from blue over white to red (the ends and middle of ColorBrewer's RdBu)."""
    stops = np.array([[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]], dtype=float)
    at = np.linspace(0, 4, 255)
    rows = np.stack([np.interp(at, range(5), stops[:, c]) for c in range(3)], axis=1)
    return bytes(np.rint(rows).astype(np.uint8).flatten().tolist()) + bytes(3)


_PALETTE = _diverging()
