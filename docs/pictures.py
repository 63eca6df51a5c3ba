"""Make the pictures of ``docs/reports.md``: ``python docs/pictures.py RUNS``, e.g. of ``make demo OUT=RUNS``.

Each is a part of the report of these runs as Chromium shows it, in few colours so that it stays small.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

import reports

IMAGES = Path(__file__).parent / "images"
# name: width, height, scheme, what is scrolled to
VIEWS = {
    "report-wide": (1280, 860, "light", "#scores"),
    "report-dark": (1280, 860, "dark", "#gallery"),
    "report-zoom": (1280, 860, "light", "#gallery"),  # a map enlarged
    "report-narrow": (360, 860, "light", "#verdict"),
    "report-print": (794, 1123, "light", "#gallery"),  # a sheet of A4
}


def main() -> int:
    """Write all pictures; 2 where the runs are not given."""
    if len(sys.argv) != 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as p:
        page = reports.build(sys.argv[1], Path(folder) / "report.html")
        found = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = p.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        for name, view in VIEWS.items():
            save(photographed(browser, page, name, *view), name)
        browser.close()
    return 0


def photographed(browser: Any, page: Path, name: str, width: int, height: int, scheme: str, at: str) -> bytes:
    """A PNG of the window."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    tab = context.new_page()
    tab.goto(page.as_uri())
    if name == "report-print":
        tab.emulate_media(media="print")
    tab.evaluate(f"document.querySelector('{at}').scrollIntoView({{ behavior: 'instant' }})")
    if name == "report-zoom":
        tab.locator(".card .frame").nth(3).click()
        box = tab.locator("dialog .frame").last.bounding_box()
        tab.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.4 * box["height"])
    picture = tab.screenshot()
    context.close()
    return bytes(picture)


def save(picture: bytes, name: str) -> None:
    """In 240 colours: a page has few, and the file a third of the size."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    file = IMAGES / f"{name}.png"
    image.quantize(240, dither=Image.Dither.NONE).save(file, optimize=True)
    sys.stdout.write(f"{file.relative_to(Path.cwd())} {file.stat().st_size // 1000} kB\n")


if __name__ == "__main__":
    sys.exit(main())
