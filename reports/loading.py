"""A report inside its page, and out of it again: ``load`` gives what was written, to the byte when it is saved anew.

The page holds the report as gzipped JSON in base64, in ``<template id="data">``, which no browser shows or runs. No
picture is in it twice: each ``<img data-k="3" ...>`` says which of them it shows, and the data holds that number.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import html
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from reports.codec import decode, encode
from reports.document import Picture, Report

SCHEMA = 1  # of the data; a field with a default may be added without a new one
MARK = '<meta name="generator" content="candelabra report">'  # by this a report of ours is known
DATA = re.compile(r'<template id="data">\s*([^<]*?)\s*</template>')
IMAGE = re.compile(r'<img\b[^>]*\bdata-k="(\d+)"[^>]*>')
SOURCE = re.compile(r'(?<![\w-])src="([^"]*)"')
TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}


def embedded(report: Report) -> str:
    """The report as the text of ``<template id="data">``; the same report gives the same text."""
    numbers = picture_numbers(report)

    def without_source(part: Any) -> Any:
        return replace(part, src=str(numbers[part.src])) if isinstance(part, Picture) else part

    whole = {"schema": SCHEMA, "report": encode(report, swap=without_source)}
    text = json.dumps(whole, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def picture_numbers(report: Report) -> dict[str, int]:
    """{src: its ``data-k``}: one number for each different picture, in the order of the page.

    >>> picture_numbers(Report("t", "", "", "en", [], [], []))
    {}
    """
    sources = dict.fromkeys(picture.src for picture in _pictures(report))
    return {source: k for k, source in enumerate(sources)}


def load(file: str | Path) -> Report:
    """The report that a page holds.

    Pictures in a folder beside the page are read from there.

    Args:
        file: a page that `reports.build` or `Report.save` wrote.

    Raises:
        ValueError: no such file, not a report of ours, cut short or damaged, or of a newer version.

    >>> load("nowhere.html")
    Traceback (most recent call last):
    ValueError: no report: nowhere.html is not a file
    """
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"no report: {path} is {'a folder' if path.is_dir() else 'not a file'}")
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    if MARK not in text[:2000]:
        raise ValueError(f"{path} is not a report of candelabra")
    found = DATA.search(text)
    if found is None:
        why = "holds no data: an older version wrote it" if "</html>" in text else "is cut short"
        raise ValueError(f"{path} {why}; build it again from its runs")
    whole = _unpacked(found.group(1), path)
    schema = whole.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise ValueError(
            f"{path} was written by a newer version (schema {schema}, this one reads up to {SCHEMA}); update candelabra"
        )
    sources = dict(_sources(text))

    def with_source(part: Any) -> Any:
        if not isinstance(part, Picture):
            return part
        if part.src not in sources:
            raise ValueError(f"picture {part.src} is missing")
        return replace(part, src=_as_data(sources[part.src], path))

    try:
        return decode(whole.get("report"), Report, with_source)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; build it again from its runs") from error


def _unpacked(data: str, path: Path) -> dict[str, Any]:
    try:
        whole = json.loads(gzip.decompress(base64.b64decode(data, validate=True)))
    except (ValueError, binascii.Error, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"the data of {path} is damaged; build it again from its runs") from error
    if not isinstance(whole, dict):
        raise ValueError(f"the data of {path} is damaged; build it again from its runs")
    return whole


def _sources(text: str) -> Iterator[tuple[str, str]]:
    """Number and source of each picture in the page."""
    for tag in IMAGE.finditer(text):
        source = SOURCE.search(tag.group(0))
        if source is not None:
            yield tag.group(1), html.unescape(source.group(1))


def _as_data(source: str, page: Path) -> str:
    """A picture as data URI; one in a file is read, where it lies in a folder beside the page."""
    if source.startswith("data:"):
        return source
    file = (page.parent / unquote(source)).resolve()
    if file.suffix not in TYPES or not file.is_relative_to(page.parent.resolve()) or not file.is_file():
        raise ValueError(f"the picture {source} is not there; keep the page together with its folder")
    return f"data:{TYPES[file.suffix]};base64,{base64.b64encode(file.read_bytes()).decode()}"


def _pictures(part: Any) -> Iterator[Picture]:
    """All pictures, at any depth, in the order of the fields, which is that of the page."""
    if isinstance(part, Picture):
        yield part
    elif isinstance(part, list | tuple):
        for item in part:
            yield from _pictures(item)
    elif is_dataclass(part):
        for field in fields(part):
            yield from _pictures(getattr(part, field.name))
