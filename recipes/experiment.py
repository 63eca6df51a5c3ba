"""``experiment.json``, the first file of an experiment's folder: what was asked for, so that it can be continued."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from recipes import RECIPES
from recipes.config import RunOptions, UsageError, from_plain, nearest, plain
from reports.files import write_json

FILE = "experiment.json"


class Experiment(NamedTuple):
    """A recipe and its options."""

    recipe: str
    options: Any


def save_experiment(folder: Path, recipe: str, options: RunOptions, command: Sequence[str]) -> None:
    """Write it, whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    content = {"recipe": recipe, "command": list(command), "options": plain_options(options)}
    try:
        write_json(folder / FILE, content)
    except OSError as error:
        raise UsageError(f"cannot write {folder / FILE}: {error.strerror}") from error


def load_experiment(folder: Path) -> Experiment:
    """What was asked for in ``folder``, which the options now name as ``out``.

    Raises:
        UsageError: a damaged file, or a recipe or an option that is not there (any more).
    """
    file = folder / FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        recipe, values = str(content["recipe"]), content["options"]
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} is damaged: {error!r}") from error
    return Experiment(recipe, dataclasses.replace(options_of(recipe, values, str(file)), out=folder))


def options_of(recipe: str, values: Any, where: str) -> Any:
    """A recipe's options from plain values."""
    if recipe not in RECIPES:
        raise UsageError(f"{where}: no recipe '{recipe}'; {nearest(recipe, RECIPES)}")
    return from_plain(values, import_module(f"recipes.{recipe}").Options, where)


def plain_options(options: RunOptions) -> dict[str, Any]:
    """The options as plain values."""
    return {field.name: plain(getattr(options, field.name)) for field in dataclasses.fields(options)}
