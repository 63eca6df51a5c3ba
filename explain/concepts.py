"""Concept activation vectors: does a task's score rise towards a concept, and more than towards random directions?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import ttest_ind_from_stats
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from explain.inputs import Inputs
from explain.layers.attribution import layer_attribution
from explain.outputs import SINGLE
from explain.targets import Target

HELD_OUT = 1 / 3  # of the examples of each side
LEAST = 6  # examples of a side: four to fit, two to test
COLUMNS = [
    "task", "concept", "layer", "score", "score_sd", "random_score", "random_sd", "cosine", "accuracy",
    "random_accuracy", "p_value", "p_corrected", "p_rank", "examples", "runs",
]  # fmt: skip


@dataclass(frozen=True)
class Directions:
    """Concept activation vectors of several runs.

    Args:
        vectors: [R, F] of length 1, towards the concept.
        accuracy: [R] of the classifiers on the examples held out, a fraction.
    """

    vectors: np.ndarray
    accuracy: np.ndarray


def tcav(
    model: nn.Module,
    inputs: Inputs,
    concepts: Mapping[str, Inputs],
    layer: str | nn.Module,
    task: str | None = None,
    *,
    random: Inputs,
    target: Target | Mapping[str, Target] = "predicted",
    score: str | Mapping[str, str] = "logit",
    runs: int = 20,
    classifier: Any = None,
    call: int | None = None,
    part: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """TCAV: for which share of the inputs does a task's score rise when the layer moves towards a concept?

    In each run a linear classifier separates the layer's activations of concept examples from those of random ones; the
    concept's direction is the normal of its boundary. The score is the share of inputs whose gradient at the layer has
    a positive product with it. Beside it stands a control made in the same way from random examples on both sides. All
    tasks share forwards, activations and directions.

    A direction means the concept only if ``accuracy`` on held-out examples is well above one half, and a score means
    something only if it lies outside those of the control. The runs draw anew from the same examples, so ``p_value``
    speaks of directions and not of other examples of the concept. Where the gradients of all inputs are nearly parallel
    (a linear head on the layer), every direction scores close to 0 or 1, also a random one: then the t test is too
    sure, and ``p_rank`` says so. Believe a concept where both are small.

    Source: Kim et al. 2018, sections 3.1 to 3.5. Equal to Captum's ``TCAV`` for the same directions; written anew since
    that one takes one output, keeps its vectors on disk under names that a second model would find again, splits by
    the global random state, and makes no control. Cost: one forward of every example, one backward a task as far as
    the layer of every input, and 2 x ``runs`` classifiers a concept.

    Args:
        model: as for `saliency`; also left as it was.
        inputs: [B, *S], of the class in question, with that class as the ``target``.
        concepts: {name: examples [N, *S]}, at least 6 of each.
        layer: a module of the model or its name, whose output is [B, *L].
        task: one task; None for all.
        random: examples [M, *S] of anything, at least 12; as many as all concepts together, or more, is best.
        target: as for `saliency`.
        score: as for `saliency`.
        runs: directions a concept.
        classifier: with ``fit``, ``predict`` and ``coef_``, e.g. sklearn's ``SGDClassifier(alpha=0.01)``, which the
            authors and Captum use; None: logistic regression, which needs no seed.
        call: as for `layer_attribution`.
        part: as for `layer_attribution`.
        batch_size: examples a micro-batch; it does not change the numbers.
        seed: of the draws; neither other concepts nor tasks change them.

    Returns:
        One row a task and concept: task, concept, layer; score and score_sd (mean and standard deviation over runs),
        random_score and random_sd (the control's), cosine (mean between gradient and direction), accuracy and
        random_accuracy (held out), p_value (two-sided Welch t test of the scores against the control's; NaN where
        neither varies), p_corrected (Holm, over all rows), p_rank ((1 + the number of control scores at least as far
        from their mean) / (1 + runs)), examples (of each side, a run), runs. Inputs with a product of exactly 0 are not
        counted; a score is NaN where that leaves none.

    Raises:
        ValueError: too few examples, a layer that a task does not use, a classifier that finds no direction.

    >>> model = nn.Sequential(nn.Identity(), nn.Linear(2, 1))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, 0.0]]))
    >>> draw = torch.Generator().manual_seed(0)
    >>> x, noise = (torch.randn(n, 2, generator=draw) for n in (4, 60))
    >>> table = tcav(model, x, {"right": noise[:20] + torch.tensor([9.0, 0])}, "0", random=noise[20:])
    >>> table[["score", "accuracy"]].values.tolist()
    [[1.0, 1.0]]
    """
    _check(concepts, runs, seed)
    options: dict[str, Any] = {"call": call, "part": part, "batch_size": batch_size}
    sensitivity = layer_attribution(
        model, inputs, layer, task, method="gradient", target=target, score=score, **options
    )
    if isinstance(sensitivity, Tensor):
        sensitivity = {task or SINGLE: sensitivity}
    gradients = {name: _flat(found) for name, found in sensitivity.items()}
    pool = _activations(model, random, layer, task, options)
    sides = {name: _activations(model, examples, layer, task, options) for name, examples in concepts.items()}
    units = next(iter(gradients.values())).shape[1]
    for name, examples in {
        "random": pool,
        **{f"concept '{name}'": side for name, side in sides.items()},
    }.items():
        if examples.shape[1] != units:
            raise ValueError(
                f"{name} gives {examples.shape[1]} units at the layer and the inputs {units}; all examples must have "
                "one shape"
            )
    for name, examples in sides.items():
        if len(examples) < LEAST:
            raise ValueError(f"concept '{name}' needs at least {LEAST} examples, got {len(examples)}")
    if len(pool) < 2 * LEAST:
        raise ValueError(f"random needs at least {2 * LEAST} examples, got {len(pool)}")
    model_of = LogisticRegression(C=10.0, max_iter=1000) if classifier is None else classifier
    controls: dict[int, Directions] = {}
    rows = []
    for concept, examples in sides.items():
        size = min(len(examples), len(pool) // 2)
        found = _directions(f"concept '{concept}'", model_of, examples, pool, size, runs, seed)
        if size not in controls:
            controls[size] = _directions("random", model_of, None, pool, size, runs, seed)
        for name, gradient in gradients.items():
            row = _row(gradient, found, controls[size])
            head = {"task": name, "concept": concept, "layer": _name(model, layer)}
            rows.append({**head, **row, "examples": size, "runs": runs})
    table = pd.DataFrame(rows)
    table["p_corrected"] = holm(table["p_value"].to_numpy())
    return table[COLUMNS]


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's correction for several tests (1979); NaN stays and does not count.

    >>> holm(np.array([0.01, 0.04, np.nan, 0.03])).round(2).tolist()
    [0.03, 0.06, nan, 0.06]
    """
    corrected = np.full(len(p_values), np.nan)
    there = np.flatnonzero(~np.isnan(p_values))
    order = there[np.argsort(p_values[there], kind="stable")]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def _row(gradient: np.ndarray, found: Directions, control: Directions) -> dict[str, float]:
    own, other = _scores(gradient, found.vectors), _scores(gradient, control.vectors)
    length = np.linalg.norm(gradient, axis=1)
    used = length > 0
    cosine = gradient[used] @ found.vectors.T / length[used, None]
    far = np.abs(other - other.mean()) >= abs(own.mean() - other.mean()) - 1e-12
    known = not np.isnan(own).any() and not np.isnan(other).any()
    return {
        "score": own.mean(),
        "score_sd": own.std(ddof=1),
        "random_score": other.mean(),
        "random_sd": other.std(ddof=1),
        "cosine": cosine.mean() if used.any() else np.nan,
        "accuracy": found.accuracy.mean(),
        "random_accuracy": control.accuracy.mean(),
        "p_value": _welch(own, other) if known else np.nan,
        "p_rank": (1 + far.sum()) / (1 + len(other)) if known else np.nan,
    }


def _scores(gradient: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The share of inputs [B, F] with a positive product, for each vector [R, F]: [R]."""
    products = gradient @ vectors.T
    counted = (products != 0).sum(0)
    return np.where(counted > 0, (products > 0).sum(0) / np.maximum(counted, 1), np.nan)


def _welch(own: np.ndarray, other: np.ndarray) -> float:
    spread = own.std(ddof=1), other.std(ddof=1)
    if max(spread) < 1e-12:
        return 1.0 if abs(own.mean() - other.mean()) < 1e-12 else float("nan")
    return float(
        ttest_ind_from_stats(
            own.mean(), spread[0], len(own), other.mean(), spread[1], len(other), equal_var=False
        ).pvalue
    )


def _directions(
    name: str, classifier: Any, examples: np.ndarray | None, pool: np.ndarray, size: int, runs: int, seed: int
) -> Directions:
    """The directions from random examples to ``examples``, or to other random ones where None."""
    vectors, accuracy = [], []
    for run in range(runs):
        order = np.random.default_rng((seed, run, 0)).permutation(len(pool))
        against = pool[order[:size]]
        if examples is None:
            towards = pool[order[size : 2 * size]]
        else:
            towards = examples[np.random.default_rng((seed, run, 1)).permutation(len(examples))[:size]]
        vector, correct = _direction(name, classifier, towards, against, run)
        vectors.append(vector)
        accuracy.append(correct)
    return Directions(np.stack(vectors), np.array(accuracy))


def _direction(
    name: str, classifier: Any, towards: np.ndarray, against: np.ndarray, run: int
) -> tuple[np.ndarray, float]:
    """(the normal of length 1, the accuracy on what is held out) of one classifier."""
    cut = round(len(towards) * HELD_OUT)
    x, y = np.concatenate([towards[cut:], against[cut:]]), np.repeat([1, 0], len(towards) - cut)
    center = x.mean(0, dtype=np.float64).astype(x.dtype)
    # one factor for all units, so that the direction is not changed and the penalty means the same at every layer
    scale = np.sqrt(((x - center) ** 2).sum(1).mean())
    if not scale > 16 * np.finfo(x.dtype).eps * np.sqrt((x**2).sum(1).mean()):  # or it would be of rounding
        raise ValueError(f"{name}: the layer gives the same activation for all examples")
    fitted = clone(classifier)
    if "random_state" in fitted.get_params():
        fitted.set_params(random_state=run)
    fitted.fit((x - center) / scale, y)
    vector = np.asarray(fitted.coef_, dtype=np.float64).reshape(-1)
    length = np.linalg.norm(vector)
    if not 0 < length < np.inf:
        raise ValueError(f"{name}: the classifier found no direction from the random examples")
    tests = (np.concatenate([towards[:cut], against[:cut]]) - center) / scale
    return vector / length, float((fitted.predict(tests) == np.repeat([1, 0], cut)).mean())


def _activations(
    model: nn.Module, examples: Inputs, layer: str | nn.Module, task: str | None, options: Mapping[str, Any]
) -> np.ndarray:
    found = layer_attribution(
        model,
        examples,
        layer,
        task,
        method="activation",
        target=lambda output: output.reshape(len(output), -1).sum(1),  # not looked at
        **options,
    )
    return _flat(found if isinstance(found, Tensor) else next(iter(found.values())))


def _flat(values: Tensor) -> np.ndarray:
    flat = values.detach().reshape(len(values), -1).cpu()
    return flat.to(torch.promote_types(flat.dtype, torch.float32)).numpy()


def _name(model: nn.Module, layer: str | nn.Module) -> str:
    if isinstance(layer, str):
        return layer
    return next((name for name, module in model.named_modules() if module is layer), type(layer).__name__)


def _check(concepts: Mapping[str, Inputs], runs: int, seed: int) -> None:
    if not isinstance(concepts, Mapping) or not concepts:
        got = "none" if isinstance(concepts, Mapping) else type(concepts).__name__
        raise TypeError(f"concepts must be {{name: examples}}, at least one, got {got}")
    if isinstance(runs, bool) or not isinstance(runs, int) or runs < 2:
        raise ValueError(f"runs must be an integer >= 2, got {runs!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an integer >= 0, got {seed!r}")
