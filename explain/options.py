"""Checks of methods' options: one line that names the method, the option, and what was expected."""

from __future__ import annotations


def check_count(method: str, option: str, value: object, least: int = 1) -> None:
    """Raise unless ``value`` is an integer of at least ``least``.

    >>> check_count("rise", "samples", 2.5)
    Traceback (most recent call last):
    ValueError: rise: samples must be an integer >= 1, got 2.5
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{method}: {option} must be an integer >= {least}, got {value!r}")


def check_positive(method: str, option: str, value: object, zero: bool = False) -> None:
    """Raise unless ``value`` is a number > 0 (infinity is one), or 0 where ``zero``.

    >>> check_positive("lime", "width", float("nan"))
    Traceback (most recent call last):
    ValueError: lime: width must be > 0, got nan
    """
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not fits or not (value > 0 or (zero and value == 0)):  # type: ignore[operator]  # a number: the line before
        raise ValueError(f"{method}: {option} must be {'>= 0' if zero else '> 0'}, got {value!r}")
