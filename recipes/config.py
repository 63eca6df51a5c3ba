"""Options of a recipe: a frozen dataclass, filled from a YAML file and then from the command line.

Nothing here imports torch, so that ``--help`` and a mistyped option answer at once.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import yaml

from recipes.sinks import SINKS
from reports.names import nearest as nearest

C = TypeVar("C")


@dataclass(frozen=True)
class RunOptions:
    """What every recipe takes."""

    out: Path = Path("runs")
    """Folder for the run directories and report.html; must be absent or empty."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run of each variant a seed; intervals need at least two."""
    workers: int = 0
    """Runs at a time, each in its own process; 0: one a core."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1, mps."""
    sinks: tuple[str, ...] = ()
    """Where records go beside metrics.jsonl: tensorboard, mlflow, wandb; each is an extra."""

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise UsageError(f"seeds must be one or more different numbers >= 0, got {list(self.seeds)}")
        at_least(self, 0, "workers")
        if self.sinks:
            chosen("sinks", self.sinks, SINKS)


class UsageError(Exception):
    """A mistake in what was typed: one line for the user, exit status 2."""


def load_yaml(file: Path, options: type[C], default: C | None = None) -> C:
    """Options from a YAML mapping over ``default``; unknown keys and wrong types are refused with their line.

    Raises:
        UsageError: no such file, broken YAML, an unknown key (with the nearest valid one), or a value of
            another type than the option's.
    """
    node, values = read_mapping(file)
    base = options() if default is None else default
    if node is None:
        return base
    hints = typing.get_type_hints(options)
    seen: set[str] = set()
    for key_node, _ in node.value:
        key, where = str(key_node.value), f"{file}, line {key_node.start_mark.line + 1}"
        if key not in hints:
            raise UsageError(f"{where}: no option '{key}'; {nearest(key, hints)}")
        if key in seen:
            raise UsageError(f"{where}: option '{key}' is given twice")
        seen.add(key)
        values[key] = convert(values[key], hints[key], f"{where}: {key}")
    return dataclasses.replace(base, **values)  # type: ignore[type-var]  # a dataclass


def from_plain(values: Any, options: type[C], where: str) -> C:
    """The options that `plain` gave as plain values; the inverse of it.

    Raises:
        UsageError: not a mapping, an unknown name or a value of another type.
    """
    hints = typing.get_type_hints(options)
    if not isinstance(values, dict):
        raise UsageError(f"{where} must be a mapping, got a {type(values).__name__}")
    unknown = [name for name in values if name not in hints]
    if unknown:
        raise UsageError(f"{where}: no option '{unknown[0]}'; {nearest(unknown[0], hints)}")
    return options(
        **{name: convert(value, hints[name], f"{where}: {name}") for name, value in values.items()}
    )


def read_mapping(file: Path) -> tuple[yaml.MappingNode | None, dict[str, Any]]:
    """A YAML file that holds a mapping: its node, which knows the lines, and its values; None and {} where empty.

    Raises:
        UsageError: no such file, not UTF-8, broken YAML, or something else than a mapping.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 text") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise UsageError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from error
    if node is None:
        return None, {}
    if not isinstance(node, yaml.MappingNode) or not isinstance(values, dict):
        raise UsageError(f"{file} must hold `option: value` lines, got a {type(values).__name__}")
    return node, values


def dump_yaml(config: Any) -> str:
    """The options as YAML, each with its comment; `load_yaml` gives the same options back."""
    comments, lines = _comments(type(config)), []
    for field in dataclasses.fields(config):
        comment = comments.get(field.name, "")
        value = plain(getattr(config, field.name))
        flow = None if isinstance(value, list) else False  # lists in one line
        text = yaml.dump(
            {field.name: value}, Dumper=_Dumper, default_flow_style=flow, allow_unicode=True, width=10_000
        )
        lines.append((f"# {comment}\n" if comment else "") + text)
    return "".join(lines)


def plain(value: Any) -> Any:
    """An option's value as YAML and JSON know it: tuples become lists, paths strings."""
    return (
        [plain(v) for v in value]
        if isinstance(value, tuple)
        else str(value)
        if isinstance(value, Path)
        else value
    )


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes `1e-3` for a string; people mean the number."""


class _Dumper(yaml.SafeDumper):
    """Quotes the strings that `_Loader` would take for numbers."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)$"),
        list("-+0123456789."),
    )


def convert(value: Any, hint: Any, where: str) -> Any:
    """``value`` as the option's type, or a UsageError that says what was expected."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return convert(value, next(a for a in arguments if a is not type(None)), where)
    if origin is Literal:
        if value not in arguments:
            raise UsageError(f"{where}: '{value}' is not valid; {nearest(str(value), map(str, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise UsageError(f"{where} must be a list, got {type(value).__name__}")
        return tuple(convert(item, arguments[0], where) for item in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise UsageError(f"{where} must be a mapping, got {type(value).__name__}")
        wrong = [key for key in value if type(key) is not str]
        if wrong:
            raise UsageError(f"{where}: the name {wrong[0]!r} is no text; put it in quotes")
        return {key: convert(item, arguments[1], f"{where}.{key}") for key, item in value.items()}
    if hint is float and type(value) is int:
        return float(value)
    if hint is Path and type(value) is str:
        return Path(value)
    if type(value) is not hint:
        raise UsageError(f"{where} must be {hint.__name__}, got {value!r} ({type(value).__name__})")
    return value


def at_least(options: Any, least: int, *names: str) -> None:
    """Raise unless each named option is at least ``least``."""
    for name in names:
        if getattr(options, name) < least:
            raise UsageError(f"{name} must be at least {least}, got {getattr(options, name)}")


def above_zero(options: Any, *names: str) -> None:
    """Raise unless each named option is a finite number above zero."""
    for name in names:
        if not 0 < getattr(options, name) < float("inf"):
            raise UsageError(f"{name} must be a number above 0, got {getattr(options, name)}")


def _comments(options: type) -> dict[str, str]:
    """Each field's docstring: the string literal below it, which tyro shows in ``--help`` too."""
    comments = {} if options.__base__ in (object, None) else _comments(options.__base__)
    source = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(options))).body[0])
    for field, after in zip(source.body, source.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
            text = getattr(after.value, "value", None)
            if isinstance(text, str):
                comments[typing.cast(ast.Name, field.target).id] = " ".join(text.split())
    return comments


def chosen(option: str, names: tuple[str, ...], known: Iterable[str] | None = None) -> None:
    """Raise unless ``names`` holds at least one name, each once, each among ``known`` (where given)."""
    if not names or len(set(names)) != len(names):
        raise UsageError(f"{option} must be one or more different names, got {list(names)}")
    for name in names:
        if known is not None and name not in known:
            raise UsageError(f"{option}: no '{name}' there; {nearest(name, known)}")
