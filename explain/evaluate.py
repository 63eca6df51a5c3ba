"""Scores of maps, one number an example, always beside controls that know nothing of the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor, nn

from explain.batching import ROWS
from explain.guard import untouched
from explain.methods import Method
from explain.metrics import GROUPS, METRICS
from explain.metrics.baselines import absent
from explain.metrics.features import given, pixels
from explain.metrics.subject import Subject, make_subject
from explain.names import lookup, unknown
from explain.outputs import SINGLE, unwrap
from explain.saliency import check_inputs, make_method
from explain.targets import Scorer, Target

COLUMNS = ["example", "task", "metric", "region", "map", "value", "higher_is_better"]
GIVEN = "given"
Maps = dict[tuple[str, str], Tensor]  # (given or a control, task): [B, *S]
Values = dict[str, dict[tuple[str, str, str], Tensor]]  # metric: {(given or a control, task, region): [B]}


def evaluate(
    model: nn.Module,
    inputs: Tensor,
    maps: Tensor | Mapping[str, Tensor],
    *,
    metrics: str | Sequence[str] = ("localisation",),
    masks: Mapping[str, Tensor] | None = None,
    target: Target | Mapping[str, Target] = "predicted",
    task: str | None = None,
    baseline: float | str | Tensor = 0.0,
    features: Tensor | None = None,
    method: str | None = None,
    method_options: Mapping[str, Any] | None = None,
    controls: Sequence[str] = ("random", "image"),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Score maps, and beside each the same score of controls: a random map and the image itself.

    All tasks are scored from the same perturbed forward passes. The model runs as in `saliency`, and is afterwards as
    it was; metrics of maps and masks alone do not run it.

    Args:
        model: the module that was explained.
        inputs: [B, *S], the explained inputs.
        maps: {task: [B, *S]} as `saliency` gives, for some or all of the model's tasks; or one tensor, of a model that
            gives a lone tensor, or of ``task``.
        metrics: names in `explain.METRICS`; ``"localisation"`` stands for relevance mass and pointing game.
        masks: {task: bool [B, H, W]}, where the evidence for each task is known to be; may hold more tasks than
            ``maps``. Every map is scored in every mask: in its own task's (higher is better) and in the others', where
            it is leakage (lower is better). Needed by the metrics of the kind ``"mask"``.
        target: what was explained, as for `saliency`.
        task: whose map ``maps`` is, where it is one tensor.
        baseline: what stands for an absent input: a number, [*S], [B, *S], ``"mean"`` (each channel's own mean) or
            ``"blur"``.
        features: integers [*S] or [B, *S], what is taken away together (superpixels); None: pixels over channels of
            [B, C, *P], tokens of [B, L, D], columns of [B, N].
        method: the name of the method that made the maps, for the metrics that explain again.
        method_options: and its options.
        controls: names in `explain.METHODS` of maps that know nothing of the model.
        options: {metric: {option: value}}; ``help(explain.METRICS[metric])``.
        batch_size: examples a forward pass; it does not change the scores.
        seed: of the random control and of the metrics that draw; each example has a stream of its own.

    Returns:
        One row a number: example, task (whose map), metric, region (the task whose mask it is; "" where no mask is in
        play), map ("given" or a control), value, higher_is_better. NaN where a score is not defined (an empty mask, a
        map of zeros). Averages and intervals are for the reader of the table: examples of one model are not independent
        models.

    Raises:
        ValueError: unknown metrics or options, masks that are missing or misshapen, maps that do not fit the inputs.

    >>> import torch
    >>> images, masks = torch.rand(2, 1, 4, 4), {"a": torch.ones(2, 4, 4, dtype=torch.bool)}
    >>> frame = evaluate(torch.nn.Identity(), images, {"a": images}, masks=masks)
    >>> frame.groupby(["metric", "map"])["value"].mean().unique().tolist()
    [1.0]
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    chosen = make_metrics(metrics, options or {})
    check_inputs(inputs)
    inputs = inputs.detach()
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size must be an integer >= 1, got {batch_size!r}")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an integer >= 0, got {seed!r}")
    named = _checked_maps(maps, inputs, task)
    regions = _checked_masks(masks, inputs) if any(m.kind == "mask" for m in chosen.values()) else {}
    makers = {name: make_method(name, {}) for name in dict.fromkeys(controls)}
    every: Maps = {(GIVEN, name): m for name, m in named.items()}
    for control, make in makers.items():
        shared = make(cast(Scorer, _blank), inputs, 0, seed)[
            0
        ]  # a control asks the model for no more than its tasks
        every |= {(control, name): shared for name in named}
    values = _of_maps(chosen, every, regions)
    again = {n: m for n, m in chosen.items() if m.kind == "method"}
    if again and method is None:
        raise ValueError(f"{list(again)} explain again: give method=, the method that made the maps")
    explainer = make_method(method, method_options or {}) if method is not None else None
    if again or any(m.kind == "model" for m in chosen.values()):
        model = unwrap(model)
        with untouched(model, inputs.device):
            subject = make_subject(
                model,
                inputs,
                task=next(iter(named)) if list(named) != [SINGLE] and len(named) == 1 else None,
                target=target,
                baseline=absent(baseline, inputs),
                features=pixels(inputs) if features is None else given(features, inputs),
                rows=batch_size or ROWS,
                seed=seed,
            )
            _check_tasks(named, subject.tasks)
            values |= _with_model(chosen, subject, every)
            if explainer is not None and again:
                values |= _with_method(again, subject, every, {GIVEN: explainer} | makers)
    return _table(chosen, values, list(named), [GIVEN, *makers])


def make_metrics(metrics: str | Sequence[str], options: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """{name: metric with its options}, or an error that gives the nearest valid name.

    >>> list(make_metrics("localisation", {}))
    ['relevance_mass', 'pointing_game']
    """
    asked = [metrics] if isinstance(metrics, str) else list(metrics)
    for name in asked:
        lookup("metric", name, dict(METRICS) | dict.fromkeys(GROUPS))
    names = list(dict.fromkeys(name for one in asked for name in GROUPS.get(one, (one,))))
    for name in options:
        if name not in names:
            raise unknown("metric to give options to", name, names)
    return {name: _make(name, options.get(name, {})) for name in names}


def _make(name: str, options: Mapping[str, Any]) -> Any:
    kind = METRICS[name]
    known = [field.name for field in dataclasses.fields(kind)]
    for option in options:
        if option not in known:
            raise unknown(f"option of metric '{name}'", option, known)
    try:
        return kind(**options)
    except TypeError as error:  # a value of another type than the option's, in the options' own checks
        raise TypeError(f"{name}: an option has a wrong type: {error}") from error


def _of_maps(chosen: Mapping[str, Any], every: Maps, regions: Mapping[str, Tensor]) -> Values:
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


def _with_model(chosen: Mapping[str, Any], subject: Subject, every: Maps) -> Values:
    """Scores that run the model, a micro-batch of examples after another."""
    pieces: dict[str, dict[tuple[str, str], list[Tensor]]] = {}
    for rows, part in subject.parts():
        own = {id(m): m[rows] for m in every.values()}  # a control stays one tensor, to be scored once
        for name, metric in chosen.items():
            if metric.kind == "model":
                for key, value in metric(part, {key: own[id(m)] for key, m in every.items()}).items():
                    pieces.setdefault(name, {}).setdefault(key, []).append(value.cpu())
    return {
        name: {(*key, ""): torch.cat(found) for key, found in by_key.items()}
        for name, by_key in pieces.items()
    }


def _with_method(
    again: Mapping[str, Any], subject: Subject, every: Maps, makers: Mapping[str, Method]
) -> Values:
    """Scores that explain again, of the method and of each control as if it were a method."""
    values: Values = {name: {} for name in again}
    for kind, make in makers.items():
        own = {task: m for (of, task), m in every.items() if of == kind}
        explaining = dataclasses.replace(subject, method=make, memo={})
        if kind == GIVEN:
            _check_same(own, explaining.explain(subject.model, subject.inputs))
        for name, metric in again.items():
            values[name] |= {(kind, task, ""): v.cpu() for task, v in metric(explaining, own).items()}
    return values


def _table(
    chosen: Mapping[str, Any], values: Values, tasks: Sequence[str], kinds: Sequence[str]
) -> pd.DataFrame:
    frames = []
    for task in tasks:
        for name, metric in chosen.items():
            regions = list(dict.fromkeys(region for _, _, region in values[name]))
            for region in regions:
                own = region in ("", task) or (task == SINGLE and len(regions) == 1)
                for kind in kinds:
                    value = values[name][kind, task, region]
                    frames.append(
                        pd.DataFrame(
                            {
                                "example": range(len(value)),
                                "task": task,
                                "metric": name,
                                "region": region,
                                "map": kind,
                                "value": value.double().numpy(),
                                "higher_is_better": metric.higher_is_better == own,
                            }
                        )
                    )
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)


def _checked_maps(maps: Tensor | Mapping[str, Tensor], inputs: Tensor, task: str | None) -> dict[str, Tensor]:
    """{task: map} on the inputs' device."""
    if isinstance(maps, Tensor):
        maps = {task or SINGLE: maps}
    elif task is not None:
        maps = {task: lookup("map of task", task, maps)}
    for name, found in maps.items():
        if not isinstance(found, Tensor) or found.shape != inputs.shape:
            got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"the map of task '{name}' must be like the inputs, {list(inputs.shape)}, got {got}"
            )
        if not found.is_floating_point():
            raise TypeError(f"the map of task '{name}' must be floating point, got {found.dtype}")
        if not torch.isfinite(found).all():
            bad = (~torch.isfinite(found)).flatten(1).any(1).nonzero()[:, 0]
            raise ValueError(
                f"the map of task '{name}' holds NaN or infinite values in {len(bad)} examples, "
                f"first example {int(bad[0])}"
            )
    return {name: found.detach().to(inputs.device) for name, found in maps.items()}


def _check_tasks(maps: Mapping[str, Tensor], tasks: Sequence[str]) -> None:
    for task in maps:
        if task not in tasks:
            if task == SINGLE:
                raise ValueError(
                    f"maps is one tensor and the model has the tasks {list(tasks)}: give task=, or {{task: map}}"
                )
            raise unknown("task", task, tasks)


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


def _blank(inputs: Tensor) -> Tensor:
    return inputs.new_zeros(len(inputs), 1)


def _checked_masks(masks: Mapping[str, Tensor] | None, inputs: Tensor) -> dict[str, Tensor]:
    """The masks on the CPU; the scores are computed there, so that every device gives the same."""
    if not masks:
        raise ValueError("localisation needs masks={task: bool [B, H, W]}")
    if inputs.dim() not in (3, 4):
        raise ValueError(f"localisation needs inputs [B, C, H, W] or [B, H, W], got {list(inputs.shape)}")
    expected = [len(inputs), *inputs.shape[-2:]]
    for task, mask in masks.items():
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or list(mask.shape) != expected:
            got = f"{mask.dtype} {list(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(f"the mask of task '{task}' must be bool {expected}, got {got}")
    return {task: mask.cpu() for task, mask in masks.items()}
