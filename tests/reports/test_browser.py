"""The page in a real browser: hostile names do nothing, nothing is loaded, it fits and is readable in both themes."""

import json
from pathlib import Path
from typing import Any

import pytest

import reports
from tests.reports.chromium import opened
from tests.reports.make import write_run

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
HEBREW = "\u05e9\u05dc\u05d5\u05dd"
BREAKERS = (
    HOSTILE,
    "'\"><script>document.title='owned'</script>",
    "</style></title>{{ 7*7 }}$x_1$",
    "javascript:alert(1)",
    f"{HEBREW} 12%",
    "left\u202eright",
    "bell\x07 nul\x00",
    "long " * 2000,
    "w" * 10_000,
)
SHOWN = (  # of each, what must be read on the page
    *BREAKERS[:4], HEBREW, "left⟨U+202E⟩right", "bell\ufffd nul\ufffd", "long long long…", "w" * 100 + "…",
)  # fmt: skip


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
    told = {
        "status": "failed",
        "error": f"{HOSTILE} \ud800",
        "traceback": HOSTILE,
        "experiment": {"name": HOSTILE},
    }
    (broken / "run.json").write_text(json.dumps(told))
    file = reports.build(root, tmp_path / "report.html")
    page, told = opened(browser, file)
    page.wait_for_timeout(300)
    assert page.title() == HOSTILE
    assert told == []
    assert page.locator("script").count() == 1  # our own
    assert page.locator("img:not([src^='data:'])").count() == 0
    page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    text = page.locator("body").inner_text()
    for shown in SHOWN:
        assert shown in text
    assert "49" not in page.locator("h1").inner_text()
    assert (
        page.locator(f"bdi:text('{HEBREW}')").count() > 5
    )  # set apart, so that it does not turn what follows
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("[title*='wwwww']").first.wait_for(state="attached")
    assert len(page.locator("[title*='wwwww']").first.get_attribute("title")) >= 10_000


def test_the_canary_can_sing(browser: Any, tmp_path: Path) -> None:
    """The same text unescaped, without the page's policy, does change the title: the test above can fail."""
    file = tmp_path / "open.html"
    file.write_text(f"<title>before</title>{HOSTILE}")
    page, _ = opened(browser, file)
    page.wait_for_function("document.title == 'owned'", timeout=5000)


def test_the_policy_holds_even_where_escaping_failed(browser: Any, report: Path, tmp_path: Path) -> None:
    file = tmp_path / "injected.html"
    file.write_text(
        report.read_text(encoding="utf-8").replace("</main>", f"{HOSTILE}</main>"), encoding="utf-8"
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
    for selector in ("h1", "p.scope", "nav a", "td", "figcaption", ".charts svg"):
        assert page.evaluate(contrast, selector) >= 4.5, selector
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(22, 24, 27)") == (scheme == "dark")


def test_charts_take_the_ink_of_the_theme(browser: Any, report: Path) -> None:
    """Black axis labels on a dark page are the usual fault of saved charts."""
    page, _ = opened(browser, report, color_scheme="dark")
    fill = page.evaluate("getComputedStyle(document.querySelector('.charts svg text')).fill")
    assert fill == page.evaluate("getComputedStyle(document.body).color")


def test_it_reads_the_same_without_javascript(browser: Any, report: Path) -> None:
    """But for the controls, which a script makes."""
    remove = """document.querySelectorAll('.tools > :not(a), .variants > p ~ p, dialog').forEach((e) => e.remove());
      document.querySelectorAll('th button').forEach((b) => b.replaceWith(...b.childNodes))"""
    texts = []
    for flag in (True, False):
        page, _ = opened(browser, report, java_script_enabled=flag)
        if flag:
            page.evaluate(remove)
        texts.append(page.locator("body").inner_text())
    assert " ".join(texts[0].split()) == " ".join(texts[1].split())
    assert "Verdict" in texts[0]


def test_every_table_can_be_reached_and_scrolled_by_keyboard(browser: Any, report: Path) -> None:
    page, _ = opened(browser, report, viewport={"width": 320, "height": 800})
    regions = page.locator(".scroll")
    assert regions.count() >= 5
    for i in range(regions.count()):
        assert regions.nth(i).get_attribute("tabindex") == "0"
        label = regions.nth(i).get_attribute("aria-labelledby")
        assert page.locator(f"#{label}").text_content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, report: Path, scheme: str) -> None:
    """With everything open, and again with a map enlarged."""
    package = pytest.importorskip("axe_playwright_python", reason="needs the dev extra")
    axe = (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    page, _ = opened(browser, report, color_scheme=scheme, bypass_csp=True)
    page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    page.evaluate(axe)

    def found() -> list[str]:
        violations = page.evaluate("axe.run().then((result) => result.violations)")
        return [
            f"{v['id']}: {v['nodes'][0]['html'][:200]}"
            for v in violations
            if v["impact"] in ("serious", "critical")
        ]

    assert found() == []
    page.locator(".card .frame").nth(1).click()
    assert page.locator("dialog[open]").count() == 1
    assert found() == []
    page.evaluate("document.querySelector('dialog').close()")
    page.evaluate("document.querySelector('h1').style.color = '#888'")
    page.evaluate("document.querySelector('h1').style.background = '#999'")
    assert any("color-contrast" in fault for fault in found())  # it can find


def test_print_shows_what_is_closed_and_no_controls(browser: Any, report: Path) -> None:
    page, _ = opened(browser, report)
    page.emulate_media(media="print")
    for selector in ("nav", ".tools", ".skip"):
        assert not page.locator(selector).first.is_visible(), selector
    closed = page.locator("details:not([open]):not(.contents)")
    assert closed.count() >= 2
    for i in range(closed.count()):
        assert closed.nth(i).locator("td, pre").first.bounding_box()["height"] > 5
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(253, 253, 252)"
    whole = page.pdf().count(b"/Type /Page\n")
    page.evaluate("""() => { const sheet = new CSSStyleSheet();
      sheet.replaceSync("details::details-content { display: none !important; }");
      document.adoptedStyleSheets.push(sheet); }""")
    assert page.pdf().count(b"/Type /Page\n") < whole
