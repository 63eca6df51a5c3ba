"""One call from a model to the maps of its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from explain.batching import micro_batches, rows_at_once
from explain.guard import guarded
from explain.inputs import Inputs, lay_out
from explain.methods import METHODS, Method
from explain.names import made
from explain.options import checked_call
from explain.outputs import SINGLE
from explain.scorer import Scorer
from explain.targets import Target


def saliency(
    model: nn.Module,
    inputs: Inputs,
    task: str | None = None,
    *,
    method: str = "gradient",
    target: Target | Mapping[str, Target] = "predicted",
    score: str | Mapping[str, str] = "logit",
    batch_size: int | None = None,
    seed: int = 0,
    progress: bool = False,
    **options: Any,
) -> Any:
    """Signed maps of what each task looks at, all tasks from the same forward passes.

    The model runs in eval mode, in its own precision, whatever mode it is in; modes, gradients, hooks and random state
    are afterwards as they were, also after an exception. `torch.compile`, DataParallel and DistributedDataParallel
    wrappers are looked through.

    Args:
        model: a module whose output is a tensor, or a dict, tuple, list or dataclass of tensors, also nested: one a
            task, [B], [B, 1], [B, C] or dense. Tasks are named by keys and fields, else "0", "1", ..., joined by dots.
        inputs: [B, *S], floating point and finite; or a tuple of such for ``model(*inputs)``, or a dict for
            ``model(**inputs)``. Tensors of a tuple or dict that are not float (ids, masks) go along unexplained.
        task: one task; None for all.
        method: a name in `explain.METHODS`.
        target: what is explained of each task: ``"predicted"`` (the largest logit, or the value itself where there is
            one value an example), a class, labels [B], an `explain.Region` of a dense output, or a callable
            ``output -> [B]`` that treats examples alike; or {task: any of these}, where tasks left out are
            ``"predicted"``.
        score: what of the target: its ``"logit"``, its ``"probability"`` (softmax), its ``"margin"`` over the largest
            other logit, or the ``"loss"`` (cross entropy; squared error where there is one value an example, whose true
            values are then the target); or {task: one of these}.
        batch_size: examples a micro-batch, 4 to 32 by the input's size where None; it does not change the maps.
        seed: of the methods that draw; each example has its own stream.
        progress: a bar on standard error for methods of many passes.
        options: of the method: ``help(explain.METHODS[method])``.

    Returns:
        Like ``inputs`` where ``task`` is given or the model gives a lone tensor, else {task: like inputs} in the
        model's order. What is not explained of a tuple is None, of a dict left out.

    Raises:
        ValueError: unknown names (the nearest valid one is given), a target out of range, inputs that are empty or not
            finite, a score that is not differentiable, a method's own check that fails.
        TypeError: inputs that are no float tensor.

    Cost: that of the method for one task, and one more backward pass for each further task.

    >>> import torch
    >>> model = torch.nn.Linear(2, 3)
    >>> saliency(model, torch.ones(4, 2), target=2).shape
    torch.Size([4, 2])
    """
    model = checked_call(model, batch_size, seed)
    if task is not None and not isinstance(task, str):
        raise TypeError(f"task must be one name, or None for all tasks, got {task!r}")
    apply = make_method(method, options)
    layout, joined = lay_out(inputs)

    def maps() -> dict[str, Tensor]:
        parts: dict[str, list[Tensor]] = {}
        for rows in micro_batches(len(joined), batch_size or rows_at_once(joined.shape[1:])):
            scorer = Scorer(model, layout, task, target, score, rows, len(joined), progress)
            found = apply(scorer, joined[rows].clone(), rows.start, seed)
            for name, attribution in zip(scorer.tasks, found, strict=True):
                if not torch.isfinite(attribution).all():
                    raise ValueError(
                        f"{method}: the map of task '{name}' holds NaN or infinite values; "
                        "are the model's weights and outputs finite?"
                    )
                parts.setdefault(name, []).append(attribution.detach())
        return {name: torch.cat(pieces).contiguous() for name, pieces in parts.items()}

    named = {name: layout.restore(m) for name, m in guarded(model, joined.device, maps).items()}
    if task is not None:
        return named[task]
    return named[SINGLE] if list(named) == [SINGLE] else named


def make_method(name: str, options: Mapping[str, Any]) -> Method:
    """The method with its options, or an error that gives the nearest valid name.

    >>> make_method("smoothgrad", {"sample": 5})
    Traceback (most recent call last):
    ValueError: no option of method 'smoothgrad' 'sample'; did you mean 'samples'? known: samples, noise
    """
    method: Method = made("method", name, METHODS, options)
    return method
