"""What the page's script adds: sorting, filters, values, enlarged maps; all of it by keyboard."""

from pathlib import Path
from typing import Any

import pytest

import reports
from tests.reports.chromium import opened
from tests.reports.make import write_run

pytestmark = pytest.mark.browser


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten variants: the values 0.9, 0.10 and so on sort differently as words."""
    root = tmp_path_factory.mktemp("many")
    for k in range(10):
        for seed in (0, 1):
            test = {"a": {"accuracy": 0.02 + 0.03 * ((7 * k) % 10)}, "b": {"accuracy": 0.5}}
            write_run(root, f"variant{k}", seed, test, maps=k < 2)
    return reports.build(root, root / "report.html")


def column(page: Any, place: int) -> list[str]:
    return page.evaluate(
        "place => [...document.querySelector('#table-scores tbody').rows].filter((row) => row.checkVisibility())"
        ".map((row) => row.cells[place].firstChild.textContent.trim())",
        place,
    )


def test_sorting_goes_by_numbers_and_says_so(browser: Any, many: Path) -> None:
    page, told = opened(browser, many)
    head = page.locator("#table-scores thead th").nth(2)
    before = column(page, 0)
    values = lambda: [float(text.split("%")[0]) for text in column(page, 2)]  # noqa: E731
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(values())
    assert column(page, 2) != sorted(column(page, 2))  # not as words
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert values() == sorted(values(), reverse=True)
    page.locator("#table-scores thead th").nth(0).locator("button").click()
    assert head.get_attribute("aria-sort") is None
    assert column(page, 0) == sorted(before)
    page.locator("#table-scores thead th").nth(0).locator("button").click()
    page.locator("#table-scores thead th").nth(0).locator("button").click()
    assert column(page, 0) == before
    assert page.locator("#table-scores [aria-sort]").count() == 0
    assert told == []


def test_rows_are_filtered(browser: Any, many: Path) -> None:
    page, _ = opened(browser, many)
    box = page.locator("#table-scores input[type=search]")
    box.fill("VARIANT3")
    assert column(page, 0) == ["variant3"]
    assert page.locator("#table-scores output").inner_text() == "1 / 10"
    box.fill("")
    assert len(column(page, 0)) == 10


def test_variants_are_hidden_everywhere_at_once(browser: Any, many: Path) -> None:
    page, _ = opened(browser, many)
    boxes = page.locator(".variants input[type=checkbox]")
    assert boxes.count() == 10
    boxes.nth(1).focus()
    page.keyboard.press("Space")
    assert "variant1" not in column(page, 0)
    assert page.locator(".card .row:visible", has_text="variant1").count() == 0
    assert page.locator(".card .row:visible", has_text="variant0").count() == 2
    marks = page.locator("svg [data-variant='1']")
    assert marks.count() >= 2
    assert not any(marks.nth(i).is_visible() for i in range(marks.count()))
    page.locator(".variants input[type=search]").fill("variant4")
    assert column(page, 0) == ["variant4"]
    page.locator(".variants input[type=search]").fill("")
    assert len(column(page, 0)) == 10


def test_values_behind_cells_are_shown_on_demand(browser: Any, many: Path) -> None:
    page, _ = opened(browser, many)
    cell = page.locator("#table-scores tbody td").nth(1)
    cell.hover()
    assert "n = 2: 0.02, 0.02" in cell.get_attribute("title")
    more = cell.locator(".more")
    assert more.bounding_box()["width"] <= 1
    button = page.locator("#table-scores .tools button")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert more.bounding_box()["width"] > 20
    without, _ = opened(browser, many, java_script_enabled=False)
    assert without.locator("#table-scores .more").first.bounding_box()["width"] > 20


def test_maps_are_walked_and_enlarged_by_keyboard(browser: Any, report: Path) -> None:
    page, told = opened(browser, report)
    frames = page.locator(".card").first.locator(".frame")
    assert (
        page.locator(".card .frame[tabindex='0']").count() == page.locator(".card").count()
    )  # one stop an example
    frames.first.focus()
    focused = "[...document.querySelectorAll('.frame')].indexOf(document.activeElement)"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == 2
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == 2 + frames.count()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[open]")
    assert dialog.get_attribute("aria-labelledby") == "zoom"
    assert dialog.locator("h3").inner_text() == "single right"
    assert dialog.locator("img").count() == 2  # the input beside the map
    assert dialog.locator("img").last.bounding_box()["width"] > 300
    page.keyboard.press("ArrowRight")
    assert dialog.locator("h3").inner_text() == "equal left"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert dialog.locator("img").count() == 1  # the input itself
    page.keyboard.press("ArrowLeft")
    assert dialog.locator("h3").inner_text() == "upgrad right"  # round the end
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate(focused) == frames.count() - 1
    assert told == []


def test_a_cross_marks_the_same_pixel_in_all_maps_of_an_example(browser: Any, report: Path) -> None:
    page, _ = opened(browser, report)
    card = page.locator(".card").first
    box = card.locator(".frame").nth(1).bounding_box()
    card.locator(".frame").nth(1).scroll_into_view_if_needed()
    card.locator(".frame").nth(1).hover(position={"x": box["width"] * 0.30, "y": box["height"] * 0.70})
    at = "getComputedStyle(document.querySelector('.maps')).getPropertyValue"
    assert page.evaluate(f"{at}('--x')") == "31.25%"  # the middle of pixel 2 of 8
    assert page.evaluate(f"{at}('--y')") == "68.75%"
    cards = "[...document.querySelector('.maps').querySelectorAll('.frame')]"
    assert len(set(page.evaluate(f"{cards}.map((frame) => getComputedStyle(frame, '::before').left)"))) == 1
    assert page.locator(".maps.aim").count() == 1
    card.locator(".frame").first.focus()
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate(f"{at}('--x')") == "43.75%"


def test_a_table_is_downloaded_as_csv(browser: Any, report: Path) -> None:
    page, told = opened(browser, report)
    with page.expect_download() as download:
        page.locator("#table-scores a[download]").click()
    assert download.value.suggested_filename == "table-scores.csv"
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("variant,runs,")
    assert [line.split(",")[0] for line in lines[1:]] == ["single", "equal", "upgrad"]
    assert told == []


def test_tab_goes_in_the_order_of_reading(browser: Any, report: Path) -> None:
    page, _ = opened(browser, report, viewport={"width": 1280, "height": 800})
    at = """(() => { const part = document.activeElement.closest('.skip, nav, .variants, main');
      return part.className || part.localName; })()"""
    seen = []
    for _ in range(25):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(at))
    assert list(dict.fromkeys(seen)) == ["skip", "nav", "variants", "main"]
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


def test_no_anchor_leads_nowhere(browser: Any, report: Path) -> None:
    page, _ = opened(browser, report)
    missing = page.evaluate(
        "[...document.links].map((a) => a.hash).filter((h) => h && !document.querySelector(h))"
    )
    assert missing == []
    assert page.locator("h2 .anchor, .table .anchor, .charts .anchor").count() >= 15


@pytest.mark.parametrize("width", [400, 1280])
def test_a_link_leads_to_its_section(browser: Any, many: Path, width: int) -> None:
    """Also where what lies between has not been laid out before; it scrolls smoothly: where does it end?"""
    page, _ = opened(browser, many, viewport={"width": width, "height": 700})
    top = "section => document.getElementById(section).getBoundingClientRect().top"
    for section in ("gallery", "learning", "cost"):
        page.evaluate("section => { location.hash = section }", section)
        for _ in range(100):
            page.wait_for_timeout(100)
            if abs(page.evaluate(top, section)) < 8:
                break
        page.wait_for_timeout(300)
        assert abs(page.evaluate(top, section)) < 8, section
