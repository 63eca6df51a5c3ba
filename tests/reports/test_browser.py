"""The page in a real browser: hostile names do nothing, nothing is loaded, it fits and is readable in both themes."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import reports
from tests.reports.make import three_variants, write_run

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
BREAKERS = (
    HOSTILE,
    "'\"><script>document.title='owned'</script>",
    "</style></title>{{ 7*7 }}$x_1$",
    "javascript:alert(1)",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the browser extra")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("needs Debian's chromium package")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=found, args=arguments)
        yield chromium
        chromium.close()


def opened(browser: Any, file: Path, **context: Any) -> tuple[Any, list[str]]:
    """The page, and everything it complained of or asked for."""
    page = browser.new_context(**context).new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on(
        "request", lambda r: told.append(r.url) if not r.url.startswith(("data:", file.as_uri())) else None
    )
    page.goto(file.as_uri())
    return page, told


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = three_variants(tmp_path_factory.mktemp("runs"))
    return reports.build(root, root / "report.html")


def test_hostile_text_does_nothing(browser: Any, tmp_path: Path) -> None:
    """In every place where text of a user reaches the page."""
    root = tmp_path / "<img src=x onerror=alert(1)>"
    for i, text in enumerate(BREAKERS):
        tasks = [{"name": text, "kind": text, "classes": [text] * 3,
                  "metrics": [{"name": text, "unit": text, "higher_is_better": True}]},
                 {"name": text + "2", "kind": text, "classes": [text] * 3,
                  "metrics": [{"name": text, "unit": "fraction", "higher_is_better": True}]}]  # fmt: skip
        for seed in range(2):
            write_run(
                root, text, seed + 10 * i, {text: {text: 0.5 + seed / 10}, text + "2": {text: 0.5}}, tasks=tasks,
                experiment={"name": HOSTILE, "question": text, "baseline": BREAKERS[0], "reference": BREAKERS[1]},
                config={text: text}, command=[text],
            )  # fmt: skip
    broken = write_run(root, "broken", 99, {"left": {"accuracy": 0.5}})
    told = {"status": "failed", "error": HOSTILE, "traceback": HOSTILE, "experiment": {"name": HOSTILE}}
    (broken / "run.json").write_text(json.dumps(told))
    file = reports.build(root, tmp_path / "report.html")
    page, told = opened(browser, file)
    page.wait_for_timeout(300)
    assert page.title() == HOSTILE
    assert told == []
    assert page.locator("script").count() == 0
    assert page.locator("img:not([src^='data:'])").count() == 0
    text = page.locator("body").inner_text()
    for hostile in BREAKERS:
        assert hostile in text
    assert "49" not in page.locator("h1").inner_text()


def test_the_canary_can_sing(browser: Any, tmp_path: Path) -> None:
    """The same text unescaped, without the page's policy, does change the title: the test above can fail."""
    file = tmp_path / "open.html"
    file.write_text(f"<title>before</title>{HOSTILE}")
    page, _ = opened(browser, file)
    page.wait_for_function("document.title == 'owned'", timeout=5000)


def test_the_policy_holds_even_where_escaping_failed(browser: Any, report: Path, tmp_path: Path) -> None:
    file = tmp_path / "injected.html"
    file.write_text(
        report.read_text(encoding="utf-8").replace("<main>", f"<main>{HOSTILE}"), encoding="utf-8"
    )
    page, _ = opened(browser, file)
    page.wait_for_timeout(500)
    assert page.title() == "toy"


@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_is_readable(browser: Any, report: Path, width: int, scheme: str) -> None:
    page, told = opened(browser, report, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert told == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    contrast = """selector => { const s = getComputedStyle(document.querySelector(selector));
      const rgb = c => c.match(/[0-9.]+/g).slice(0, 3).map(Number);
      const light = c => rgb(c).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
      const page = getComputedStyle(document.body).backgroundColor;
      const [a, b] = [light(s.color), light(page)].sort((x, y) => y - x); return (a + .05) / (b + .05); }"""
    for selector in ("h1", "p.scope", "nav a", "td", "caption", "figcaption", ".charts svg"):
        assert page.evaluate(contrast, selector) >= 4.5, selector
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(22, 24, 27)") == (scheme == "dark")


def test_charts_take_the_ink_of_the_theme(browser: Any, report: Path) -> None:
    """Black axis labels on a dark page are the usual fault of saved charts."""
    page, _ = opened(browser, report, color_scheme="dark")
    fill = page.evaluate("getComputedStyle(document.querySelector('.charts svg text')).fill")
    assert fill == page.evaluate("getComputedStyle(document.body).color")


def test_it_reads_the_same_without_javascript(browser: Any, report: Path) -> None:
    texts = [
        opened(browser, report, java_script_enabled=flag)[0].locator("body").inner_text()
        for flag in (True, False)
    ]
    assert texts[0] == texts[1]
    assert "Verdict" in texts[0]


def test_every_table_can_be_reached_and_scrolled_by_keyboard(browser: Any, report: Path) -> None:
    page, _ = opened(browser, report, viewport={"width": 320, "height": 800})
    regions = page.locator(".scroll")
    assert regions.count() >= 5
    for i in range(regions.count()):
        assert regions.nth(i).get_attribute("tabindex") == "0"
        assert regions.nth(i).get_attribute("aria-label")
