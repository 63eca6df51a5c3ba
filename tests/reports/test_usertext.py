"""Texts of users: nothing unseen, nothing that turns or floods the page; ids from any key."""

import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from reports.usertext import shown, slug, visible

ANY = st.text(st.characters(exclude_categories=[]), max_size=60)


@given(ANY)
def test_no_control_character_is_left(text: str) -> None:
    left = {c for c in visible(text) if unicodedata.category(c) in ("Cc", "Cs")} - {"\n", "\t"}
    assert left == set()
    visible(text).encode()  # no lone surrogate: it can be written


@given(ANY)
def test_what_is_shown_holds_no_tag_but_ours(text: str) -> None:
    assert set(re.findall(r"<[^>]*>", str(shown(text)))) <= {"<bdi>", "</bdi>"}


@given(st.lists(ANY, unique=True, min_size=2, max_size=6))
def test_slugs_are_safe_and_as_different_as_the_keys(keys: list[str]) -> None:
    slugs = [slug(key) for key in keys]
    assert all(re.fullmatch(r"[a-z0-9-]{1,80}", name) for name in slugs)
    assert len(set(slugs)) == len(keys)


def test_numbers_behind_a_name_from_right_to_left_keep_their_place() -> None:
    """Without <bdi>, "81% [80, 82]" would be drawn to the left of the name."""
    assert str(shown("\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd: 81% [80, 82]")) == (
        "<bdi>\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd</bdi>: 81% [80, 82]"
    )


def test_a_flood_is_cut_and_whole_on_hover() -> None:
    text = str(shown("x" * 10_000))
    assert text == f'<span title="{"x" * 10_000}">{"x" * 100}…</span>'
