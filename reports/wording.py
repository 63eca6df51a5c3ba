"""The texts of a report in the reader's language, and numbers as words: the one place where either is written.

Texts are ``texts/<language>/<room>.yaml``, flat maps of a name to a template for `str.format`:
``say("scores.caption")`` is ``caption`` of ``scores.yaml``. What a user wrote (names of tasks, variants, classes) is
put into a template as a value and never read as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from math import isfinite
from typing import Any

import yaml

from reports.statistics import Estimate

LANGUAGES = {"en": "English", "zh": "中文"}
POINTS = "percentage points"  # the unit of a difference of fractions; no task's own unit is called so


class Say:
    """The texts of one language.

    Raises:
        ValueError: there are no texts in that language.

    >>> say = Say("en")
    >>> say("page.verdict"), say.count("seed", 1), say.count("seed", 3)
    ('Verdict', '1 seed', '3 seeds')
    >>> Say("xx")
    Traceback (most recent call last):
    ValueError: no texts in the language 'xx'; choose from: en, zh
    """

    def __init__(self, language: str = "en") -> None:
        if language not in LANGUAGES:
            raise ValueError(f"no texts in the language '{language}'; choose from: {', '.join(LANGUAGES)}")
        self.language = language

    def __call__(self, name: str, /, **values: Any) -> str:
        """The text of this name, with its values filled in."""
        return self._template(name).format(**values)

    def count(self, thing: str, number: int) -> str:
        """A number of things, in the singular or plural of the language."""
        one_or_many = "one" if number == 1 else "many"
        return self._template(f"count.{thing}_{one_or_many}").format(n=number)

    def joined(self, words: Sequence[str]) -> str:
        """A list in a sentence.

        >>> Say("en").joined(["a", "b", "c"]), Say("en").joined([])
        ('a, b and c', '')
        """
        if len(words) < 2:
            return "".join(words)
        return self("words.joined", first=self("words.comma").join(words[:-1]), last=words[-1])

    def figure(self, value: float, unit: str = "") -> str:
        """A number with four significant digits; fractions as percent.

        >>> say = Say("en")
        >>> say.figure(0.95312, "fraction"), say.figure(1234567.0), say.figure(float("nan"))
        ('95.3%', '1,234,567', 'n/a')
        """
        return figure(value, unit) if isfinite(value) else self("words.none")

    def interval(self, estimate: Estimate, unit: str = "", signed: bool = False) -> str:
        """``mean [low, high]``, or the mean alone where there is no interval.

        >>> say = Say("en")
        >>> say.interval(Estimate(0.5, 0.4, 0.6, 3), "fraction")
        '50.0% [40.0, 60.0]'
        >>> say.interval(Estimate(0.01, n=1), "fraction", signed=True)
        '+1.0% (one seed: no interval)'
        """
        mean = self.figure(estimate.mean, unit)
        if not isfinite(estimate.mean):
            return mean
        if signed and estimate.mean > 0:
            mean = f"+{mean}"
        if not estimate.has_interval:
            return f"{mean} ({self('words.one_seed' if estimate.n < 2 else 'words.no_interval')})"
        low, high = (
            figure(v, unit).removesuffix("%").removesuffix(" pp") for v in (estimate.low, estimate.high)
        )
        return f"{mean} [{low}, {high}]"

    def p_value(self, p: float) -> str:
        """A p-value with two digits.

        >>> Say("en").p_value(0.0004), Say("en").p_value(0.25)
        ('< 0.001', '0.25')
        """
        return self("words.none") if not isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.2g}"

    def _template(self, name: str) -> str:
        room, _, text = name.partition(".")
        try:
            return _texts(self.language, room)[text]
        except KeyError:
            raise KeyError(f"no text '{name}' in reports/texts/{self.language}/{room}.yaml") from None


def figure(value: float, unit: str = "") -> str:
    """A finite number with four significant digits; fractions as percent, their differences as percentage points.

    >>> figure(0.95312, "fraction"), figure(1234567.0), figure(0.5, "cosine"), figure(-0.0123, POINTS)
    ('95.3%', '1,234,567', '0.50', '-1.2 pp')
    """
    if unit == "fraction":
        return f"{100 * value:.1f}%"
    if unit == POINTS:
        return f"{100 * value:.1f} pp"
    if unit == "cosine":
        return f"{value:.2f}"
    if value and abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


@cache
def _texts(language: str, room: str) -> dict[str, str]:
    file = files("reports") / "texts" / language / f"{room}.yaml"
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")))
