"""Checks of what was given: one line that names the method, the option, and what was expected."""

from __future__ import annotations

from torch import nn

from explain.outputs import unwrap


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


def checked_call(model: object, batch_size: int | None, seed: int = 0) -> nn.Module:
    """The module inside wrappers, or an error for what is no model, no batch size or no seed.

    >>> checked_call(nn.Identity(), 0)
    Traceback (most recent call last):
    ValueError: batch_size must be an integer >= 1, got 0
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size must be an integer >= 1, got {batch_size!r}")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an integer >= 0, got {seed!r}")
    return unwrap(model)
