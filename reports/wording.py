"""Numbers as words: one way to write a mean, an interval, a percentage, for tables and sentences alike."""

from __future__ import annotations

from math import isfinite

from reports.statistics import Estimate


def figure(value: float, unit: str = "") -> str:
    """A number with four significant digits; fractions as percent.

    >>> figure(0.95312, "fraction"), figure(1234567.0), figure(float("nan"))
    ('95.3%', '1,234,567', 'n/a')
    """
    if not isfinite(value):
        return "n/a"
    if unit == "fraction":
        return f"{100 * value:.1f}%"
    if unit == "cosine":
        return f"{value:.2f}"
    if value and abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def interval(estimate: Estimate, unit: str = "", signed: bool = False) -> str:
    """``mean [low, high]``, or the mean alone where there is no interval.

    >>> interval(Estimate(0.5, 0.4, 0.6, 3), "fraction")
    '50.0% [40.0, 60.0]'
    >>> interval(Estimate(0.01, n=1), "fraction", signed=True)
    '+1.0% (one seed: no interval)'
    """
    mean = figure(estimate.mean, unit)
    if signed and estimate.mean > 0:
        mean = f"+{mean}"
    if not isfinite(estimate.mean):
        return mean
    if not estimate.has_interval:
        return f"{mean} (one seed: no interval)"
    low, high = (figure(v, unit).removesuffix("%") for v in (estimate.low, estimate.high))
    return f"{mean} [{low}, {high}]"


def p_value(p: float) -> str:
    """A p-value with two digits.

    >>> p_value(0.0004), p_value(0.25)
    ('< 0.001', '0.25')
    """
    return "n/a" if not isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.2g}"


def count(number: int, thing: str) -> str:
    """``1 run``, ``2 runs``.

    >>> count(1, "run"), count(3, "seed")
    ('1 run', '3 seeds')
    """
    return f"{number} {thing}{'' if number == 1 else 's'}"


def joined(words: list[str]) -> str:
    """A list in a sentence.

    >>> joined(["a", "b", "c"])
    'a, b and c'
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
