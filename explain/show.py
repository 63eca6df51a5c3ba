"""Pictures of maps, and of what holds between tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from explain.pictures.bars import draw_bars
from explain.pictures.images import draw_images
from explain.pictures.matrix import (
    draw_matrices,
    of_channel_sharing,
    of_conflict,
    of_cross_deletion,
    of_overlap,
)
from explain.pictures.nested import Scale, Values, nested
from explain.pictures.words import draw_words

SPEAK = "Red speaks for, blue against"
PULL = "Red: the tasks pull together, blue: they pull apart"


def show(
    inputs: Tensor | Sequence[Sequence[str]],
    maps: Tensor | Mapping[Any, Any],
    *,
    masks: Mapping[str, Tensor] | None = None,
    titles: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    limit: int | None = None,
    scale: str = "row",
    percentile: float = 100.0,
    overlay: float = 0.0,
    meaning: str | None = None,
) -> Figure:
    """Inputs with the maps of every task and method: red for, blue against, white at zero; the scale is written there.

    Images: a row for each image, a column a task; with several methods a row for each image and method, or the reverse
    where there are more methods than tasks. Tables: bars for the features. Words: each on the colour of its value.

    Args:
        inputs: images [B, C, H, W] or [B, H, W], each shown from its own minimum to its maximum; a table [B, F]; or
            words, a sequence of strings for each example.
        maps: {task: like the inputs}, {method: {task: like the inputs}}, or one such tensor. Channels of images are
            summed; of words [B, L, D] or [B, L], D is summed, and what is beyond an example's words is padding.
        masks: {task: bool [B, H, W]} to outline on the images' maps of these tasks.
        titles: one for each example.
        names: of a table's features.
        limit: examples at most; None: as many as make a readable figure, 8 at most.
        scale: symmetric around zero; ``"row"``: the tasks of an example share it (for each method), so that they can be
            compared; ``"own"``: every map has its own, for patterns; ``"all"``: all maps of a method share it, so that
            examples can be compared.
        percentile: of the absolute values, where the scale ends: below 100 a few outliers do not bleach the rest.
        overlay: opacity, up to 1, of the largest values over the grey image; 0: maps alone.
        meaning: of red and blue, for the line below; None: "Red speaks for, blue against", or, of maps of pairs as in
            `Conflict`, "Red: the tasks pull together, blue: they pull apart".

    Returns:
        A matplotlib figure, white in any notebook theme; ``.savefig(...)`` keeps it. Nothing of pyplot's state changes.

    Raises:
        ValueError: shapes that do not fit, maps that are not finite, options out of range.
        TypeError: inputs or maps of another kind.

    >>> import torch
    >>> maps = {"gradient": {"a": torch.randn(2, 3, 8, 8), "b": torch.randn(2, 3, 8, 8)}}
    >>> figure = show(torch.rand(2, 3, 8, 8), maps)
    >>> len([axes for axes in figure.axes if axes.images])
    6
    """
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ValueError(f"limit must be an integer >= 1, got {limit!r}")
    if not 0 <= overlay <= 1:
        raise ValueError(f"overlay must be in 0..1, got {overlay}")
    if titles is not None and len(titles) != len(inputs):
        raise ValueError(f"titles must be {len(inputs)}, one for each example, got {len(titles)}")
    given = nested(maps)
    pairs = isinstance(maps, Mapping) and any(isinstance(key, tuple) for key in maps)
    meaning = meaning if meaning is not None else PULL if pairs else SPEAK
    scaled = Scale(scale, percentile, meaning)
    common: dict[str, Any] = {"titles": titles, "limit": limit, "scale": scaled}
    if not isinstance(inputs, Tensor):
        _refuse("words", masks=masks, names=names, overlay=overlay)
        words = _checked_words(inputs)
        return draw_words(words, _of_words(words, given), **common)
    if inputs.dim() not in (2, 3, 4) or inputs.numel() == 0:
        raise ValueError(
            f"inputs must be images [B, C, H, W] or [B, H, W], or a table [B, F], got {list(inputs.shape)}"
        )
    for method, of in given.items():
        for task, value in of.items():
            if value.shape != inputs.shape:
                where = f" of method '{method}'" if method else ""
                raise ValueError(
                    f"the map of task '{task}'{where} must be like the inputs, {list(inputs.shape)}, "
                    f"got {list(value.shape)}"
                )
    inputs = inputs.detach().cpu()
    if inputs.dim() == 2:
        _refuse("a table", masks=masks, overlay=overlay)
        if names is not None and len(names) != inputs.shape[1]:
            raise ValueError(f"names must be {inputs.shape[1]}, one for each feature, got {len(names)}")
        return draw_bars(inputs, _arrays(given), names=names, **common)
    _refuse("images", names=names)
    for task, mask in (masks or {}).items():
        expected = [len(inputs), *inputs.shape[-2:]]
        if not isinstance(mask, Tensor) or list(mask.shape) != expected:
            got = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(f"the mask of task '{task}' must be {expected}, got {got}")
    summed = {
        m: {t: v.float().sum(1) if v.dim() == 4 else v for t, v in of.items()} for m, of in given.items()
    }
    return draw_images(inputs, _arrays(summed), masks=masks or {}, overlay=overlay, **common)


def show_matrix(frame: pd.DataFrame) -> Figure:
    """The table of `overlap`, `cross_deletion`, `channel_sharing`, or of a `Conflict`, as matrices with their numbers.

    Args:
        frame: what one of these gives, by pair where it is of `overlap`; rows may be left out.

    Raises:
        ValueError: another table, or an empty one.

    >>> import torch
    >>> from explain import overlap
    >>> maps = {task: torch.randn(3, 1, 6, 6) for task in ("a", "b", "c")}
    >>> len(show_matrix(overlap(maps)).axes)
    4
    """
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"show_matrix takes a DataFrame, got {type(frame).__name__}")
    kinds = {
        "p_holm": of_overlap,
        "excess": of_cross_deletion,
        "selectivity": of_channel_sharing,
        "cosine": of_conflict,
    }
    draw = next((kinds[column] for column in kinds if column in frame.columns), None)
    if draw is None or frame.empty:
        hint = "; give overlap(..., by='pair')" if "null_mean" in frame.columns else ""
        raise ValueError(
            "show_matrix draws tables of overlap, cross_deletion, channel_sharing and conflict, "
            f"got {len(frame)} rows of {list(frame.columns)}{hint}"
        )
    return draw_matrices(*draw(frame))


def _refuse(kind: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None and value != 0.0:
            raise ValueError(f"{name} does not apply to {kind}")


def _arrays(given: Mapping[str, Mapping[str, Tensor]]) -> Values:
    return {m: {t: v.double().numpy() for t, v in of.items()} for m, of in given.items()}


def _checked_words(inputs: object) -> list[list[str]]:
    if not isinstance(inputs, tuple | list) or not inputs:
        raise TypeError(
            f"inputs must be a tensor, or for each example a sequence of words, got {type(inputs).__name__}"
        )
    for example, own in enumerate(inputs):
        if not isinstance(own, tuple | list) or not all(isinstance(word, str) for word in own):
            raise TypeError(
                f"the words of example {example} must be a sequence of strings, got {type(own).__name__}"
            )
    return [list(own) for own in inputs]


def _of_words(words: list[list[str]], given: Mapping[str, Mapping[str, Tensor]]) -> Values:
    """Maps [B, L], as long as the longest text at least."""
    longest = max(map(len, words))
    found: Values = {}
    for method, of in given.items():
        for task, value in of.items():
            if value.dim() not in (2, 3) or len(value) != len(words) or value.shape[1] < longest:
                raise ValueError(
                    f"the map of task '{task}' must be [{len(words)}, L] or [{len(words)}, L, D] with L >= {longest}, "
                    f"the words of the longest example, got {list(value.shape)}"
                )
            summed = value.double().sum(2) if value.dim() == 3 else value.double()
            found.setdefault(method, {})[task] = np.asarray(summed)
    return found
