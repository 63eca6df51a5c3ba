"""Texts of users as they are shown: no character unseen, none that turns the text around it, none too long.

Names of tasks, variants, classes and runs come from anyone. Markup is harmless by escaping, which the template does;
this file is about what escaping leaves: control characters, marks of direction, right-to-left script, sheer length.
"""

from __future__ import annotations

import re
from zlib import crc32

from markupsafe import Markup, escape

# controls but tab and newline, marks of direction and of no width but the joiners that scripts need, lone surrogates
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
_LEFTWARD = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe\U00010800-\U00010fff\U0001e800-\U0001efff"
_LEFTWARD_RUN = re.compile(f"[{_LEFTWARD}]+(?:[^\\w<>&]{{1,3}}[{_LEFTWARD}]+)*")
_LONG_WORD = re.compile(r"\S{121,}")


def visible(text: str) -> str:
    r"""The text with a symbol for each character that cannot be seen or that turns its surroundings.

    >>> visible("a\x00b\x7f"), visible("gpj\u202e.exe"), visible("two\nlines")
    ('a␀b␡', 'gpj⟨U+202E⟩.exe', 'two\nlines')
    """
    return _UNSEEN.sub(_symbol, text)


def shortened(text: str, limit: int) -> str:
    """At most ``limit`` characters, and no word of more than 120; cut where it must be, with an ellipsis.

    >>> shortened("a fairly long name", 9), shortened("short", 9)
    ('a fairly…', 'short')
    """
    text = _LONG_WORD.sub(lambda match: f"{match.group(0)[:100]}…", text)
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def shown(text: str, limit: int = 4000) -> Markup:
    """The text as HTML: visible, escaped, right-to-left parts isolated, the whole on hover where it was cut.

    >>> shown("<b>")
    Markup('&lt;b&gt;')
    >>> shown("a longer name", 9)
    Markup('<span title="a longer name">a longer…</span>')
    >>> shown("\u05d0\u05d1 81%")
    Markup('<bdi>אב</bdi> 81%')
    """
    whole = visible(text)
    part = shortened(whole, limit)
    markup = Markup(_LEFTWARD_RUN.sub(lambda run: f"<bdi>{run.group(0)}</bdi>", str(escape(part))))
    return markup if part == whole else Markup('<span title="{}">{}</span>').format(whole, markup)


def slug(key: str) -> str:
    """A key as a part of an id: small letters, digits and hyphens; a checksum where anything was lost.

    >>> slug("scores-left-accuracy"), slug("<script>"), slug("")
    ('scores-left-accuracy', 'script-ff5fec36', 'x-0')
    """
    kept = re.sub(r"[^a-z0-9]+", "-", key[:200].lower()).strip("-")[:60].strip("-")
    return kept if kept and kept == key else f"{kept or 'x'}-{crc32(key.encode('utf-8', 'surrogatepass')):x}"


def _symbol(match: re.Match[str]) -> str:
    code = ord(match.group(0))
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else f"⟨U+{code:04X}⟩"
