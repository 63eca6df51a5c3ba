"""A page in Chromium, and all that it complains of or asks for."""

from pathlib import Path
from typing import Any


def opened(browser: Any, file: Path, **context: Any) -> tuple[Any, list[str]]:
    page = browser.new_context(**context).new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on(
        "request", lambda r: told.append(r.url) if not r.url.startswith(("data:", file.as_uri())) else None
    )
    page.goto(file.as_uri())
    if context.get("java_script_enabled", True):  # all is laid out just after it has loaded
        for _ in range(500):
            if page.evaluate("document.body.className"):
                break
            page.wait_for_timeout(20)
    return page, told
