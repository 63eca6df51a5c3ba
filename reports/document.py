"""What a report says, as plain data: built from runs, drawn as a page, written as tables, loaded back.

Every part is frozen and made of texts, numbers, lists and mappings alone, so that a report can be kept as JSON. A part
that is named by a ``key`` keeps it in every language and version: files, anchors and comparisons go by keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what is shown.
        value: the number behind it, by which its column is sorted and which is exported; None for words.
        low, high: its 95% interval; None where there is none.
        n: how many independent values (seeds) it rests on.
        points: these values, in the order of the seeds.
        note: more, shown on hover and to screen readers.
        strong: set in bold: better than its base beyond doubt.
        shade: -1..1 for a coloured cell; None for a plain one.
    """

    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    points: tuple[float, ...] = ()
    note: str = ""
    strong: bool = False
    shade: float | None = None


@dataclass(frozen=True)
class Table:
    """Cells in rows; the first ``labels`` columns are row headers, the others numbers."""

    key: str
    caption: str
    columns: list[str]
    rows: list[list[Cell]]
    labels: int = 1

    def texts(self) -> list[list[str]]:
        """What is shown, without the numbers behind it."""
        return [[cell.text for cell in row] for row in self.rows]


@dataclass(frozen=True)
class Chart:
    """A chart as the data that is drawn; ``kind``, a name of `reports.charts.KINDS`, says what it holds."""

    key: str
    caption: str
    kind: str
    data: dict[str, Any]


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
class Strip:
    """Pictures that belong together, e.g. the maps of one variant, one a task; ``note`` tells what they share."""

    heading: str
    pictures: list[Picture]
    note: str = ""


@dataclass(frozen=True)
class Card:
    """One example: the input, and strips of its maps."""

    heading: str
    image: Picture
    strips: list[Strip]


@dataclass(frozen=True)
class Group:
    """What is opened and closed together: the cards, or the tables, of one method."""

    heading: str
    cards: list[Card] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


@dataclass(frozen=True)
class Fact:
    """A fact of the provenance: each different value once, with the runs it holds for."""

    name: str
    values: list[tuple[str, str]]


@dataclass(frozen=True)
class Finding:
    """One answer: a heading, what was found, and whether it is ``good``, ``bad`` or ``open``.

    ``key`` names what was asked (``sharing``, ``maps-gradient``) whatever the answer: two reports are compared by it.
    """

    heading: str
    text: str
    tone: str
    key: str = ""


@dataclass(frozen=True)
class Section:
    """One section of the page; empty lists where there is nothing, and then ``missing`` says why.

    Attributes:
        key: its anchor.
        heading, intro: its title and what the reader must know to read it.
        findings: answers in words (the verdict's section).
        tables, charts, groups, facts: what it shows, in this order.
        more: tables and texts (summary, text) that are closed at first.
        notes: what was left out, and why.
        missing: why it shows nothing; the page then names it under "Not in this report".
        legend: whether the variants' colours are to be told above the charts.
    """

    key: str
    heading: str
    intro: str = ""
    findings: list[Finding] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    more: list[Table] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missing: str = ""
    legend: bool = False


@dataclass(frozen=True)
class Report:
    """The whole report.

    Attributes:
        title, question, scope: of the page's head.
        language: of its texts, a name of `reports.wording.LANGUAGES`.
        variants: all of them, in the order that gives each its colour.
        warnings: what the reader must know before any number, e.g. runs that did not finish.
        sections: in the reader's order.
        tasks: their names.
        seeds: {variant: the seeds of its finished runs, ascending}.
        prints: {variant: a fingerprint of what each of them recorded}, by which a run is known again.
    """

    title: str
    question: str
    scope: str
    language: str
    variants: list[str]
    warnings: list[str]
    sections: list[Section]
    tasks: list[str] = field(default_factory=list)
    seeds: dict[str, list[int]] = field(default_factory=dict)
    prints: dict[str, list[str]] = field(default_factory=dict)

    def every_table(self) -> Iterator[Table]:
        """All tables, in the order of the page."""
        for section in self.sections:
            yield from section.tables
            for group in section.groups:
                yield from group.tables
            yield from section.more

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """{key: data frame} of all tables: numbers as floats, with columns ``low``, ``high``, ``n`` and ``points``."""
        from reports.frames import frames

        return frames(self)

    def table(self, key: str) -> Table:
        """The table of this key.

        Raises:
            KeyError: there is none, with the keys that there are.
        """
        from reports.frames import named

        found = dict(named(list(self.every_table())))
        if key not in found:
            raise KeyError(f"no table '{key}' in this report; known: {', '.join(found)}")
        return found[key]

    def markdown(self, key: str, spread: Literal["interval", "plusminus"] = "interval") -> str:
        """A table as Markdown, e.g. ``report.markdown("scores")``; see `reports.paper.markdown`."""
        from reports.paper import markdown

        return markdown(self.table(key), spread)

    def latex(self, key: str, spread: Literal["interval", "plusminus"] = "interval") -> str:
        """A table as LaTeX with booktabs; see `reports.paper.latex`."""
        from reports.paper import latex

        return latex(self.table(key), spread)

    def export(self, folder: str | Path) -> Path:
        """All tables and charts as files; see `reports.export.export`."""
        from reports.export import export

        return export(self, folder)

    def save(self, out: str | Path) -> Path:
        """Write the page; the same report gives the same bytes. Only an older report is overwritten.

        Raises:
            ValueError: ``out`` is something else than a report, or cannot be written.
        """
        from reports.building import write

        return write(self, Path(out))

    def _repr_html_(self) -> str:
        """The whole page in a notebook, in a frame of its own: its style and script reach nothing outside."""
        from reports.page import framed

        return framed(self)

    def every_chart(self) -> Iterator[Chart]:
        """All charts, in the order of the page."""
        for section in self.sections:
            yield from section.charts


def cells(rows: list[list[str | Cell]]) -> list[list[Cell]]:
    """Rows whose words are made cells.

    >>> cells([["a", Cell("1", 1.0)]])[0][0]
    Cell(text='a', value=None, low=None, high=None, n=0, points=(), note='', strong=False, shade=None)
    """
    return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]


def plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """A chart's data as JSON keeps it: arrays become lists, numpy's numbers Python's, NaN None."""
    return {str(name): _plain(value) for name, value in data.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain(value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and value != value else value
