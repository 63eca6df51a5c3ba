"""Sequences: words on the colour of their value."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from explain.pictures.images import how_many
from explain.pictures.nested import Scale, Values, tasks_of
from explain.pictures.style import (
    FAINT,
    INK,
    PLAIN,
    SIGNED,
    SIZE,
    SMALL,
    Picture,
    fitted,
    look,
    number,
    readable,
    shade,
)

WIDTH, LABEL, MARGIN = 9.0, 1.9, 0.12  # inches
LINE = 0.24
CONTROL = {"\n": "⏎", "\t": " ", "\r": " "}
LETTER = (
    0.602 * SIZE / 72
)  # of the fixed-width font, inches: so the places are known before anything is drawn


@look
def draw_words(
    words: Sequence[Sequence[str]],
    values: Values,
    *,
    titles: Sequence[str] | None,
    limit: int | None,
    scale: Scale,
) -> Figure:
    """For each example a line a method and task, longer texts in several lines.

    Args:
        words: for each example its words.
        values: maps [B, L]; what is beyond an example's words (padding) is not shown.
        titles: one for each example.
        limit: examples at most.
        scale: of the colours.
    """
    examples = how_many(len(words), len(values), limit)
    values = {
        method: {task: _unpadded(value, words) for task, value in of.items()} for method, of in values.items()
    }
    lines = {example: _lines(words[example]) for example in range(examples)}
    panels = sum(len(of) for of in values.values())
    several = examples > 1 or titles is not None
    height = sum(several * LINE + panels * (len(of) * LINE + 0.08) + 0.12 for of in lines.values()) + 0.35
    made = Picture(figsize=(WIDTH, height))
    axes = made.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    cmap = matplotlib.colormaps[SIGNED]
    y = MARGIN
    for example in range(examples):
        if several:
            title = titles[example] if titles is not None else f"example {example}"
            _write(axes, MARGIN, y, fitted(title, WIDTH - 0.3, lines=1), weight="bold")
            y += LINE
        for method, of in values.items():
            for task in of:
                top = scale.limit(of, task, example)
                label = f"{method} · {task}" if method else task
                _write(
                    axes, MARGIN, y, fitted(label, LABEL - 0.1, SMALL, lines=len(lines[example])), size=SMALL
                )
                _write(axes, WIDTH - MARGIN, y, f"±{number(top)}", size=SMALL, color=FAINT, ha="right")
                for line in lines[example]:
                    for place, x, word in line:
                        colour = shade(cmap, float(of[task][example, place]), top)
                        axes.add_patch(
                            Rectangle(
                                (LABEL + x, y),
                                _wide(word) + LETTER,
                                LINE * 0.88,
                                facecolor=colour,
                                edgecolor="none",
                            )
                        )
                        _write(
                            axes, LABEL + x + LETTER / 2, y, word, color=readable(colour), family="monospace"
                        )
                    y += LINE
                y += 0.08
        y += 0.12
    _write(
        axes,
        MARGIN,
        height - 0.3,
        scale.words(len(tasks_of(values))),
        size=SMALL,
        color=FAINT,
    )
    return made


def _unpadded(value: np.ndarray, words: Sequence[Sequence[str]]) -> np.ndarray:
    """NaN beyond an example's words, which then has no part in a scale."""
    there = np.arange(value.shape[1]) < np.array([len(own) for own in words])[:, None]
    return np.where(there, value, np.nan)


def _lines(words: Sequence[str]) -> list[list[tuple[int, float, str]]]:
    """Lines of (place in the sequence, x in inches, word as it is written)."""
    room = WIDTH - LABEL - 0.75
    lines: list[list[tuple[int, float, str]]] = [[]]
    x = 0.0
    for place, word in enumerate(words):
        written = "".join(CONTROL.get(letter, letter) for letter in str(word)) or " "
        while _wide(written) + LETTER > room:  # a word longer than a line is cut
            written = written[: len(written) // 2] + "…"
        if x and x + _wide(written) + LETTER > room:
            lines.append([])
            x = 0.0
        lines[-1].append((place, x, written))
        x += _wide(written) + 1.4 * LETTER
    return lines


def _wide(text: str) -> float:
    """Inches; East Asian letters take two places, combining marks none."""
    places = sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )
    return places * LETTER


def _write(axes: Axes, x: float, y: float, text: str, **look: Any) -> None:
    options: dict[str, Any] = {"size": SIZE, "color": INK, "ha": "left", "va": "top"} | look | PLAIN
    axes.text(x, y + 0.03, text, **options)
