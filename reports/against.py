"""What changed since an older report: each number beside its older one, and whether that is more than noise."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan

from reports.cells import estimate_cell, number_cell, p_cell
from reports.document import Cell, Finding, Group, Report, Section, Table
from reports.statistics import SIGNIFICANT, Estimate, difference, holm, welch
from reports.wording import Say

KEY = "changed"
APART = (
    KEY,
    "tests",
    "gallery",
    "provenance",
    "failures",
    "reproduce",
)  # sections without numbers of their own
SHOWN = 100  # changed numbers of one table
COLUMNS = ("number", "old", "new", "difference", "p", "beyond_noise")

Place = tuple[tuple[str, int], ...]  # a row or column by its texts, and which of those with the same texts


@dataclass(frozen=True)
class Change:
    """A number that is another one now.

    Attributes:
        section, table: where it stands, as the new report tells it.
        labels: of its row; column: its heading.
        old, new: the cells.
        gap: new minus old, with its test; without p where there is none.
        why: why there is none, a text's name; empty where there is one.
        adjusted: Holm's p over all changes.
    """

    section: Section
    table: Table
    labels: list[str]
    column: str
    old: Cell
    new: Cell
    gap: Estimate
    why: str
    adjusted: float = nan

    @property
    def beyond_noise(self) -> bool:
        return self.adjusted < SIGNIFICANT


def with_changes(report: Report, older: Report, name: str, say: Say) -> Report:
    """The report with a section that compares it with an older one, after the verdict.

    Numbers that rest on seeds are compared, each once however often the page shows it: seed by seed where both reports
    have the same seeds of that variant, else by Welch's test; all p-values are adjusted together (Holm). Where both
    reports hold the same runs there is nothing to test, for they are not independent.

    Args:
        report, older: in the same language.
        name: what to call the older one.
        say: the texts.

    Raises:
        ValueError: the two are in different languages, in which no table has the same columns.
    """
    if report.language != older.language:
        raise ValueError(
            f"{name} is in the language '{older.language}'; compare with it in the same (--language)"
        )
    kept = [section for section in report.sections if section.key != KEY]
    place = 1 if kept and kept[0].key == "verdict" else 0
    section = _section(replace(report, sections=kept), older, name, say)
    return replace(report, sections=[*kept[:place], section, *kept[place:]])


def _section(report: Report, older: Report, name: str, say: Say) -> Section:
    found, unchanged = _changes(report, older)
    adjusted = holm([change.gap.p for change in found])
    changes = [replace(change, adjusted=p) for change, p in zip(found, adjusted, strict=True)]
    beyond = [change for change in changes if change.beyond_noise]
    heading = say("against.beyond", n=len(beyond)) if beyond else say("against.beyond_none")
    counts = say("against.counts", changed=len(changes), tested=sum(map(isfinite, adjusted)), same=unchanged)
    findings = [Finding(heading, counts, "open", "changed-numbers")]
    findings += _tones(report, older, say)
    findings += _names(report, older, say)
    groups, notes = [], []
    for section in report.sections:
        tables = []
        for key in dict.fromkeys(change.table.key for change in changes if change.section.key == section.key):
            own = [change for change in changes if change.table.key == key]
            # what is beyond noise stays in where not all can be shown
            kept = sorted(sorted(range(len(own)), key=lambda i: (not own[i].beyond_noise, i))[:SHOWN])
            if len(kept) < len(own):
                notes.append(say("against.more", table=_short(own[0].table), shown=len(kept), of=len(own)))
            tables.append(_table([own[i] for i in kept], say))
        if tables:
            groups.append(Group(section.heading, tables=tables))
    intro = say("against.intro", file=name, title=older.title, scope=older.scope)
    tables = [_beyond(beyond, say)] if beyond else []
    return Section(
        KEY, say("against.heading"), intro, findings=findings, tables=tables, groups=groups, notes=notes
    )


def _beyond(changes: Sequence[Change], say: Say) -> Table:
    """All that is more than noise, of whatever table."""
    columns = [say("against.table"), *(say(f"against.{name}") for name in COLUMNS[:-1])]
    rows = [
        [Cell(_short(c.table)), Cell(say("words.comma").join([*c.labels, c.column])), *_cells_of(c, say)[:-1]]
        for c in changes[:SHOWN]
    ]
    return Table(f"{KEY}-beyond-noise", say("against.beyond_caption"), columns, rows, 2)


def _table(changes: Sequence[Change], say: Say) -> Table:
    table = changes[0].table
    columns = [*table.columns[: table.labels], *(say(f"against.{name}") for name in COLUMNS)]
    rows = [[*map(Cell, [*c.labels, c.column]), *_cells_of(c, say)] for c in changes]
    return Table(f"{KEY}-{table.key}", _short(table), columns, rows, table.labels + 1)


def _short(table: Table) -> str:
    """What a table's caption begins with: what it holds, without how it is to be read."""
    return re.split(r"[.;,] |[。；，]", table.caption)[0].removesuffix(".")


def _cells_of(change: Change, say: Say) -> list[Cell]:
    """Old, new, difference, p, and whether it is more than noise."""
    unit = "fraction" if "%" in change.new.text else ""
    if change.why:
        gap, told = number_cell(say, change.gap.mean, unit, signed=True), change.why
    else:
        gap = estimate_cell(say, change.gap, unit, signed=True, strong=change.beyond_noise)
        told = "yes" if change.beyond_noise else "no"
    plain = [replace(cell, strong=False, shade=None) for cell in (change.old, change.new)]
    return [*plain, gap, p_cell(say, change.adjusted), Cell(say(f"against.{told}"))]


def _changes(report: Report, older: Report) -> tuple[list[Change], int]:
    """All numbers that changed, in the order of the page, and how many did not; each once."""
    before = {table.key: table for _, table in _tables(older)}
    changes, unchanged, seen = [], 0, set()
    for section, table in _tables(report):
        old_cells = _cells(before[table.key]) if table.key in before else {}
        for place, (labels, column, new) in _cells(table).items():
            if place not in old_cells:
                continue
            old = old_cells[place][2]
            variant = next((label for label in labels if label in report.seeds), None)
            if (variant, old.points, new.points) in seen:
                continue
            seen.add((variant, old.points, new.points))
            if old.value is None or new.value is None or (old.value, old.points) == (new.value, new.points):
                unchanged += 1
                continue
            gap, why = _gap(old, new, _seeds(variant, older, report))
            changes.append(Change(section, table, labels, column, old, new, gap, why))
    return changes, unchanged


def _tables(report: Report) -> Iterator[tuple[Section, Table]]:
    for section in report.sections:
        if section.key not in APART:
            groups = [table for group in section.groups for table in group.tables]
            for table in [*section.tables, *groups, *section.more]:
                yield section, table


def _cells(table: Table) -> dict[tuple[Place, Place], tuple[list[str], str, Cell]]:
    """{row and column by their texts: labels, heading, cell} of the cells that rest on seeds."""
    found = {}
    columns = _numbered([(text,) for text in table.columns])
    rows = _numbered([tuple(cell.text for cell in row[: table.labels]) for row in table.rows])
    for place, row in zip(rows, table.rows, strict=True):
        labels = [cell.text for cell in row[: table.labels]]
        for column, heading, cell in list(zip(columns, table.columns, row, strict=False))[table.labels :]:
            if cell.points:
                found[place, column] = labels, heading, cell
    return found


def _numbered(names: Sequence[tuple[str, ...]]) -> list[Place]:
    """Names that are there twice get a number."""
    seen: dict[tuple[str, ...], int] = {}
    places = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        places.append(tuple((text, seen[name]) for text in name))
    return places


@dataclass(frozen=True)
class _Seeds:
    """The seeds behind a row in both reports, and whether they are of the same runs."""

    old: list[int]
    new: list[int]
    shared: bool


def _seeds(variant: str | None, older: Report, report: Report) -> _Seeds:
    if variant is None:  # a row of all variants together
        return _Seeds([], [], bool(_prints(older.prints) & _prints(report.prints)))
    prints = (set(one.prints.get(variant, [])) for one in (older, report))
    return _Seeds(older.seeds.get(variant, []), report.seeds[variant], bool(set.intersection(*prints)))


def _prints(prints: Mapping[str, Sequence[str]]) -> set[str]:
    return {one for own in prints.values() for one in own}


def _gap(old: Cell, new: Cell, seeds: _Seeds) -> tuple[Estimate, str]:
    """New minus old with its test, or the bare difference and why it is not tested."""
    bare = Estimate((new.value or 0.0) - (old.value or 0.0))
    if seeds.shared:
        return bare, "same_runs"
    if min(len(old.points), len(new.points)) < 2:
        return bare, "one_seed"
    if seeds.old == seeds.new and len(seeds.old) == len(old.points) == len(new.points):
        tested = difference(
            dict(zip(seeds.new, new.points, strict=True)), dict(zip(seeds.old, old.points, strict=True))
        )
    else:
        tested = welch(list(new.points), list(old.points))
    return (tested, "") if isfinite(tested.p) else (bare, "no_numbers")


def _tones(report: Report, older: Report, say: Say) -> list[Finding]:
    """Answers that are of another kind now."""
    before = _answers(older)
    return [
        Finding(
            new.heading,
            say(
                "against.tone",
                old=say(f"against.{old.tone}"),
                new=say(f"against.{new.tone}"),
                heading=old.heading,
            ),
            new.tone,
            f"{KEY}-{key}",
        )
        for key, new in _answers(report).items()
        if (old := before.get(key)) is not None and old.tone != new.tone
    ]


def _answers(report: Report) -> dict[str, Finding]:
    own = [finding for section in report.sections if section.key != KEY for finding in section.findings]
    return {finding.key or finding.heading: finding for finding in own}


def _names(report: Report, older: Report, say: Say) -> list[Finding]:
    """What came and what went: variants, tasks, tables."""
    found = []
    for key, here, there in (("came", report, older), ("went", older, report)):
        told = []
        known = {table.key for table in there.every_table()}
        tables = [table.caption for table in here.every_table() if table.key not in known]
        for what, names in (
            ("variants", [name for name in here.variants if name not in there.variants]),
            ("tasks", [name for name in here.tasks if name not in there.tasks]),
            ("tables", tables),
        ):
            if names:
                told.append(say(f"against.{what}", names=say.joined(list(dict.fromkeys(names)))))
        if told:
            found.append(
                Finding(say(f"against.{key}"), say("words.semicolon").join(told), "open", f"{KEY}-{key}")
            )
    return found
