"""All tables and charts of a report as files, for papers, spreadsheets and other programs."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import font_manager, rc_context

from reports.charts import KINDS, drawn
from reports.charts.style import INK, STYLE
from reports.codec import encode
from reports.document import Chart, Report
from reports.files import write_whole
from reports.frames import csv_rows, csv_text, named
from reports.paper import latex, markdown
from reports.rundir import safe_name
from reports.wording import Say

__all__ = ["csv_text", "export"]

INDEX = "index.json"  # what an export consists of, and by which an older one of ours is known
GENERATOR = "candelabra export"
_OWN = re.compile(r"(tables|figures)/[A-Za-z0-9._-]+")
# fonts with Chinese characters, of which a PDF takes the first that is installed
_FONTS = (
    "Noto Sans CJK SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Microsoft YaHei", "SimHei",
    "PingFang SC", "Droid Sans Fallback",
)  # fmt: skip


def export(report: Report, folder: str | Path) -> Path:
    """Write every table as CSV, JSON, Markdown and LaTeX, and every chart as SVG, PDF, and its data as CSV and JSON.

    The same report gives the same bytes. A PDF holds its letters; where no installed font has one of them (Chinese
    names, for example) the PDF is left out, and ``index.json`` says so.

    Args:
        report: what to write.
        folder: absent, empty, or an older export, which is replaced; made with its parents.

    Returns:
        ``folder`` as a path.

    Raises:
        ValueError: the folder holds something else, or cannot be written; nothing was changed then.
    """
    path = Path(folder)
    files, left_out = _files(report)
    older = _older(path)
    foreign = [name for name in files if name not in older and (path / name).exists()]
    if foreign:
        raise ValueError(
            f"{path / foreign[0]} is not of an export; choose another folder (nothing was changed)"
        )
    try:
        for part in ("tables", "figures"):
            (path / part).mkdir(parents=True, exist_ok=True)
        write_whole(
            path / INDEX, _index(report, [*older, *files], left_out)
        )  # all that may be there, should this be killed
        for name, content in files.items():
            write_whole(path / name, content)
        for name in older:
            if name not in files:
                (path / name).unlink(missing_ok=True)
        write_whole(path / INDEX, _index(report, list(files), left_out))
    except OSError as error:
        raise ValueError(f"cannot write {error.filename or path}: {error.strerror}") from error
    return path


def _files(report: Report) -> tuple[dict[str, bytes], dict[str, str]]:
    """{name: content} of all files, and {name: why} of those that could not be made."""
    files: dict[str, bytes] = {}
    left_out: dict[str, str] = {}
    for key, table in named(list(report.every_table())):
        name = f"tables/{safe_name(key)}"
        files[f"{name}.csv"] = csv_text(table).encode()
        files[f"{name}.json"] = _json(encode(table))
        files[f"{name}.md"] = f"{markdown(table)}\n".encode()
        files[f"{name}.tex"] = f"{latex(table)}\n".encode()
    say = Say(report.language)
    for key, chart in named(list(report.every_chart())):
        name = f"figures/{safe_name(key)}"
        files[f"{name}.csv"] = _data_csv(chart.data).encode()
        files[f"{name}.json"] = _json(encode(chart))
        files[f"{name}.svg"] = _svg(chart, say, report.variants).encode()
        pdf, why = _pdf(chart, say)
        if pdf:
            files[f"{name}.pdf"] = pdf
        else:
            left_out[f"{name}.pdf"] = why
    return files, left_out


def _svg(chart: Chart, say: Say, variants: Sequence[str]) -> str:
    """The chart of the page as a file of its own, with the look that the page's style gives it, dark on white."""
    look = "background:#ffffff;font-family:sans-serif;stroke-linejoin:round;stroke-linecap:butt"
    inline = drawn(chart, say, "chart", variants)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        + inline.replace("currentColor", INK).replace("<svg ", f'<svg style="{look}" ', 1)
        + "\n"
    )


def _pdf(chart: Chart, say: Say) -> tuple[bytes, str]:
    """The chart as PDF without dates; or why there is none."""
    installed = set(font_manager.get_font_names())
    fonts = ["DejaVu Sans", *[name for name in _FONTS if name in installed][:1]]
    stream = io.BytesIO()
    look = STYLE | {"font.family": fonts, "pdf.fonttype": 42}
    with rc_context(look), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        figure, _ = KINDS[chart.kind](chart.data, say)
        for text in figure.findobj(lambda artist: hasattr(artist, "set_fontfamily")):
            text.set_fontfamily(fonts)  # type: ignore[attr-defined]  # as just asked
        metadata = {"CreationDate": None, "Creator": None, "Producer": None, "Title": chart.caption}
        figure.savefig(stream, format="pdf", metadata=metadata)
    missing = [str(one.message) for one in told if "missing from font" in str(one.message)]
    return (
        (b"", f"no installed font has every character: {missing[0]}") if missing else (stream.getvalue(), "")
    )


def _data_csv(data: Mapping[str, Any]) -> str:
    """A chart's data as CSV: its columns where it has some, else a line a number with the way to it."""
    lengths = [len(value) for value in data.values() if _is_column(value)]
    longest = {
        name: value for name, value in data.items() if _is_column(value) and len(value) == max(lengths)
    }
    if len(longest) > 1 and "order" not in longest:
        return csv_rows(list(longest), zip(*longest.values(), strict=True))
    return csv_rows(["place", "value"], _leaves("", data))


def _is_column(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(item, list | dict) for item in value)


def _leaves(place: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        parts = list(value.items())
    elif isinstance(value, list):
        parts = list(enumerate(value))
    else:
        return [(place, value)]
    return [leaf for name, part in parts for leaf in _leaves(f"{place}/{name}" if place else str(name), part)]


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def _index(report: Report, files: list[str], left_out: Mapping[str, str]) -> bytes:
    return _json({
        "generator": GENERATOR, "title": report.title, "scope": report.scope, "language": report.language,
        "files": sorted(set(files)), "left_out": dict(left_out),
    })  # fmt: skip


def _older(path: Path) -> list[str]:
    """The files of the export that is in the folder; none where it is absent or empty.

    Raises:
        ValueError: the folder holds something else.
    """
    if not path.exists():
        return []
    if not path.is_dir():
        raise ValueError(f"{path} is a file; choose a folder for the export")
    try:
        if not any(path.iterdir()):
            return []
        index = json.loads((path / INDEX).read_text(encoding="utf-8"))
        if index["generator"] == GENERATOR:
            return [str(name) for name in index["files"] if _OWN.fullmatch(str(name))]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no index of ours
    raise ValueError(f"{path} is not empty and no export; choose another folder (nothing was changed)")
