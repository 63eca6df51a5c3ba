"""A figure as inline SVG: byte-stable, told in words, with ids of its own and values on hover."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Sequence

from markupsafe import escape
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from reports.charts.style import INK, STYLE
from reports.usertext import shortened, visible

_HOVER = "hover-"  # begins the gid of an artist that has a hover text, until `svg` turns it into a <title>


def hover(artist: Artist, text: str, variant: str = "") -> None:
    """Give a mark its value in words, shown on hover; and its variant, with which it is hidden.

    Args:
        artist: one mark: a line, a point, a bar. (A collection of points is one mark: draw them one by one.)
        text: e.g. ``equal, seed 3: 81.2%``.
        variant: the variant's name; empty for a mark that stays when variants are filtered.
    """
    artist.set_gid(_HOVER + json.dumps([text, variant]).encode().hex())


def svg(
    figure: Figure, prefix: str, title: str = "", description: str = "", variants: Sequence[str] = ()
) -> str:
    """The figure as an <svg> element of no size of its own, in the page's ink and font.

    Args:
        figure: drawn under `reports.charts.style.STYLE`.
        prefix: begins all its ids: letters, digits and hyphens, another one for each chart of a page.
        title, description: its name, and what it shows in words.
        variants: all of the page, whose places number the marks that `hover` gave to a variant.
    """
    stream = io.StringIO()
    with rc_context(STYLE), warnings.catch_warnings():
        # the browser has fonts for scripts that the font measured here lacks
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    box = re.search(r'viewBox="[^"]*"', text)
    drawn = text[text.index(">") + 1 :].rpartition("</svg>")[0]
    drawn = re.sub(
        r"<(metadata|style)\b.*?</\1>", "", drawn, flags=re.DOTALL
    )  # the page's style has the latter
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', drawn))
    drawn = re.sub(r"<[^>]*>", lambda tag: _tidied(tag.group(0), prefix, used, variants), drawn)
    drawn = re.sub(r">\s+<", "><", drawn)
    drawn = re.sub(r"<defs></defs>", "", drawn)
    while "<g></g>" in drawn:
        drawn = drawn.replace("<g></g>", "")
    told = f'<title id="{prefix}-title">{_words(title)}</title><desc id="{prefix}-desc">{_words(description)}</desc>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{box.group(0) if box else ""} role="img" aria-labelledby="{prefix}-title {prefix}-desc">'
        f"{told}{drawn.strip()}</svg>"
    )


def _tidied(tag: str, prefix: str, used: set[str], variants: Sequence[str]) -> str:
    """A tag in the page's ink and font; its id kept only where something points to it."""
    tag = tag.replace(INK, "currentColor")
    tag = re.sub(r"font-family:[^;\"]*;?\s*", "", tag)
    tag = re.sub(r"\s+", " ", tag)
    # a hundredth of a point is less than a screen shows
    tag = re.sub(r' (?:d|x|y)="[^"]*"', lambda place: re.sub(r"(\.\d\d)\d+", r"\1", place.group(0)), tag)
    after = ""
    if found := re.search(r'\sid="([^"]*)"', tag):
        name, new = found.group(1), ""
        if name.startswith(_HOVER):
            text, variant = json.loads(bytes.fromhex(name.removeprefix(_HOVER)))
            new = f' data-variant="{variants.index(variant)}"' if variant in variants else ""
            after = f"<title>{_words(text)}</title>"
        elif name in used:
            new = f' id="{prefix}-{name}"'
        tag = tag.replace(found.group(0), new)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", tag) + after


def _words(text: str) -> str:
    return str(escape(shortened(visible(text), 2000)))
