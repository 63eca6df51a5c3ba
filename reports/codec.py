"""Frozen dataclasses as JSON and back, by their type hints: what is decoded equals what was encoded.

Fields at their default are left out, and come back as it. JSON has no NaN and no infinity: a float that is one becomes
``{"$": "nan"}``, and a mapping that has the key ``$`` itself is wrapped, so that it is not taken for one.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from math import isfinite
from typing import Any, TypeVar

T = TypeVar("T")
Swap = Callable[[Any], Any]


def encode(value: Any, hint: Any = None, swap: Swap = lambda part: part) -> Any:
    """A dataclass as plain JSON values.

    Args:
        value: a dataclass, of dataclasses, texts, numbers, lists, tuples and mappings.
        hint: its type; that of ``value`` where None.
        swap: called with each dataclass before it is encoded; gives what is encoded in its place.

    Raises:
        TypeError: a value that JSON cannot hold.

    >>> from reports.document import Cell
    >>> encode(Cell("a", float("inf")))
    {'text': 'a', 'value': {'$': 'inf'}}
    """
    hint = type(value) if hint is None else _without_none(hint)
    if value is None:
        return None
    if dataclasses.is_dataclass(hint):
        part, hints = swap(value), _hints(typing.cast(Hashable, hint))
        return {
            field.name: encode(getattr(part, field.name), hints[field.name], swap)
            for field in dataclasses.fields(hint)
            if not _is_default(field, getattr(part, field.name))
        }
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if kind is list or (kind is tuple and inner[1:] == (...,)):
        return [encode(item, inner[0], swap) for item in value]
    if kind is tuple:
        return [encode(item, one, swap) for item, one in zip(value, inner, strict=True)]
    if kind is dict:
        return _escaped({str(key): encode(item, inner[1], swap) for key, item in value.items()})
    return _free(hint(value) if hint in (float, int) else value)


def decode(value: Any, hint: type[T], swap: Swap = lambda part: part) -> T:
    """The dataclass that `encode` gave as plain values.

    Args:
        value, hint: as of `encode`.
        swap: called with each dataclass after it was decoded; gives what takes its place.

    Raises:
        ValueError: a value of another type than the hint's, or a field that is not known; it says where.

    >>> from reports.document import Cell
    >>> decode({"text": "a", "value": {"$": "inf"}}, Cell).value
    inf
    """
    return typing.cast(T, _decoded(value, hint, swap, hint.__name__))


def _decoded(value: Any, hint: Any, swap: Swap, where: str) -> Any:
    if value is None and _without_none(hint) is not hint:
        return None
    hint = _without_none(hint)
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        given, hints = _checked(value, dict, where), _hints(typing.cast(Hashable, hint))
        for name in given:
            if name not in hints:
                raise ValueError(f"{where} has an unknown field '{name}'")
        parts = {name: _decoded(item, hints[name], swap, f"{where}.{name}") for name, item in given.items()}
        try:
            return swap(typing.cast(Any, hint)(**parts))
        except TypeError as error:  # a field without default is missing
            raise ValueError(f"{where}: {error}") from None
    if kind in (list, tuple):
        items = _checked(value, list, where)
        each = [inner[0]] * len(items) if kind is list or inner[1:] == (...,) else inner
        if len(each) != len(items):
            raise ValueError(f"{where} must hold {len(each)} values, got {len(items)}")
        return kind(
            _decoded(item, one, swap, f"{where}[{i}]")
            for i, (item, one) in enumerate(zip(items, each, strict=True))
        )
    if kind is dict:
        given = _unescaped(_checked(value, dict, where))
        return {key: _decoded(item, inner[1], swap, f"{where}[{key!r}]") for key, item in given.items()}
    value = _freed(value)
    if hint is float and type(value) is int:
        return float(value)
    return value if hint is Any else _checked(value, hint, where)


def _checked(value: Any, kind: type, where: str) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{where} must be {kind.__name__}, got {type(value).__name__}")
    return value


def _free(value: Any) -> Any:
    """A value of any type as JSON."""
    if hasattr(value, "tolist"):  # numpy's
        value = value.tolist()
    if isinstance(value, Mapping):
        return _escaped({str(key): _free(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return [_free(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return {"$": str(value)}
    if not isinstance(value, str | int | float | None):
        raise TypeError(f"a report holds texts, numbers, lists and mappings, not a {type(value).__name__}")
    return value


def _freed(value: Any) -> Any:
    if isinstance(value, list):
        return [_freed(item) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("$"), str) and len(value) == 1:
        return float(value["$"])
    return {key: _freed(item) for key, item in _unescaped(value).items()}


def _escaped(given: dict[str, Any]) -> dict[str, Any]:
    return {"$": given} if "$" in given else given


def _unescaped(given: dict[str, Any]) -> dict[str, Any]:
    return given["$"] if isinstance(given.get("$"), dict) and len(given) == 1 else given


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    factory = field.default_factory
    default = field.default if factory is dataclasses.MISSING else factory()
    return type(default) is type(value) and bool(default == value)


def _without_none(hint: Any) -> Any:
    """X of ``X | None``; any other hint as it is."""
    if not isinstance(hint, types.UnionType) and typing.get_origin(hint) is not typing.Union:
        return hint
    (only,) = [one for one in typing.get_args(hint) if one is not type(None)]
    return only


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)
