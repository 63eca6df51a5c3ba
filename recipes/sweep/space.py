"""The space file of a sweep: which options are searched, and where; strict, with the line of each mistake."""

from __future__ import annotations

import dataclasses
import itertools
import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from recipes.config import RunOptions, UsageError, convert, nearest, plain, read_mapping

# of every recipe: where and how it runs, and what a sweep decides itself
FIXED = (*(field.name for field in dataclasses.fields(RunOptions)), "variants")
RANGE_KEYS = ("low", "high", "log", "step")


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; int where the option is one."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def grid(self) -> list[float] | None:
        """Every value; None where they cannot be counted (a log scale, or a float without a step)."""
        whole = isinstance(self.low, int)
        step = self.step or (1 if whole and not self.log else None)
        if step is None:
            return None
        count = round((self.high - self.low) / step)
        values = [self.low + step * i for i in range(count + 1)]
        return values if whole else [round(value, 12) for value in values]

    def suggest(self, trial: Any, name: str) -> Any:
        """A value from an Optuna trial."""
        if isinstance(self.low, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log, step=self.step or 1)
        return trial.suggest_float(name, self.low, self.high, log=self.log, step=self.step)


@dataclass(frozen=True)
class Choices:
    """One of ``values``; a list among them is kept as JSON text in the storage, which knows plain values only."""

    values: tuple[Any, ...]

    def grid(self) -> list[Any]:
        return [_storable(value) for value in self.values]

    def suggest(self, trial: Any, name: str) -> Any:
        found = trial.suggest_categorical(name, self.grid())
        return self.values[self.grid().index(found)]


Dimensions = Mapping[str, Range | Choices]


@dataclass(frozen=True)
class Space:
    """What is searched for every variant, and for single ones beside or instead."""

    common: Dimensions
    variants: Mapping[str, Dimensions]

    def of(self, variant: str) -> Dimensions:
        return {**self.common, **self.variants.get(variant, {})}

    def grid(self, variant: str) -> list[dict[str, Any]]:
        """Every point of a variant's space, as the storage knows its values.

        Raises:
            UsageError: an option whose values cannot be counted.
        """
        axes = []
        for name, dimension in self.of(variant).items():
            values = dimension.grid()
            if values is None:
                raise UsageError(f"--sampler grid needs countable values: give {name} a step, or choices")
            axes.append([(name, value) for value in values])
        return [dict(point) for point in itertools.product(*axes)]

    def plain(self) -> dict[str, Any]:
        """The space as JSON knows it, to compare two."""

        def simple(dimensions: Dimensions) -> dict[str, Any]:
            return {
                name: {key: plain(value) for key, value in vars(dimension).items() if value is not None}
                for name, dimension in dimensions.items()
            }

        blocks = {f"variants.{name}": simple(block) for name, block in self.variants.items()}
        return simple(self.common) | blocks


def load_space(file: Path, options: RunOptions, variants: Sequence[str]) -> Space:
    """The space in a YAML file, checked against a recipe's options.

    ```yaml
    lr: {low: 1e-4, high: 1e-1, log: true}
    batch_size: {choices: [16, 32, 64]}
    variants:
      stochastic: {batch_size: {low: 8, high: 64, step: 8}}
    ```

    Args:
        file: the YAML file.
        options: those that the trials start from.
        variants: that the sweep runs.

    Raises:
        UsageError: an unknown option (with the nearest one), wrong bounds or types, each with its line.
    """
    node, values = read_mapping(file)
    if node is None:
        raise UsageError(
            f"{file} is empty; it must hold lines like `lr: {{low: 1e-4, high: 1e-1, log: true}}`"
        )
    entries = [(key, value) for key, value in node.value if key.value != "variants"]
    common = _dimensions(entries, values, options, str(file))
    blocks = {}
    for key, value in node.value:
        if key.value != "variants":
            continue
        where = f"{file}, line {key.start_mark.line + 1}"
        if not isinstance(value, yaml.MappingNode):
            raise UsageError(f"{where}: variants must hold `variant:` blocks")
        for name, block in value.value:
            where = f"{file}, line {name.start_mark.line + 1}"
            if name.value not in variants:
                raise UsageError(
                    f"{where}: no variant '{name.value}' in this sweep; {nearest(name.value, variants)}"
                )
            if not isinstance(block, yaml.MappingNode):
                raise UsageError(f"{where}: {name.value} must hold `option: {{...}}` lines")
            found = values["variants"][name.value]
            blocks[str(name.value)] = _dimensions(block.value, found, options, str(file))
    space = Space(common, blocks)
    for variant in variants:
        if not space.of(variant):
            raise UsageError(
                f"{file}: nothing to search for '{variant}'; give an option, or leave it out of --variants"
            )
    return space


def _dimensions(entries: list[Any], values: dict[str, Any], options: RunOptions, file: str) -> Dimensions:
    hints = typing.get_type_hints(type(options))
    known = [name for name in hints if name not in FIXED]
    found: dict[str, Range | Choices] = {}
    for key, _ in entries:
        name, where = str(key.value), f"{file}, line {key.start_mark.line + 1}"
        if name not in known:
            why = "is not searched in a sweep" if name in hints else "is no option of the recipe"
            raise UsageError(f"{where}: '{name}' {why}; {nearest(name, known)}")
        if name in found:
            raise UsageError(f"{where}: option '{name}' is given twice")
        made = _dimension(values[name], hints[name], f"{where}: {name}")
        ends = made.values if isinstance(made, Choices) else (made.low, made.high)
        found[name] = made
        for value in ends:
            try:
                dataclasses.replace(options, **{name: value})
            except UsageError as error:
                raise UsageError(f"{where}: {error}") from None
    return found


def _dimension(value: Any, hint: Any, where: str) -> Range | Choices:
    shape = "{low: , high: } with log or step, or {choices: [...]}"
    if not isinstance(value, dict):
        raise UsageError(f"{where} must be {shape}, got {value!r}")
    for key in value:
        if key not in (*RANGE_KEYS, "choices"):
            raise UsageError(f"{where}: no key '{key}'; {nearest(str(key), (*RANGE_KEYS, 'choices'))}")
    if "choices" in value:
        if len(value) > 1 or not isinstance(value["choices"], list) or not value["choices"]:
            raise UsageError(f"{where}: choices must be a list of one or more values, alone")
        choices = tuple(convert(item, hint, f"{where}: a choice") for item in value["choices"])
        if len({json.dumps(plain(item)) for item in choices}) != len(choices):
            raise UsageError(f"{where}: a choice is given twice")
        return Choices(choices)
    if "low" not in value or "high" not in value:
        raise UsageError(f"{where} must be {shape}")
    number = next((kind for kind in (*typing.get_args(hint), hint) if kind in (int, float)), None)
    if number is None or typing.get_origin(hint) is tuple:
        raise UsageError(f"{where} is no number; give {{choices: [...]}}")
    low, high = (convert(value[end], number, f"{where}: {end}") for end in ("low", "high"))
    log, step = value.get("log", False), value.get("step")
    if not -float("inf") < low < high < float("inf"):
        raise UsageError(f"{where}: low must be below high, got {low} and {high}")
    if type(log) is not bool:
        raise UsageError(f"{where}: log must be true or false, got {log!r}")
    if log and (low <= 0 or step is not None):
        raise UsageError(f"{where}: log needs low above 0 and no step")
    if step is not None:
        step = convert(step, number, f"{where}: step")
        count = (high - low) / step if step > 0 else 0
        if count < 1 or abs(count - round(count)) > 1e-6:
            raise UsageError(f"{where}: high must be low plus whole steps, got {low}, {high} and step {step}")
    return Range(low, high, log, step)


def _storable(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str | None) else json.dumps(plain(value))
