"""Provenance: every run with its status, and what they came from."""

from __future__ import annotations

import json
from typing import Any

import yaml

from reports.cells import number_cell
from reports.document import Cell, Fact, Section, Table, cells
from reports.places import places
from reports.tables import Experiment, number
from reports.wording import Say

NAMED = 12  # runs named one by one beside a fact; of more it is told how many


def provenance(experiment: Experiment, say: Say) -> Section:
    """Every run with its status, and what they came from: each different value once, with the runs it holds for."""
    runs, names = experiment.runs, places(experiment.runs)
    rows: list[list[str | Cell]] = [
        [name, run.variant, str(run.seed), say(f"provenance.status_{run.status}"), str(run.info.get("start", "")),
         number_cell(say, number(run.info.get("wall_s"))), Cell(str(len(run.check())), float(len(run.problems)))]
        for name, run in zip(names, runs, strict=True)
    ]  # fmt: skip
    columns = say("provenance.columns").split("|")
    table = Table(
        "runs", say("provenance.runs", runs=say.count("run", len(runs))), columns, cells(rows), labels=5
    )
    values = {
        "command": [" ".join(map(str, run.info["command"])) for run in runs],
        "commit": [commit_of(run.info, say) for run in runs],
        "data": [_lines(run.info["data"]) for run in runs],
        "selection": [run.info["selection"] for run in runs],
        "tuning": [run.info["tuning_budget"] for run in runs],
        "config": [
            yaml.safe_dump(_shared(run.config), sort_keys=False, allow_unicode=True) for run in runs
        ],
        "versions": [_lines(run.info["versions"]) for run in runs],
        "hardware": [_lines(run.info["hardware"]) for run in runs],
    }  # fmt: skip
    facts = [Fact(say(f"provenance.{key}"), _grouped(names, found, say)) for key, found in values.items()]
    return Section("provenance", say("provenance.heading"), tables=[table], facts=facts)


def commit_of(info: dict[str, Any], say: Say) -> str:
    """The commit a run was made from, and whether files differed from it."""
    if not info.get("commit"):
        return say("provenance.no_commit")
    return say("provenance.dirty", commit=info["commit"]) if info.get("dirty") else str(info["commit"])


def _grouped(names: list[str], found: list[str], say: Say) -> list[tuple[str, str]]:
    different: dict[str, list[str]] = {}
    for name, value in zip(names, found, strict=True):
        different.setdefault(value, []).append(name)
    return [
        (_who(own, len(different), say), value or say("provenance.unknown"))
        for value, own in different.items()
    ]


def _who(names: list[str], different: int, say: Say) -> str:
    if different == 1:
        return say("provenance.all")
    if len(names) > NAMED:
        more = say.count("run", len(names) - NAMED)
        return say("provenance.more", named=say("words.comma").join(names[:NAMED]), more=more)
    return say("words.comma").join(names)


def _shared(config: dict[str, Any]) -> dict[str, Any]:
    """The options without what differs by design from run to run."""
    return {name: value for name, value in config.items() if name not in ("seeds", "variants")}


def _lines(values: dict[str, Any]) -> str:
    return "\n".join(
        f"{k}: {v if isinstance(v, str | int | float) else json.dumps(v, ensure_ascii=False)}"
        for k, v in values.items()
    )
