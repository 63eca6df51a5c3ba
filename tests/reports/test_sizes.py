"""A page that is too large says so; one that is far too large has its pictures beside it."""

from pathlib import Path
from typing import Any

import pytest

import reports
from reports import sizes
from reports.loading import load
from reports.wording import Say
from tests.reports.make import three_variants


def small_limits(monkeypatch: pytest.MonkeyPatch, large: int, limit: int) -> None:
    keywords = sizes.fitted.__kwdefaults__
    monkeypatch.setitem(keywords, "large", large)
    monkeypatch.setitem(keywords, "limit", limit)


def test_a_large_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = three_variants(tmp_path / "runs", seeds=1)
    small_limits(monkeypatch, 1000, 10**9)
    text = reports.build(root, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "This page is large (0 MB)" in text
    assert not (tmp_path / "r_assets").exists()


@pytest.mark.browser
def test_pictures_lie_beside_a_very_large_page(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = three_variants(tmp_path / "runs", seeds=1)
    whole = load(reports.build(root, tmp_path / "whole.html"))
    small_limits(monkeypatch, 1000, 1000)
    file = reports.build(root, tmp_path / "my report #1.html")
    folder = tmp_path / "my report #1_assets"
    names = sorted(picture.name for picture in folder.iterdir())
    assert len(names) == 6  # 2 inputs, 2 examples x 2 tasks; maps that variants share are kept once
    assert "data:image/png" not in file.read_text(encoding="utf-8")
    page = browser.new_page()
    page.goto(file.as_uri())
    assert (
        "6 of them are files in the folder my report #1_assets" in page.locator("header .note").inner_text()
    )
    page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    page.wait_for_function("[...document.images].every((image) => image.naturalWidth > 0)")
    assert load(file) == whole
    first = file.read_bytes()
    (folder / "mine.txt").write_text("keep")
    reports.build(root, file)
    assert file.read_bytes() == first
    assert sorted(picture.name for picture in folder.iterdir()) == [*names, "mine.txt"]
    monkeypatch.undo()
    reports.build(root, file)
    assert [picture.name for picture in folder.iterdir()] == ["mine.txt"]  # no picture that nothing shows


def test_text_of_users_is_not_taken_for_a_picture() -> None:
    text = "<header></header>&lt;img data-k=&#34;0&#34; src=&#34;data:image/png;base64,AA==&#34;&gt;"
    page, files = sizes.fitted(text, "x_assets", Say(), large=1, limit=1)
    assert files == {}
    assert "data:image/png" in page
