"""How large a page may grow: large ones say so, and the pictures of very large ones go into a folder beside them."""

from __future__ import annotations

import re
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from reports.files import write_whole
from reports.usertext import shown
from reports.wording import Say

LARGE = 15_000_000  # bytes; from here on the page says how large it is
LIMIT = 40_000_000  # from here on its pictures are put beside it

_PICTURE = re.compile(r'(<img data-k="\d+" src=")data:image/png;base64,([^"]*)"')
_FILE = re.compile(r"[0-9a-f]{24}\.png")  # by its content, so that a page never shows the pictures of another


def fitted(
    text: str, folder: str, say: Say, *, large: int = LARGE, limit: int = LIMIT
) -> tuple[str, dict[str, bytes]]:
    """A page within its limits, and the pictures to lie in ``folder`` beside it: {file name: PNG}.

    Args:
        text: of `reports.page.render`, with all pictures in it.
        folder: the name of the pictures' folder, e.g. ``report_assets``.
        say: the texts.
        large, limit: sizes in bytes.

    >>> fitted("<header></header>", "report_assets", Say(), large=100)
    ('<header></header>', {})
    """
    size = len(text.encode())
    if size < large:
        return text, {}
    files: dict[str, bytes] = {}

    def beside(tag: re.Match[str]) -> str:
        picture = b64decode(tag.group(2))
        name = f"{sha256(picture).hexdigest()[:24]}.png"
        files[name] = picture
        return f'{tag.group(1)}{quote(folder)}/{name}"'

    note = say("page.large", megabytes=round(size / 1e6))
    if size > limit:
        text = _PICTURE.sub(beside, text)
    if files:
        text = text.replace("img-src data:;", "img-src data: &#39;self&#39;;", 1)
        note = say("page.beside", megabytes=round(size / 1e6), count=len(files), folder=folder)
    return text.replace("</header>", f'<p class="note">{shown(note)}</p>\n</header>', 1), files


def put(files: dict[str, bytes], folder: Path) -> None:
    """Write the pictures, and remove those of an older page there; other files of the folder stay."""
    if files:
        folder.mkdir(parents=True, exist_ok=True)
    for name, picture in files.items():
        if not (folder / name).exists():
            write_whole(folder / name, picture)
    if folder.is_dir():
        for file in folder.iterdir():
            if _FILE.fullmatch(file.name) and file.name not in files:
                file.unlink()
