"""Which runs take part: conditions such as ``variant=equal,upgrad`` or ``seed<3``, all of which must hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from math import isnan, nan
from typing import Any

from reports.names import listed, nearest
from reports.reading import Run

_CONDITION = re.compile(r"\s*([^!=<>\s]+)\s*(!=|<=|>=|==|=|<|>)\s*(.*?)\s*", re.DOTALL)
_DATES = ("start", "end")  # ordered as text, which is how times in ISO 8601 are ordered
_TOLD = 12  # values or fields named in an error


@dataclass(frozen=True)
class Condition:
    """One condition, as it was typed and taken apart."""

    text: str
    field: str
    operator: str
    values: tuple[str, ...]

    def holds(self, fields: Mapping[str, Any]) -> bool:
        """Whether a run with these fields takes part; one that lacks the field has no value that could be equal."""
        found = fields.get(self.field, [])
        found = found if isinstance(found, list) else [found]
        if self.operator in ("=", "!="):
            equal = any(_equal(one, wanted) for one in found for wanted in self.values)
            return equal == (self.operator == "=")
        return any(_ordered(one, self.operator, self.values[0], self.field in _DATES) for one in found)


def condition(text: str) -> Condition:
    """A condition from its text.

    Raises:
        ValueError: it is not FIELD, an operator and a value.

    >>> condition("seed<3")
    Condition(text='seed<3', field='seed', operator='<', values=('3',))
    >>> condition("seed")
    Traceback (most recent call last):
    ValueError: where 'seed' is no condition: write FIELD=VALUE[,VALUE...], !=, <, <=, > or >=, e.g. variant=equal
    """
    parts = _CONDITION.fullmatch(text)
    if parts is None:
        raise ValueError(
            f"where '{text}' is no condition: write FIELD=VALUE[,VALUE...], !=, <, <=, > or >=, e.g. variant=equal"
        )
    field, operator, value = parts.groups()
    operator = "=" if operator == "==" else operator
    values = tuple(one.strip() for one in value.split(",")) if operator in ("=", "!=") else (value,)
    if operator not in ("=", "!=") and field not in _DATES and isnan(_number(value)):
        raise ValueError(f"where '{text}': {operator} compares numbers, got '{value}'")
    return Condition(text, field, operator, values)


def selected(runs: Sequence[Run], where: str | Iterable[str]) -> list[Run]:
    """The runs for which every condition holds.

    Args:
        runs: of any experiments.
        where: one condition or several. Fields are those of `fields_of`; names are also patterns with ``*``, ``?`` and
            ``[...]``, numbers are compared as numbers.

    Raises:
        ValueError: no condition, a field that none of the runs has (with the nearest one), or no run is left.
    """
    conditions = [condition(text) for text in ([where] if isinstance(where, str) else where)]
    if not conditions:
        return list(runs)
    kept = [(run, fields_of(run)) for run in runs]
    known = list(dict.fromkeys(name for _, fields in kept for name in fields))
    for one in conditions:
        if one.field not in known:
            raise ValueError(
                f"where '{one.text}': the runs have no field '{one.field}'; {nearest(one.field, known, most=_TOLD)}"
            )
        before, kept = kept, [(run, fields) for run, fields in kept if one.holds(fields)]
        if not kept:
            there = _values([fields for _, fields in before], one.field)
            raise ValueError(f"where '{one.text}' leaves none of {len(before)} runs; {one.field}: {there}")
    return [run for run, _ in kept]


def fields_of(run: Run) -> dict[str, Any]:
    """What a run can be chosen by: its own fields, and config, cost, data, versions and hardware by dotted names."""
    info = run.info
    fields = {
        "experiment": info["experiment"]["name"],
        "variant": run.variant,
        "seed": run.seed,
        "status": run.status,
        "task": [task["name"] for task in info["tasks"]],
        "run": run.path.name,
        "folder": [run.path.resolve().parent.name, run.path.parent.as_posix()],
    }
    fields |= {
        name: info[name] for name in ("start", "end", "wall_s", "commit", "dirty", "host") if name in info
    }
    fields |= _flat("config", run.config)
    for name in ("cost", "data", "versions", "hardware"):
        fields |= _flat(name, info[name])
    return fields


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {
        name: item for key, part in value.items() for name, item in _flat(f"{prefix}.{key}", part).items()
    }


def _equal(found: Any, wanted: str) -> bool:
    told = _told(found)
    if told == wanted or _number(told) == _number(wanted):
        return True
    if found is None or isinstance(found, bool):
        return told == wanted.casefold() or (found is None and wanted in ("", "None"))
    return any(sign in wanted for sign in "*?[") and fnmatchcase(told, wanted)


def _ordered(found: Any, operator: str, wanted: str, as_text: bool) -> bool:
    a, b = (str(found), wanted) if as_text else (_number(_told(found)), _number(wanted))
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[operator]  # type: ignore[operator]  # alike


def _told(value: Any) -> str:
    """A value as one types it in YAML."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


@cache
def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return nan


def _values(rows: Sequence[Mapping[str, Any]], field: str) -> str:
    """The different values of a field in words, numbers in their order."""
    found = [
        one
        for row in rows
        if field in row
        for one in (row[field] if isinstance(row[field], list) else [row[field]])
    ]
    different = sorted(dict.fromkeys(_told(one) for one in found), key=lambda text: (_number(text), text))
    return listed(different, most=_TOLD) or "no value"
