"""The form of the page, without a browser: the policy, sizes, anchors."""

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import reports
from reports.document import Cell, Chart, Report, Section, Table
from reports.loading import load
from reports.page import render
from tests.reports.make import write_run

HOSTILE = "</script><script>alert(1)//"
OWN = 15_000


@pytest.fixture(scope="module")
def text(report: Path) -> str:
    return report.read_text(encoding="utf-8")


def part(text: str, tag: str) -> str:
    (found,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return found


def test_own_style_and_script_are_small(text: str) -> None:
    assert len((part(text, "style") + part(text, "script")).encode()) < OWN


def test_the_policy_names_just_our_style_and_script(text: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    for tag, directive in (("style", "style-src-elem"), ("script", "script-src")):
        digest = b64encode(sha256(part(text, tag).encode()).digest()).decode()
        assert f"{directive} &#39;sha256-{digest}&#39;;" in policy.group(1)
    assert policy.group(1).startswith("default-src &#39;none&#39;; img-src data:; ")


def test_no_text_of_a_user_reaches_the_script(tmp_path: Path, text: str) -> None:
    """The script is the same in every page, so it can hold nothing of a run."""
    write_run(tmp_path, HOSTILE, 0, {HOSTILE: {HOSTILE: 0.5}}, experiment={"name": HOSTILE}, maps=False)
    hostile = reports.build(tmp_path, tmp_path / "r.html").read_text(encoding="utf-8")
    assert part(hostile, "script") == part(text, "script")
    assert hostile.count("<script") == 1


def page_of(*keys: str) -> str:
    tables = [Table(key, key, ["a"], [[Cell("b")]]) for key in keys]
    values = {"values": {"a": [0.1, 0.2]}, "unit": ""}
    charts = [Chart(key, key, "dots", values) for key in keys]
    return render(Report("t", "q", "s", "en", ["a"], [], [Section("s", "S", tables=tables, charts=charts)]))


def ids(text: str) -> list[str]:
    return re.findall(r'\bid="([^"]*)"', text)


def test_anchors_are_stable_unique_and_safe() -> None:
    keys = ["plain", "Ünïcode", "<i>", '" onclick="x', "a b", "a-b", "", "x" * 9000, "plain"]
    found = ids(page_of(*keys))
    assert len(found) == len(set(found))
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,140}", name) for name in found)
    assert {"table-plain", "table-plain--2", "chart-plain"} <= set(found)
    alone = set(ids(page_of("<i>")))
    assert {name for name in alone if name.startswith("table-")} <= set(found)  # whatever else is on the page


def test_what_stands_behind_a_cell_is_on_the_page() -> None:
    cell = Cell("50%", 0.5, 0.4, 0.6, 3, (0.45, 0.5, 0.55), note="of all", strong=True)
    table = Table("t", "T", ["name", "x"], [[Cell("a"), cell]])
    page = render(Report("t", "q", "s", "en", ["a"], [], [Section("s", "S", tables=[table])]))
    assert (
        '<tr data-variant="0"><th scope="row">a</th><td data-value="0.5"><b>50%</b>'
        '<span class="more"> n = 3: 0.45, 0.5, 0.55; 95% interval 0.4 to 0.6; of all</span></td>'
    ) in page


@pytest.mark.browser
def test_a_notebook_shows_the_page_in_a_frame(browser: Any, report: Path) -> None:
    """A frame of another origin, where the script runs and can reach nothing of the notebook."""
    page = browser.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.set_content(f"<title>notebook</title>{load(report)._repr_html_()}")
    frame = page.frame_locator("iframe")
    assert frame.locator("h1").inner_text() == "toy"
    frame.locator("#table-scores thead button").first.click()
    assert frame.locator("#table-scores th[aria-sort]").count() == 1
    assert page.frames[1].evaluate(
        "(() => { try { return parent.document.title } catch { return 'closed' } })()"
    ) == ("closed")
    assert page.frames[1].evaluate("innerHeight") > 300
    assert told == []
