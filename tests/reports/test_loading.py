"""A report survives its page: what is loaded equals what was written, and damage is told in one line."""

import base64
import gzip
import json
import typing
from dataclasses import fields, is_dataclass, replace
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reports
from reports.codec import decode, encode
from reports.document import Card, Cell, Chart, Fact, Finding, Group, Picture, Report, Section, Strip, Table
from reports.loading import DATA, embedded, load
from tests.reports.make import three_variants

PARTS = (Card, Cell, Chart, Fact, Finding, Group, Picture, Report, Section, Strip, Table)
FREE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text() | st.just("$"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.just("$"), inner, max_size=3)
    ),
    max_leaves=8,
)


def of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a type, drawn by its hints alone; a field that is new is drawn too."""
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return FREE
    if is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return st.builds(hint, **{f.name: of(hints[f.name]) for f in fields(hint)})
    if kind is list:
        return st.lists(of(inner[0]), max_size=2)
    if kind is tuple and inner[1:] == (...,):
        return st.lists(of(inner[0]), max_size=3).map(tuple)
    if kind is tuple:
        return st.tuples(*map(of, inner))
    if kind is dict:
        return st.dictionaries(st.text(max_size=3) | st.just("$"), of(inner[1]), max_size=2)
    if inner:  # X | None
        return st.none() | of(next(one for one in inner if one is not type(None)))
    return {
        str: st.text(max_size=5),
        float: st.floats(),
        int: st.integers(-(2**60), 2**60),
        bool: st.booleans(),
    }[hint]


def alike(a: Any, b: Any) -> bool:
    """Equal and of the same types, NaN equal to NaN, mappings in the same order."""
    if type(a) is not type(b):
        return False
    if is_dataclass(a):
        return all(alike(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, dict):
        return list(a) == list(b) and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    return bool(a == b) or (isinstance(a, float) and isnan(a) and isnan(b))


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.one_of(map(of, PARTS)))
def test_every_part_comes_back_through_json(part: Any) -> None:
    text = json.dumps(encode(part), allow_nan=False)
    assert alike(decode(json.loads(text), type(part)), part)


def test_what_is_alike_can_differ() -> None:
    assert not alike(Cell("a", 1.0), Cell("a", 2.0))
    assert not alike({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert not alike([1], [1.0])
    assert alike(Cell("a", nan), Cell("a", nan))


def test_numpys_numbers_become_pythons() -> None:
    cell = Cell("a", np.float64(0.1), n=np.int64(3), points=(np.float32(0.5), inf), strong=np.bool_(True))  # type: ignore[arg-type]
    assert alike(decode(encode(cell), Cell), Cell("a", 0.1, n=3, points=(0.5, inf), strong=True))
    with pytest.raises(TypeError, match="not a set"):
        encode(Chart("k", "c", "dots", {"values": {1, 2}}))


def test_a_wrong_type_is_told_with_its_place() -> None:
    plain = encode(Table("k", "c", ["a"], [[Cell("x", 1.0)]]))
    plain["rows"][0][0]["value"] = "one"
    with pytest.raises(ValueError, match=r"^Table\.rows\[0\]\[0\]\.value must be float, got str$"):
        decode(plain, Table)
    with pytest.raises(ValueError, match="Cell has an unknown field 'colour'"):
        decode({"text": "x", "colour": "red"}, Cell)
    with pytest.raises(ValueError, match=r"missing 1 required .* 'text'"):
        decode({}, Cell)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = three_variants(tmp_path_factory.mktemp("runs"), gain=0.05)
    return reports.build(root, root / "report.html")


def test_a_page_gives_its_report_back_and_saves_to_the_same_bytes(page: Path, tmp_path: Path) -> None:
    report = load(page)
    assert alike(report, reports.compare(page.parent))
    assert report.tasks == ["left", "right"]
    assert report.seeds == {"single": [0, 1, 2], "equal": [0, 1, 2], "upgrad": [0, 1, 2]}
    assert report.save(tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_pictures_are_stored_once(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    data = DATA.search(text)
    assert data is not None
    assert "data:image" not in gzip.decompress(base64.b64decode(data.group(1))).decode()
    assert "data:image/png" in text


def test_pictures_are_read_from_a_folder_beside_the_page(page: Path, tmp_path: Path) -> None:
    text, report = page.read_text(encoding="utf-8"), load(page)
    source = next(
        p for s in report.sections for g in s.groups for p in [c.image for c in g.cards]
    ).src  # the first input
    assert text.count(source) == 1
    moved = tmp_path / "report.html"
    moved.write_text(text.replace(source, "assets/0.png"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"the picture assets/0\.png is not there; keep the page together"):
        load(moved)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "0.png").write_bytes(base64.b64decode(source.partition(",")[2]))
    assert load(moved) == report
    outside = tmp_path / "page" / "report.html"
    outside.parent.mkdir()
    outside.write_text(text.replace(source, "../assets/0.png"), encoding="utf-8")
    with pytest.raises(ValueError, match="is not there"):
        load(outside)


def test_a_very_large_page_is_loaded_with_its_folder(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = load(page)
    defaults = {"large": 1000, "limit": 1000}
    monkeypatch.setattr("reports.building.fitted.__kwdefaults__", defaults)
    out = report.save(tmp_path / "my report.html")
    assert "data:image" not in out.read_text(encoding="utf-8")
    assert load(out) == report
    first = out.read_bytes()
    assert load(out).save(out).read_bytes() == first


def test_what_cannot_be_loaded_is_one_clear_line(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    data = DATA.search(text)
    assert data is not None
    newer = base64.b64encode(gzip.compress(b'{"schema": 99, "report": {}}')).decode()
    strange = base64.b64encode(gzip.compress(b'{"schema": 1, "report": {"title": 3}}')).decode()
    listed = base64.b64encode(gzip.compress(b"[1]")).decode()
    for name, content, told in (
        ("foreign", "<p>hello", "is not a report of candelabra"),
        ("empty", "", "is not a report of candelabra"),
        ("torn", text[: len(text) // 2], "is cut short"),
        ("torn_in_the_data", text[: data.start() + 60], "is cut short"),
        ("old", text.replace(data.group(0), ""), "holds no data: an older version wrote it"),
        ("newer", text.replace(data.group(1), newer), r"newer version \(schema 99, this one reads up to 1\)"),
        ("strange", text.replace(data.group(1), strange), "Report.title must be str, got int"),
        ("listed", text.replace(data.group(1), listed), "is damaged"),
        ("flipped", text.replace(data.group(1), data.group(1)[:-40] + "A" * 40), "is damaged"),
        ("no_base64", text.replace(data.group(1), "%%%"), "is damaged"),
        ("less", text.replace('data-k="0"', ""), "picture 0 is missing"),
    ):
        file = tmp_path / f"{name}.html"
        file.write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=told) as error:
            load(file)
        assert "\n" not in str(error.value)
        assert str(file) in str(error.value)
    (tmp_path / "binary.html").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match="is not a report"):
        load(tmp_path / "binary.html")
    with pytest.raises(ValueError, match="is a folder"):
        load(tmp_path)


def test_hostile_names_come_back_as_they_were(page: Path, tmp_path: Path) -> None:
    report = load(page)
    hostile = '</template><img data-k="0" src="x" onerror=alert(1)>&quot;"\u202e'
    report = replace(report, title=hostile, variants=[hostile, *report.variants[1:]])
    assert load(report.save(tmp_path / "r.html")) == report


def test_the_same_report_gives_the_same_data(page: Path) -> None:
    assert embedded(load(page)) == embedded(load(page))
