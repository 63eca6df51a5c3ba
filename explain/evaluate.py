"""Scores of maps, one number an example, always beside controls that know nothing of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from torch import Tensor, nn

from explain.baselines import Baseline, expanded
from explain.batching import rows_at_once
from explain.features import Features
from explain.guard import guarded
from explain.inputs import Inputs, lay_out
from explain.metrics import GROUPS, METRICS
from explain.metrics.features import features_of
from explain.metrics.given import (
    GIVEN,
    blank,
    check_tasks,
    checked_maps,
    checked_masks,
    make_controls,
    named_controls,
)
from explain.metrics.scoring import Values, of_maps, with_method, with_model
from explain.metrics.subject import make_subject
from explain.names import lookup, made, unknown
from explain.options import checked_call
from explain.outputs import SINGLE
from explain.saliency import make_method
from explain.targets import Target

COLUMNS = ["example", "task", "metric", "region", "map", "value", "higher_is_better"]


def evaluate(
    model: nn.Module,
    inputs: Inputs,
    maps: Any,
    *,
    metrics: str | Sequence[str] = ("localisation",),
    masks: Mapping[str, Tensor] | None = None,
    task: str | None = None,
    target: Target | Mapping[str, Target] = "predicted",
    score: str | Mapping[str, str] = "logit",
    baseline: Baseline = 0.0,
    features: Features = None,
    size: int | None = None,
    method: str | None = None,
    method_options: Mapping[str, Any] | None = None,
    controls: Sequence[str] = ("random", "image"),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Score maps, and beside each the same score of controls: a random map and the image itself.

    All tasks are scored from the same perturbed forward passes. The model runs as in `saliency`, and is afterwards as
    it was; metrics of maps and masks alone do not run it.

    Args:
        model: the module that was explained.
        inputs: what was explained, as for `saliency`.
        maps: {task: map like the inputs} as `saliency` gives, for some or all of the model's tasks; or one map, of a
            model that gives a lone tensor, or of ``task``.
        metrics: names in `explain.METRICS`; ``"localisation"`` stands for relevance mass and pointing game.
        masks: {task: bool [B, H, W]}, where the evidence for each task is known to be; may hold more tasks than
            ``maps``. Every map is scored in every mask: in its own task's (higher is better) and in the others', where
            it is leakage (lower is better). Needed by the metrics of the kind ``"mask"``.
        task: whose map ``maps`` is, where it is one map.
        target: what was explained, as for `saliency`.
        score: what of the target was explained, as for `saliency`.
        baseline: what stands for an absent input: a number, [*S], [B, *S], ``"mean"`` (each channel's own mean) or
            ``"blur"``.
        features: what is taken away together: ``"each"`` pixel over channels, token or column, also where None;
            ``"grid"``, ``"superpixels"``, or integer ids, as for the method feature_ablation.
        size: cells along each side of a grid, or about how many superpixels.
        method: the name of the method that made the maps, for the metrics that explain again.
        method_options: and its options.
        controls: of ``"random"``, ``"image"``, ``"edges"``: methods that know nothing of the model.
        options: {metric: {option: value}}; ``help(explain.METRICS[metric])``.
        batch_size: examples a forward pass, 4 to 32 by the input's size where None; it does not change the scores.
        seed: of the random control and of the metrics that draw; each example has a stream of its own.
        progress: a bar on standard error.

    Returns:
        One row a number: example, task (whose map), metric, region (the task whose mask it is; "" where no mask is in
        play), map ("given" or a control), value, higher_is_better. NaN where a score is not defined (an empty mask, a
        map of zeros). Averages and intervals are for the reader of the table: examples of one model are not independent
        models.

    Raises:
        ValueError: unknown metrics, options or tasks, masks that are missing or misshapen, maps that do not fit the
            inputs or are not finite, and what `saliency` raises.
        TypeError: arguments of another type.

    >>> import torch
    >>> images, masks = torch.rand(2, 1, 4, 4), {"a": torch.ones(2, 4, 4, dtype=torch.bool)}
    >>> frame = evaluate(torch.nn.Identity(), images, {"a": images}, masks=masks)
    >>> frame.groupby(["metric", "map"])["value"].mean().unique().tolist()
    [1.0]
    """
    stripped = checked_call(model, batch_size, seed)
    chosen = make_metrics(metrics, options or {})
    again = [name for name, metric in chosen.items() if metric.kind == "method"]
    if again and method is None:
        raise ValueError(f"{again} explain again: give method=, the name of the method that made the maps")
    beside = make_controls(controls)
    makers = {GIVEN: make_method(method, method_options or {})} if method is not None else {}
    layout, joined = lay_out(inputs)
    named = checked_maps(maps, layout, joined, task)
    masked = any(metric.kind == "mask" for metric in chosen.values())
    regions = checked_masks(masks, joined, layout) if masked else {}
    nothing = blank(layout, len(joined))
    every = named_controls(named, beside, nothing, joined, seed)
    values = of_maps(chosen, every, regions)
    if any(metric.kind in ("model", "method") for metric in chosen.values()):
        away, groups = (
            expanded("evaluate", baseline, joined, nothing),
            features_of(layout, joined, features, size),
        )

        def run() -> Values:
            subject = make_subject(
                stripped,
                layout,
                joined,
                task=next(iter(named)) if len(named) == 1 and list(named) != [SINGLE] else None,
                target=target,
                score=score,
                baseline=away,
                features=groups,
                rows=batch_size or rows_at_once(joined.shape[1:]),
                seed=seed,
                progress=progress,
            )
            check_tasks(named, subject.tasks)
            return with_model(chosen, subject, every) | with_method(chosen, subject, every, makers | beside)

        values |= guarded(stripped, joined.device, run)
    return _table(chosen, values, list(named), [GIVEN, *beside])


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
    return {name: made("metric", name, METRICS, options.get(name, {})) for name in names}


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
