"""From a report to one HTML page."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.charts import drawn
from reports.charts.style import looks
from reports.document import Cell, Report, Table
from reports.frames import csv_text
from reports.loading import MARK, embedded, picture_numbers
from reports.usertext import shortened, shown, slug, visible
from reports.wording import Say, figure


def render(report: Report) -> str:
    """The page as text; the same report gives the same text."""
    say = Say(report.language)
    style, script = _own("page.css"), _own("page.js")
    places = {name: place for place, name in enumerate(report.variants)}

    def variant_of(row: list[Cell], labels: int) -> str:
        return next((cell.text for cell in row[:labels] if cell.text in places), "")

    environment = _environment()
    environment.filters |= {
        "shown": shown,
        "short": shortened,
        "behind": lambda cell: behind(cell, say),
        "variant_of": variant_of,
        "k": picture_numbers(report).__getitem__,
        # our own SVG, its texts escaped
        "drawn": lambda chart, prefix: Markup(drawn(chart, say, prefix, report.variants)),
    }
    return environment.get_template("page.html").render(
        report=report,
        shown=[section for section in report.sections if not section.missing],
        absent=[section for section in report.sections if section.missing],
        looks=[(name, *look) for name, look in looks(report.variants).items()],
        places=places,
        anchor=_anchors(),
        ui=json.dumps({name: say(f"page.{name}") for name in _ON_CONTROLS}, ensure_ascii=False),
        policy=_policy(style, script),
        css=Markup(style),
        js=Markup(script),
        mark=Markup(MARK),
        data=embedded(report),
        csv=_csv_link,
        say=say,
    )


_ON_CONTROLS = ("filter", "values", "variants", "hides", "previous", "next", "close")


def framed(report: Report) -> str:
    """The page within another one, e.g. a notebook: sandboxed, so that it can do nothing but run its own script."""
    return Markup(
        '<iframe sandbox="allow-scripts allow-downloads" title="{}" srcdoc="{}" '
        'style="width:100%;height:min(80vh,60rem);border:1px solid #8888"></iframe>'
    ).format(report.title, str(render(report)))


def behind(cell: Cell, say: Say) -> str:
    """What stands behind a cell's text: the values, their number, the interval, and its note.

    >>> behind(Cell("81%", 0.81, 0.8, 0.82, 2, (0.805, 0.815)), Say())
    'n = 2: 0.805, 0.815; 95% interval 0.8 to 0.82'
    >>> behind(Cell("a word"), Say())
    ''
    """
    parts = []
    if cell.points:
        values = say("words.comma").join(figure(point) for point in cell.points[:100])
        parts.append(say("page.points", n=cell.n or len(cell.points), values=values))
    elif cell.n:
        parts.append(say("page.n", n=cell.n))
    if cell.low is not None and cell.high is not None:
        parts.append(say("page.interval", low=figure(cell.low), high=figure(cell.high)))
    if cell.note:
        parts.append(cell.note)
    return say("words.semicolon").join(parts)


def _environment() -> Environment:
    """Every text that reaches the page is made visible, then escaped, whether or not a filter was used."""

    def made_visible(value: Any) -> Any:
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    return Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=made_visible,
    )


def _csv_link(table: Table) -> str:
    """The table as a link that is the file: nothing is asked for to save it."""
    return "data:text/csv;charset=utf-8," + quote(csv_text(table), safe=",/:;()'")


def _anchors() -> Callable[[str, str], str]:
    """Ids of a page by kind and key: the same for the same key in every build, and no two alike."""
    used: Counter[str] = Counter()

    def anchor(kind: str, key: str) -> str:
        name = f"{kind}-{slug(key)}"
        used[name] += 1
        return name if used[name] == 1 else f"{name}--{used[name]}"

    return anchor


def _policy(style: str, script: str) -> str:
    """Only our own style and script, by their hashes, and pictures within the page; style attributes are free."""
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; style-src-elem {_hash(style)}; "
        f"script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


@cache
def _own(name: str) -> str:
    return (files("reports") / "templates" / name).read_text(encoding="utf-8")
