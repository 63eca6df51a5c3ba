"""All texts stand in ``reports/texts``: no English is left in code, and no language lacks a text."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from string import Formatter

import pytest
import yaml

import reports
from reports import wording
from tests.reports.make import QUESTION, three_variants

REPORTS = Path(reports.__file__).parent
TEXTS = REPORTS / "texts"
ROOMS = sorted(file.name for file in (TEXTS / "en").glob("*.yaml"))
# what users and recipes wrote, as the runs of this test have it, and signs that every language shares
OWN = {
    "toy", QUESTION, "left", "right", "single", "equal", "upgrad", "accuracy", "loss", "nats", "fraction", "gradient",
    "low", "high", "test",
    "relevance_mass", "pointing_game", "class", "CSV", "metrics.jsonl", "n/a", "UTC", "MiB", "ms",
}  # fmt: skip


def texts(language: str, room: str) -> dict[str, str]:
    return dict(yaml.safe_load((TEXTS / language / room).read_text(encoding="utf-8")))


def placeholders(text: str) -> list[str]:
    return sorted({name for _, name, _, _ in Formatter().parse(text) if name is not None})


@pytest.mark.parametrize("language", [name for name in wording.LANGUAGES if name != "en"])
def test_every_language_has_the_same_texts_with_the_same_values(language: str) -> None:
    assert sorted(file.name for file in (TEXTS / language).glob("*.yaml")) == ROOMS
    for room in ROOMS:
        ours, theirs = texts("en", room), texts(language, room)
        assert list(ours) == list(theirs), room
        for key, text in ours.items():
            assert placeholders(text) == placeholders(theirs[key]), f"{room}: {key}"
            assert bool(text.strip()) <= bool(theirs[key].strip()) or key == "sentence", f"{room}: {key}"


def test_no_text_is_unused() -> None:
    code = "\n".join(
        file.read_text(encoding="utf-8")
        for file in (*REPORTS.rglob("*.py"), REPORTS / "templates" / "page.html")
    )
    named = set(re.findall(r"""["'](\w+\.\w+)["']""", code))
    made = re.findall(r'f"(\w+\.[^"\n]*)"', code)  # f"learning.{split}"
    patterns = [re.compile(re.sub(r"{[^}]*}", r"[\\w-]+", name)) for name in made if "{" in name]
    unused = []
    for room in ROOMS:
        for key in texts("en", room):
            name = f"{room.removesuffix('.yaml')}.{key}"
            if name not in named and not any(pattern.fullmatch(name) for pattern in patterns):
                unused.append(name)
    assert not unused, "\n".join(unused)


HIDDEN = {"script", "style", "template", "pre", "dd"}
TOLD = {"alt", "title", "aria-label"}


class Visible(HTMLParser):
    """All texts of a page that a reader or a screen reader meets, but for blocks of a user's own text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.within: list[str] = []
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in HIDDEN:
            self.within.append(tag)
        self.found += json.loads(dict(attrs).get("data-ui") or "{}").values()
        self.found += [value for name, value in attrs if name in TOLD and value]

    def handle_endtag(self, tag: str) -> None:
        if self.within and self.within[-1] == tag:
            self.within.pop()

    def handle_data(self, data: str) -> None:
        if not self.within:
            self.found.append(data)


def outside(text: str) -> str:
    """What stands outside all brackets."""
    while (inner := re.sub(r"⟦[^⟦⟧]*⟧", " ", text)) != text:
        text = inner
    return text.partition("⟦")[0]  # a text that was cut has lost its end


def words(text: str) -> Iterator[str]:
    for own in sorted(OWN, key=len, reverse=True):
        text = re.sub(rf"(?<![a-z]){re.escape(own)}(?![a-z])", " ", text)
    yield from re.findall(r"[A-Za-z]{3,}", text)


def test_no_english_is_left_in_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text is put in brackets; what then stands outside of them never came from a language."""
    plain = wording._texts

    def bracketed(language: str, room: str) -> dict[str, str]:
        every = plain(language, room).items()  # a bar parts the names of columns
        return {key: "|".join(f"⟦{part}⟧" for part in text.split("|")) for key, text in every}

    monkeypatch.setattr(wording, "_texts", bracketed)
    root = three_variants(tmp_path / "runs")
    page = reports.build(root, tmp_path / "report.html").read_text(encoding="utf-8")
    left: dict[str, str] = {}
    for text in Visible(page).found:
        for word in words(outside(text)):
            left.setdefault(word, text.strip()[:100])
    assert not left, "\n".join(f"{word}: {text}" for word, text in left.items())


def test_the_check_can_fail() -> None:
    assert list(words(outside("⟦in ⟦a⟧⟧ left 3.4 hello"))) == ["hello"]
