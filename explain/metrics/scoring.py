"""Running metrics: of maps and masks alone, with the model, with the method."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from explain.methods import Method
from explain.metrics.given import GIVEN, Maps
from explain.metrics.subject import Subject

Values = dict[str, dict[tuple[str, str, str], Tensor]]  # metric: {(given or a control, task, region): [B]}


def of_maps(chosen: Mapping[str, Any], every: Maps, regions: Mapping[str, Tensor]) -> Values:
    """Scores of maps and masks, on the CPU, so that every device gives the same; a control is scored once for all."""
    values: Values = {}
    there = {id(m): m.cpu() for m in every.values()}
    for name, metric in chosen.items():
        if metric.kind == "maps":
            scored = {key: metric.values(m) for key, m in there.items()}
            values[name] = {(*key, ""): scored[id(m)] for key, m in every.items()}
        elif metric.kind == "mask":
            values[name] = {}
            for region, mask in regions.items():
                scored = {key: metric.values(m, mask) for key, m in there.items()}
                values[name] |= {(*key, region): scored[id(m)] for key, m in every.items()}
    return values


def with_model(chosen: Mapping[str, Any], subject: Subject, every: Maps) -> Values:
    """Scores that run the model, a micro-batch of examples after another."""
    pieces: dict[str, dict[tuple[str, str], list[Tensor]]] = {}
    run = {name: metric for name, metric in chosen.items() if metric.kind == "model"}
    if not run:
        return {}
    for rows, part in subject.scorers[0].steps(subject.parts(), total=len(subject.scorers)):
        own = {id(m): m[rows] for m in every.values()}  # a control stays one tensor, to be scored once
        for name, metric in run.items():
            for key, value in metric(part, {key: own[id(m)] for key, m in every.items()}).items():
                pieces.setdefault(name, {}).setdefault(key, []).append(value.cpu())
    return {
        name: {(*key, ""): torch.cat(found) for key, found in by_key.items()}
        for name, by_key in pieces.items()
    }


def with_method(
    chosen: Mapping[str, Any], subject: Subject, every: Maps, makers: Mapping[str, Method]
) -> Values:
    """Scores that explain again, of the method and of each control as if it were a method."""
    again = {name: metric for name, metric in chosen.items() if metric.kind == "method"}
    values: Values = {name: {} for name in again}
    for kind, make in makers.items() if again else ():
        own = {task: m for (of, task), m in every.items() if of == kind}
        explaining = dataclasses.replace(subject, method=make, memo={})
        if kind == GIVEN:
            _check_same(own, explaining.explain(subject.model, subject.inputs))
        for name, metric in again.items():
            values[name] |= {(kind, task, ""): v.cpu() for task, v in metric(explaining, own).items()}
    return values


def _check_same(maps: Mapping[str, Tensor], again: Mapping[str, Tensor]) -> None:
    """Raise where the method does not give the maps that are to be scored: its robustness would be another map's."""
    for task, found in maps.items():
        gap = (again[task] - found).abs().max()
        if not gap <= 1e-3 * found.abs().max():
            raise ValueError(
                f"the method gives another map of task '{task}' than the one to score (they differ by up to "
                f"{float(gap):.2g}, the map's largest value is {float(found.abs().max()):.2g}); give the method, "
                "method_options, target and seed that made it"
            )
