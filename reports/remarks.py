"""What a reader must know of a run that is not as it should be, kept apart from the language it is told in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from reports.wording import Say

# what no text may hold: halves of characters cannot be written at all, and control characters cannot be seen
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Remark:
    """One remark: ``key`` names its text in ``texts/<language>/remarks.yaml``, ``values`` fill it in.

    >>> str(Remark("missing", (("file", "config.yaml"),)))
    'config.yaml is missing'
    """

    key: str
    values: tuple[tuple[str, Any], ...] = ()

    def said(self, say: Say) -> str:
        """The remark in a language."""
        return say(f"remarks.{self.key}", **dict(self.values))

    def __str__(self) -> str:
        return self.said(Say())


class Remarks(list[Remark]):
    """The remarks on one run, each once."""

    def add(self, key: str, **values: Any) -> None:
        """Add a remark unless it is there.

        >>> found = Remarks()
        >>> found.add("missing", file="a"), found.add("missing", file="a"), len(found)
        (None, None, 1)
        """
        remark = Remark(key, tuple((name, clean(value)) for name, value in values.items()))
        if remark not in self:
            self.append(remark)


def clean(value: Any) -> Any:
    """Texts, also inside lists and mappings, without what no page can show: U+FFFD stands in its place.

    >>> clean({"a": ["b\\ud800", 1]})
    {'a': ['b�', 1]}
    """
    if isinstance(value, str):
        return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    return [clean(item) for item in value] if isinstance(value, list) else value


def one_line(error: BaseException) -> str:
    """What an error says, in one line of at most 200 characters.

    >>> one_line(ValueError("a\\nb"))
    'a b'
    """
    return " ".join(str(error).split())[:200] or type(error).__name__
