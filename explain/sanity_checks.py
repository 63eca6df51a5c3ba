"""May a method's maps be trusted at all? What becomes of them when the model, or what is explained, is another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pandas as pd
import torch
from torch import Tensor, nn

from explain.batching import rows_at_once
from explain.guard import guarded, untouched
from explain.inputs import Inputs, lay_out
from explain.metrics.features import features_of
from explain.metrics.randomisation import (
    ParameterRandomisation,
    RandomLogit,
    cascade,
    off_path_change,
)
from explain.metrics.similarity import SIMILARITIES
from explain.metrics.subject import Subject, make_subject
from explain.names import lookup
from explain.options import checked_call
from explain.outputs import named_outputs, unwrap
from explain.saliency import make_method
from explain.targets import Target

R = TypeVar("R")
ALIKE, APART = (
    0.8,
    0.5,
)  # similarities: above the one a map has hardly changed, up to the other it is another map
WORDS = {  # check: what is said of a map that passes, that is in doubt, that fails
    "last layer": (
        "changes when the task's last layer is random",
        "keeps much of itself when the task's last layer is random",
        "hardly changes when the task's last layer is random",
    ),
    "all layers": (
        "changes when all of the task's layers are random",
        "keeps much of itself when all of the task's layers are random",
        "hardly changes when all of the task's layers are random",
    ),
    "another class": (
        "is another map for another class",
        "keeps much of itself for another class",
        "is the same whatever the class",
    ),
    "other layers": (
        "does not depend on layers that the task does not use",
        "",
        "depends on layers that the task does not use",
    ),
}
VERDICTS = ("passes", "in doubt", "fails")


def sanity(
    model: nn.Module,
    inputs: Inputs,
    *,
    method: str = "gradient",
    method_options: Mapping[str, Any] | None = None,
    target: Target | Mapping[str, Target] = "predicted",
    score: str | Mapping[str, str] = "logit",
    similarity: str = "spearman",
    steps: int = 10,
    draws: int = 3,
    seed: int = 0,
    batch_size: int | None = None,
) -> pd.DataFrame:
    """What a method's maps depend on, with a verdict in words: one row a task and check, then one for all checks.

    The checks: the similarity of the map with what it is after the task's last layer, and after all layers of its path,
    have been made random (Adebayo et al. 2018); its similarity with the map of another class (Sixt et
    al. 2020); and how much it changes when all layers that the task does not use are made random, which must be 0. A
    similarity of 0.5 or less passes, above 0.8 it fails, between them the verdict is "in doubt". To pass is necessary
    and not sufficient: noise that depends on the weights passes too.

    Args:
        model, inputs, target, score, seed, batch_size: as for `saliency`; a few dozen examples are enough.
        method: a name in `explain.METHODS`.
        method_options: and its options.
        similarity: ``"spearman"`` or ``"cosine"``.
        steps: of a cascade, at most.
        draws: cascades, each with random weights of its own, to average over.

    Returns:
        Columns task, check, value (mean over examples and draws), absolute (the same of the maps' absolute values),
        verdict ("passes", "in doubt", "fails", "not defined"), words. The check of the last row of a task is "all".

    Raises:
        ValueError, TypeError: as `saliency`; and a model that cannot be copied, or that has no parameters.

    Cost: draws x steps + tasks + 2 explanations of all tasks together.

    >>> table = sanity(nn.Linear(6, 3), torch.rand(4, 6), method="image")
    >>> table[["check", "value", "verdict"]].values.tolist()[:2]
    [['last layer', 1.0, 'fails'], ['all layers', 1.0, 'fails']]
    """
    if not isinstance(draws, int) or draws < 1:
        raise ValueError(f"draws must be an integer >= 1, got {draws!r}")
    ParameterRandomisation(similarity=similarity, steps=steps)  # checks both

    def run(
        subject: Subject, maps: dict[str, Tensor]
    ) -> tuple[pd.DataFrame, dict[str, Tensor], dict[str, Tensor]]:
        curves = [_curve(subject, maps, similarity, "top_down", steps, draw) for draw in range(draws)]
        other = RandomLogit(similarity=similarity)(subject, maps)
        return pd.concat(curves), other, off_path_change(subject, maps)

    curve, other, mixed = _with_subject(
        run, model, inputs, method, method_options, target, score, seed, batch_size
    )
    rows = []
    for task in mixed:
        own = curve[curve["task"] == task]
        first, last = own[own["step"] == own["step"].min()], own[own["step"] == own["step"].max()]
        values = {
            "last layer": (first["signed"].mean(), first["absolute"].mean()),
            "all layers": (last["signed"].mean(), last["absolute"].mean()),
            "another class": (other[task].nanmean().item(), torch.nan),
            "other layers": (mixed[task].max().item(), torch.nan),
        }
        rows += _judged(task, values)
    return pd.DataFrame(rows)


def randomisation_curve(
    model: nn.Module,
    inputs: Inputs,
    *,
    method: str = "gradient",
    method_options: Mapping[str, Any] | None = None,
    target: Target | Mapping[str, Target] = "predicted",
    score: str | Mapping[str, str] = "logit",
    similarity: str = "spearman",
    order: str = "top_down",
    steps: int = 10,
    draw: int = 0,
    seed: int = 0,
    batch_size: int | None = None,
) -> pd.DataFrame:
    """How alike the maps stay while one layer after another becomes random, by layer.

    Args:
        model, inputs, target, score, seed, batch_size: as for `saliency`.
        method: a name in `explain.METHODS`.
        method_options: and its options.
        similarity, order, steps: as for the metric ``parameter_randomisation``, which is the mean over the steps.
        draw: which random weights.

    Returns:
        Columns task, step (1, 2, ...; a task has no row for a step without layers of its own), layers (those that
        became random in this step, by name), example, signed (similarity of the maps), absolute (of their absolute
        values).

    Raises:
        ValueError, TypeError: as `saliency`; and a model that cannot be copied, or that has no parameters.

    Cost: as ``parameter_randomisation``.

    >>> model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> randomisation_curve(model, torch.rand(4, 6)).groupby("step")["layers"].first().tolist()
    ['2', '0']
    """
    ParameterRandomisation(similarity=similarity, order=order, steps=steps)  # checks all three

    def run(subject: Subject, maps: dict[str, Tensor]) -> pd.DataFrame:
        return _curve(subject, maps, similarity, order, steps, draw)

    return _with_subject(run, model, inputs, method, method_options, target, score, seed, batch_size)


def data_randomisation(
    model: nn.Module,
    randomised_model: nn.Module,
    inputs: Inputs,
    *,
    method: str = "gradient",
    method_options: Mapping[str, Any] | None = None,
    target: Target | Mapping[str, Target] = "predicted",
    score: str | Mapping[str, str] = "logit",
    similarity: str = "spearman",
    seed: int = 0,
    batch_size: int | None = None,
) -> pd.DataFrame:
    """How alike the maps of a model are to those of one that was trained on permuted labels.

    Both are explained for the same classes, those of ``model``. Near 0: the map shows what was learnt of the labels.
    Source: Adebayo et al. 2018 ("data randomization test").

    Args:
        model: trained on the true labels.
        randomised_model: the same architecture, trained on permuted labels.
        inputs, target, score, seed, batch_size: as for `saliency`.
        method: a name in `explain.METHODS`.
        method_options: and its options; no modules.
        similarity: ``"spearman"`` or ``"cosine"``.

    Returns:
        Columns task, example, signed (similarity of the maps), absolute (of their absolute values).

    Raises:
        ValueError, TypeError: as `saliency`; and two models that are one, or whose outputs differ.

    Cost: two explanations of all tasks together.

    >>> frame = data_randomisation(nn.Linear(6, 3), nn.Linear(6, 3), torch.rand(4, 6))
    >>> frame.columns.tolist(), len(frame)
    (['task', 'example', 'signed', 'absolute'], 4)
    """
    if not isinstance(randomised_model, nn.Module):
        raise TypeError(f"randomised_model must be an nn.Module, got {type(randomised_model).__name__}")
    lookup("similarity", similarity, SIMILARITIES)
    random = unwrap(randomised_model)
    if isinstance(model, nn.Module) and random is unwrap(model):
        raise ValueError("data_randomisation compares two models, and got the same one twice")

    def run(subject: Subject, maps: dict[str, Tensor]) -> pd.DataFrame:
        _check_outputs(subject, random)
        again = subject.explain(random, subject.inputs)
        frames = [
            pd.DataFrame({"task": task, "example": range(len(one)), **_alike(one, again[task], similarity)})
            for task, one in maps.items()
        ]
        return pd.concat(frames, ignore_index=True)

    return _with_subject(run, model, inputs, method, method_options, target, score, seed, batch_size)


def _with_subject(
    run: Callable[[Subject, dict[str, Tensor]], R],
    model: nn.Module,
    inputs: Inputs,
    method: str,
    method_options: Mapping[str, Any] | None,
    target: Target | Mapping[str, Target],
    score: str | Mapping[str, str],
    seed: int,
    batch_size: int | None,
) -> R:
    """What ``run`` gives for the model as a subject with its method and for the maps of all tasks."""
    stripped = checked_call(model, batch_size, seed)
    apply = make_method(method, method_options or {})
    layout, joined = lay_out(inputs)

    def work() -> R:
        subject = make_subject(
            stripped,
            layout,
            joined,
            task=None,
            target=target,
            score=score,
            baseline=torch.zeros_like(joined),
            features=features_of(layout, joined),
            rows=batch_size or rows_at_once(joined.shape[1:]),
            seed=seed,
        )
        subject = dataclasses.replace(subject, method=apply)
        return run(subject, subject.explain(stripped, joined))

    return guarded(stripped, joined.device, work)


def _check_outputs(subject: Subject, random: nn.Module) -> None:
    """Raise unless the other model gives every task that is explained, with as many classes."""
    _, few = next(subject.parts())
    with untouched(random, few.inputs.device), torch.no_grad():
        try:
            outputs = named_outputs(few.layout.call(random, few.inputs, few.scorers[0].rows))
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"data_randomisation: randomised_model cannot take the inputs: {reason}"
            ) from error
    ours = {task: list(output.shape[1:]) for task, output in few.outputs().items()}
    theirs = {task: list(output.shape[1:]) for task, output in outputs.items()}
    if any(theirs.get(task) != shape for task, shape in ours.items()):
        raise ValueError(
            f"data_randomisation: both models must give the same outputs, got [B, ...] with {ours} and {theirs}"
        )


def _curve(
    subject: Subject, maps: Mapping[str, Tensor], similarity: str, order: str, steps: int, draw: int
) -> pd.DataFrame:
    frames = []
    for step, (layers, again) in enumerate(cascade(subject, order, steps, draw), start=1):
        for task, random in again.items():
            found = {
                "task": task,
                "step": step,
                "layers": ", ".join(layers[task]),
                "example": range(len(random)),
                **_alike(maps[task], random, similarity),
            }
            frames.append(pd.DataFrame(found))
    return pd.concat(frames, ignore_index=True)


def _alike(one: Tensor, other: Tensor, similarity: str) -> dict[str, Any]:
    measure = SIMILARITIES[similarity]
    return {
        "signed": measure(one, other).cpu().numpy(),
        "absolute": measure(one.abs(), other.abs()).cpu().numpy(),
    }


def _judged(task: str, values: Mapping[str, tuple[float, float]]) -> list[dict[str, Any]]:
    """A row for each check, and the one that sums them up."""
    rows: list[dict[str, Any]] = []
    said: dict[str, list[str]] = {verdict: [] for verdict in VERDICTS}
    for check, (value, absolute) in values.items():
        if value != value:
            verdict, words = (
                "not defined",
                "the maps are constant, or the score is not that of one class of several",
            )
        else:
            limits = (0.0, 0.0) if check == "other layers" else (APART, ALIKE)
            level = int(value > limits[0]) + int(value > limits[1])
            verdict, words = VERDICTS[level], WORDS[check][level]
            said[verdict].append(words)
        rows.append(
            {
                "task": task,
                "check": check,
                "value": value,
                "absolute": absolute,
                "verdict": verdict,
                "words": words,
            }
        )
    overall = next((verdict for verdict in reversed(VERDICTS) if said[verdict]), "not defined")
    words = "; ".join(said.get(overall, []))
    absolute = values["all layers"][1]
    if overall == "passes" and absolute > ALIKE:
        words += f"; by its signs alone: its absolute value stays alike ({absolute:.2f}), and shows the input"
    rows.append(
        {
            "task": task,
            "check": "all",
            "value": torch.nan,
            "absolute": torch.nan,
            "verdict": overall,
            "words": words,
        }
    )
    return rows
