"""One look for every figure, whatever style the notebook has: dark text on white, red for and blue against."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

SIGNED = "RdBu_r"  # white at zero
INK, FAINT = "#222222", "#777777"
SIZE, SMALL = 9.0, 7.5  # points
LOOK = {
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#999999",
    "xtick.color": INK,
    "ytick.color": INK,
    "font.size": SIZE,
    "axes.titlesize": SIZE,
    "axes.labelsize": SIZE,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "axes.linewidth": 0.6,
}
PLAIN: dict[str, Any] = {"parse_math": False}  # what users write is never a formula
look = matplotlib.style.context(["default", LOOK])  # a decorator


class Picture(Figure):
    """A figure that a notebook shows whether or not pyplot was imported."""

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, format="png", dpi=100)
        return file.getvalue()


def figure(width: float, height: float) -> Figure:
    """A figure of its own, in inches; nothing of pyplot's state is touched."""
    made = Picture(figsize=(width, height), layout="constrained")
    engine: Any = made.get_layout_engine()
    engine.set(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)
    return made


def caption(made: Figure, text: str) -> None:
    """A line under everything, for what the colours mean."""
    wide = made.get_figwidth()
    made.supxlabel(
        fitted(text, wide - 0.2, SMALL, lines=6), x=0.01, ha="left", fontsize=SMALL, color=FAINT, **PLAIN
    )


def fitted(text: object, inches: float, size: float = SIZE, lines: int = 3) -> str:
    """Text in at most ``lines`` lines that fit a width; what is left out is shown by "...".

    >>> fitted("a_name_that_is_much_too_long_for_a_small_cell", 0.8, lines=2)
    'a_name_that\\n_is_much...'
    """
    letters = max(6, int(inches * 72 / (0.58 * size)))  # 0.58: the mean width of a letter, in sizes
    # breaks are at spaces, and before "_" and "." inside a name
    pieces = re.findall(r"\s+|[_.]*[^\s_.]+[_.]+(?=\s|$)|[_.]*[^\s_.]+|[_.]+", str(text))
    found, line = [], ""
    for piece in pieces:
        piece = " " if piece.isspace() else piece
        while len(line) + len(piece.rstrip()) > letters:
            if line.strip():
                found.append(line.strip())
                line = ""
                piece = piece.lstrip()
            else:  # a piece longer than a line
                found.append(piece[:letters])
                piece = piece[letters:]
        line += piece
    found += [line.strip()] if line.strip() else []
    if len(found) > lines:
        found = [*found[: lines - 1], f"{found[lines - 1][: letters - 3].rstrip()}..."]
    return "\n".join(found)


def number(value: float) -> str:
    """Three digits at most, with a real minus sign.

    >>> number(-0.012345), number(0.0)
    ('\\u22120.0123', '0')
    """
    return f"{value:.3g}".replace("-", "−")


def bare(axes: Axes) -> None:
    """No ticks."""
    axes.set_xticks([])
    axes.set_yticks([])


def readable(colour: tuple[float, ...]) -> str:
    """Black or white, whichever is easier to read on a colour."""
    red, green, blue = colour[:3]
    return "white" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.45 else INK


def shade(cmap: Colormap, value: float, limit: float) -> tuple[float, ...]:
    """The colour of a value on -limit..limit."""
    place = 0.5 + 0.5 * np.clip(value / limit, -1, 1) if limit else 0.5
    return tuple(cmap(float(place)))
