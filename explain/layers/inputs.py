"""Inputs of any kind for layers, token ids too, and what they are compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from explain.baselines import Baseline, expanded
from explain.inputs import Inputs, Layout, lay_out
from explain.names import unknown
from explain.scorer import Scorer

Start = Baseline | Sequence[float | Tensor | None] | Mapping[str, float | Tensor]


def lay_out_any(inputs: Inputs) -> tuple[Layout, Tensor]:
    """`lay_out`, also where no input is floating point (token ids): then [B, 0], and all go along unexplained.

    >>> layout, joined = lay_out_any(torch.zeros(2, 5, dtype=torch.long))
    >>> joined.shape, list(layout.fixed)
    (torch.Size([2, 0]), ['0'])
    """
    if isinstance(inputs, Tensor):
        if inputs.is_floating_point() or inputs.dim() == 0 or not len(inputs):
            return lay_out(inputs)
        return lay_out_any((inputs,))
    if isinstance(inputs, Mapping):
        kind, parts = "dict", {str(name): part for name, part in inputs.items()}
    elif isinstance(inputs, tuple | list):
        kind, parts = "tuple", {str(index): part for index, part in enumerate(inputs)}
    else:
        return lay_out(inputs)
    if not parts or not all(
        isinstance(p, Tensor) and p.dim() and not p.is_floating_point() for p in parts.values()
    ):
        return lay_out(inputs)
    first = next(iter(parts.values()))
    # a stand-in float part lets `lay_out` check all the others
    zeros = torch.zeros(len(first), 1, device=first.device)
    lay_out({**parts, "": zeros})
    return Layout(kind, (), (), (), parts, tuple(parts)), zeros[:, :0]


def at_baseline(name: str, baseline: Start | None, scorer: Scorer, inputs: Tensor) -> tuple[Scorer, Tensor]:
    """(a scorer whose fixed parts are the baseline's, the baseline [B, *S] of these rows).

    Args:
        name: of the method, for messages.
        baseline: for a lone input as for `explain.baselines.expanded`; for several a dict by name, or a sequence in
            their order, of numbers and tensors [*S] or [B, *S]; for ids an id, or ids like the inputs. What is left out
            (None) is 0 where it is floating point, else as it is.
        scorer: after its first call.
        inputs: these rows.
    """
    layout = scorer.layout
    several = isinstance(baseline, Mapping | tuple | list)
    if layout.names and not several and (layout.kind == "tensor" or not isinstance(baseline, Tensor)):
        if not isinstance(baseline, int | float | str | Tensor | None) or isinstance(baseline, bool):
            raise TypeError(
                f"{name}: baseline must be a number, a name or a tensor, got {type(baseline).__name__}"
            )
        base = expanded(name, 0.0 if baseline is None else baseline, inputs, scorer)
        if not torch.isfinite(base).all():
            raise ValueError(f"{name}: the baseline holds NaN or infinite values")
        return scorer, base
    given = _by_name(name, baseline, layout)
    if not layout.names and not given:
        raise ValueError(
            f"{name}: token ids have no natural baseline; give baseline= an id (that of padding or of a mask), ids "
            "like the inputs, or {input: these}"
        )
    parts = [
        _of_part(f"{name}: the baseline of input '{part}'", given.get(part, 0.0), own, scorer)
        for part, own in zip(layout.names, scorer.split(inputs), strict=True)
    ]
    fixed = dict(layout.fixed)
    for part, own in layout.fixed.items():
        if part in given:
            fixed[part] = _ids(f"{name}: the baseline of input '{part}'", given[part], own)
    moved = dataclasses.replace(scorer, layout=dataclasses.replace(layout, fixed=fixed))
    return moved, scorer.join(parts) if parts else inputs


def _by_name(name: str, baseline: Start | None, layout: Layout) -> dict[str, Any]:
    """{input: its baseline} of several inputs, or of ids."""
    if baseline is None:
        return {}
    if isinstance(baseline, Mapping):
        for part in baseline:
            if part not in layout.order:
                raise unknown("input", part, layout.order)
        return {part: value for part, value in baseline.items() if value is not None}
    if isinstance(baseline, tuple | list):
        if len(baseline) != len(layout.order):
            raise ValueError(
                f"{name}: baseline must have {len(layout.order)} entries, one an input, got {len(baseline)}"
            )
        return {part: value for part, value in zip(layout.order, baseline, strict=True) if value is not None}
    if len(layout.order) > 1:
        raise ValueError(
            f"{name}: the model takes {len(layout.order)} inputs; give baseline= a dict or tuple, one entry an input "
            f"({', '.join(layout.order)})"
        )
    return {layout.order[0]: baseline}


def _of_part(what: str, value: Any, part: Tensor, scorer: Scorer) -> Tensor:
    """The baseline of one float part, for these rows."""
    shape = part.shape[1:]
    if not isinstance(value, Tensor):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{what} must be a number or a tensor, got {type(value).__name__}")
        value = torch.tensor(float(value))
    if not torch.isfinite(value).all():
        raise ValueError(f"{what} holds NaN or infinite values")
    value = value.detach().to(part)
    if value.shape in (torch.Size([]), shape):
        return value.expand_as(part)
    if value.shape == (scorer.total, *shape):
        return value[scorer.rows]
    raise ValueError(
        f"{what} must be a number, {list(shape)} or {[scorer.total, *shape]}, got {list(value.shape)}"
    )


def _ids(what: str, value: Any, part: Tensor) -> Tensor:
    """The baseline of one part that is not float, for the whole batch."""
    try:
        value = torch.as_tensor(value, device=part.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{what} must be a number or a tensor, got {type(value).__name__}") from error
    if value.is_floating_point():
        raise TypeError(f"{what} must be {part.dtype} like it, got {value.dtype}")
    if value.shape not in (torch.Size([]), part.shape[1:], part.shape):
        raise ValueError(
            f"{what} must be a number, {list(part.shape[1:])} or {list(part.shape)}, got {list(value.shape)}"
        )
    return value.to(part.dtype).expand_as(part)
