"""One call from a model to the maps of its tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from explain.batching import ROWS, micro_batches
from explain.guard import untouched
from explain.methods import METHODS, Method
from explain.names import lookup, unknown
from explain.outputs import SINGLE, unwrap
from explain.targets import Scorer, Target


def saliency(
    model: nn.Module,
    inputs: Tensor,
    task: str | None = None,
    *,
    method: str = "gradient",
    target: Target | Mapping[str, Target] = "predicted",
    batch_size: int | None = None,
    seed: int = 0,
    **options: Any,
) -> Any:
    """Signed maps of what each task looks at, all tasks from the same forward passes.

    The model runs in eval mode, in its own precision, whatever mode it is in; modes, gradients, hooks and random state
    are afterwards as they were, also after an exception. `torch.compile` and DistributedDataParallel wrappers are
    looked through.

    Args:
        model: a module whose output is a tensor, or a dict, tuple or list of tensors: one a task, [B], [B, 1] or
            [B, C], or of any shape with a callable target. Tasks are named by the dict's keys, else "0", "1", ...
        inputs: [B, *S], floating point and finite.
        task: one task; None for all.
        method: a name in `explain.METHODS`.
        target: what is explained of each task: ``"predicted"`` (the largest logit, or the value itself where there is
            one value an example), a class, labels [B], or a callable ``output -> [B]`` that treats examples alike; or
            {task: any of these}, where tasks left out are ``"predicted"``.
        batch_size: examples a forward pass, 64 where None; it does not change the maps.
        seed: of the methods that draw; each example has its own stream.
        options: of the method: ``help(explain.METHODS[method])``.

    Returns:
        [B, *S] where ``task`` is given or the model gives a lone tensor, else {task: [B, *S]} in the model's order.

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
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    apply = make_method(method, options)
    check_inputs(inputs)
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size must be an integer >= 1, got {batch_size!r}")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an integer >= 0, got {seed!r}")
    model = unwrap(model)
    parts: dict[str, list[Tensor]] = {}
    with untouched(model, inputs.device):
        for rows in micro_batches(len(inputs), batch_size or ROWS):
            scorer = Scorer(model, task, target, rows, len(inputs))
            maps = apply(scorer, inputs[rows].detach().clone(), rows.start, seed)
            for name, attribution in zip(scorer.tasks, maps, strict=True):
                if not torch.isfinite(attribution).all():
                    raise ValueError(
                        f"{method}: the map of task '{name}' holds NaN or infinite values; "
                        "are the model's weights and outputs finite?"
                    )
                parts.setdefault(name, []).append(attribution.detach())
    joined = {name: torch.cat(pieces) for name, pieces in parts.items()}
    if task is not None:
        return joined[task]
    return joined[SINGLE] if list(joined) == [SINGLE] else joined


def make_method(name: str, options: Mapping[str, Any]) -> Method:
    """The method with its options, or an error that gives the nearest valid name.

    >>> make_method("smoothgrad", {"sample": 5})
    Traceback (most recent call last):
    ValueError: no option of method 'smoothgrad' 'sample'; did you mean 'samples'? known: samples, noise
    """
    kind = lookup("method", name, METHODS)
    known = [field.name for field in dataclasses.fields(kind)]
    for option in options:
        if option not in known:
            raise unknown(f"option of method '{name}'", option, known)
    try:
        return kind(**options)
    except TypeError as error:  # a value of another type than the option's, in the options' own checks
        raise TypeError(f"{name}: an option has a wrong type: {error}") from error


def check_inputs(inputs: object) -> None:
    """Raise unless ``inputs`` is a non-empty, finite float tensor [B, *S].

    >>> check_inputs(torch.zeros(1, 2, dtype=torch.uint8))
    Traceback (most recent call last):
    TypeError: inputs must be floating point, got torch.uint8; give inputs.float(), or the embedded tokens
    """
    if not isinstance(inputs, Tensor):
        raise TypeError(f"inputs must be one tensor [B, *S], got {type(inputs).__name__}")
    if not inputs.is_floating_point():
        raise TypeError(
            f"inputs must be floating point, got {inputs.dtype}; give inputs.float(), or the embedded tokens"
        )
    if inputs.dim() < 2 or inputs.numel() == 0:
        raise ValueError(f"inputs must be [B, *S] with at least one example, got {list(inputs.shape)}")
    finite = torch.isfinite(inputs).flatten(1).all(1)
    if not finite.all():
        bad = (~finite).nonzero()[:, 0]
        raise ValueError(
            f"inputs hold NaN or infinite values in {len(bad)} examples, first example {int(bad[0])}"
        )
