"""Cells of a table from numbers: what is shown, with the value, interval, seeds and points behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite

from reports.document import Cell
from reports.statistics import Estimate, mean_interval
from reports.wording import Say


def estimate_cell(
    say: Say,
    values: Estimate | Sequence[float] | Mapping[int, float],
    unit: str = "",
    *,
    signed: bool = False,
    strong: bool = False,
) -> Cell:
    """``mean [low, high]`` with its parts; a mean alone where there is one seed, and "n/a" without a value.

    Args:
        say: the texts.
        values: an estimate, or one value a seed (with or without the seed), whose mean and t-interval are taken.
        unit: as `Say.figure`.
        signed: whether a plus is written, for differences.
        strong: bold, for what is better than its base after Holm's adjustment; ignored where there is no interval.

    >>> cell = estimate_cell(Say(), [0.1, 0.2, 0.3], "fraction")
    >>> cell.text, cell.n, cell.points
    ('20.0% [-4.8, 44.8]', 3, (0.1, 0.2, 0.3))
    >>> estimate_cell(Say(), {7: 0.5}, strong=True)
    Cell(text='0.5 (one seed: no interval)', value=0.5, low=None, high=None, n=1, points=(0.5,), note='', strong=False,
        shade=None)
    """
    if isinstance(values, Estimate):
        estimate = values
    else:
        estimate = mean_interval(list(values.values()) if isinstance(values, Mapping) else list(values))
    return Cell(
        say.interval(estimate, unit, signed),
        _known(estimate.mean),
        _known(estimate.low),
        _known(estimate.high),
        estimate.n,
        estimate.points,
        strong=strong and estimate.has_interval,
    )


def number_cell(say: Say, value: float, unit: str = "", *, signed: bool = False) -> Cell:
    """A number alone, e.g. a count or a control.

    >>> number_cell(Say(), 0.123, "fraction").text, number_cell(Say(), float("nan"))
    ('12.3%', Cell(text='n/a', value=None, low=None, high=None, n=0, points=(), note='', strong=False, shade=None))
    """
    sign = "+" if signed and isfinite(value) and value > 0 else ""
    return Cell(sign + say.figure(value, unit), _known(value))


def p_cell(say: Say, p: float) -> Cell:
    """A p-value.

    >>> p_cell(Say(), 0.0004)
    Cell(text='< 0.001', value=0.0004, low=None, high=None, n=0, points=(), note='', strong=False, shade=None)
    """
    return Cell(say.p_value(p), _known(p))


def noted(cell: Cell, note: str) -> Cell:
    """The cell with more to tell on hover and to screen readers.

    >>> noted(Cell("1"), "of 3").note
    'of 3'
    """
    return replace(cell, note=note)


def _known(value: float) -> float | None:
    return float(value) if isfinite(value) else None
