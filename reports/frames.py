"""Tables with all their numbers: as data frames, and as CSV text."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from reports.document import Cell, Report, Table

if TYPE_CHECKING:
    import pandas as pd

# what stands behind a number, and what stands for it where a cell has none
_PARTS: dict[str, tuple[Callable[[Cell], Any], Any]] = {
    "low": (lambda cell: cell.low, None),
    "high": (lambda cell: cell.high, None),
    "n": (lambda cell: cell.n, 0),
    "points": (lambda cell: cell.points, ()),
}


def columns_of(table: Table) -> list[tuple[str, list[Any]]]:
    """The columns with their headings: texts as they are; a number as its value, and then ``low``, ``high``, ``n``,
    ``points`` where a cell of the column has them.

    >>> columns_of(Table("t", "", ["a", "b"], [[Cell("x"), Cell("1 [0, 2]", 1.0, 0.0, 2.0, 3)]]))
    [('a', ['x']), ('b', [1.0]), ('b low', [0.0]), ('b high', [2.0]), ('b n', [3])]
    """
    found: list[tuple[str, list[Any]]] = []
    for place, heading in enumerate(table.columns):
        cells = [row[place] if place < len(row) else Cell("") for row in table.rows]
        if place < table.labels or all(cell.value is None for cell in cells):
            found.append((heading, [cell.text for cell in cells]))
            continue
        found.append((heading, [cell.value for cell in cells]))
        for part, (of, empty) in _PARTS.items():
            values = [of(cell) for cell in cells]
            if any(value != empty for value in values):
                found.append((f"{heading} {part}", values))
    return found


def frame(table: Table) -> pd.DataFrame:
    """The table as a data frame: numbers as floats, NaN where there is none."""
    import pandas as pd

    columns = columns_of(table)
    whole = {
        place: pd.Series(
            values,
            dtype=int if heading.endswith(" n") and _are(values, int)
            else float if _are(values, float) else object,
        )
        for place, (heading, values) in enumerate(columns)
    }  # fmt: skip
    return pd.DataFrame(whole).set_axis([heading for heading, _ in columns], axis="columns")


def frames(report: Report) -> dict[str, pd.DataFrame]:
    """{key: data frame} of all tables, in the order of the page."""
    return {key: frame(table) for key, table in named(list(report.every_table()))}


def named(parts: list[Any]) -> list[tuple[str, Any]]:
    """Tables or charts by their keys; one that is there again gets a number.

    >>> [key for key, _ in named([Table("t", "", [], []), Table("t", "", [], [])])]
    ['t', 't-2']
    """
    found: dict[str, Any] = {}
    for part in parts:
        key, number = part.key, 1
        while key in found:
            number += 1
            key = f"{part.key}-{number}"
        found[key] = part
    return list(found.items())


def csv_text(table: Table) -> str:
    r"""The table as CSV: numbers in full precision, several points with blanks between, a line a row.

    A text that a spreadsheet would take for a formula gets an apostrophe in front.

    >>> csv_text(Table("t", "", ["a", "b"], [[Cell("=x"), Cell("10.0%", 0.1)]]))
    "a,b\n'=x,0.1\n"
    """
    columns = columns_of(table)
    return csv_rows([heading for heading, _ in columns], zip(*(values for _, values in columns), strict=True))


def csv_rows(header: list[str], rows: Any) -> str:
    """Rows of texts and numbers as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_field(name) for name in header])
    writer.writerows([_field(value) for value in row] for row in rows)
    return stream.getvalue()


def _field(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(repr, value))
    if isinstance(value, str):
        text = value.replace("\r", " ")
        return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) and not _is_number(text) else text
    return "" if value is None else repr(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _are(values: list[Any], kind: type) -> bool:
    return all(value is None or isinstance(value, kind) for value in values) and kind in map(type, values)
