"""The exported files: real ones, complete, the same again, and never over something else."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import reports
from reports.__main__ import main
from reports.codec import decode
from reports.document import Cell, Chart, Report, Section, Table
from reports.export import export
from tests.reports.make import three_variants


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return reports.compare(three_variants(tmp_path_factory.mktemp("runs"), gain=0.05))


@pytest.fixture(scope="module")
def folder(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.export(tmp_path_factory.mktemp("made") / "deep" / "export")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def small(**charts: Any) -> Report:
    table = Table("t", "c", ["a"], [[Cell("x")]])
    drawn = [Chart(key, key, "dots", {"values": values, "unit": ""}) for key, values in charts.items()]
    return Report("r", "", "", "en", [], [], [Section("s", "S", tables=[table], charts=drawn)])


def test_every_table_and_chart_is_there_in_every_form(report: Report, folder: Path) -> None:
    for table in report.every_table():
        assert all(
            (folder / "tables" / f"{table.key}{end}").is_file() for end in (".csv", ".json", ".md", ".tex")
        )
    charts = {f.stem for f in (folder / "figures").iterdir()}
    assert len(charts) == len(list(report.every_chart())) > 3
    for name in charts:
        assert all(
            (folder / "figures" / f"{name}{end}").is_file() for end in (".csv", ".json", ".svg", ".pdf")
        )
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    assert sorted([*index["files"], "index.json"]) == sorted(contents(folder))
    assert index["left_out"] == {}


def test_the_figures_are_real_files(folder: Path) -> None:
    for file in folder.glob("figures/*.svg"):
        root = ET.fromstring(file.read_text(encoding="utf-8"))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.get("viewBox")
        assert "currentColor" not in file.read_text(encoding="utf-8")  # there is no page to take it from
        assert "var(--" not in file.read_text(encoding="utf-8")
    for file in folder.glob("figures/*.pdf"):
        data = file.read_bytes()
        assert data.startswith(b"%PDF-")
        assert data.rstrip().endswith(b"%%EOF")
        assert len(re.findall(rb"/Type\s*/Page\b", data)) == 1
        assert b"CreationDate" not in data
        assert b"/Title" in data


def test_the_numbers_are_those_of_the_report(report: Report, folder: Path) -> None:
    for table in report.every_table():
        text = (folder / "tables" / f"{table.key}.json").read_text(encoding="utf-8")
        assert decode(json.loads(text), Table) == table
    (scores,) = (table for table in report.every_table() if table.key == "scores")
    rows = list(csv.DictReader(io.StringIO((folder / "tables" / "scores.csv").read_text(encoding="utf-8"))))
    place = next(i for i, name in enumerate(scores.columns) if name.startswith("left"))
    assert [float(row[scores.columns[place]]) for row in rows] == [row[place].value for row in scores.rows]
    chart = next(chart for chart in report.every_chart() if chart.kind == "curves")
    found = next(f for f in folder.glob("figures/*.json") if json.loads(f.read_text())["key"] == chart.key)
    lines = list(csv.DictReader(io.StringIO(found.with_suffix(".csv").read_text(encoding="utf-8"))))
    assert [float(line["value"]) for line in lines] == chart.data["value"]
    assert [line["variant"] for line in lines] == chart.data["variant"]


def test_the_same_report_gives_the_same_bytes(report: Report, folder: Path, tmp_path: Path) -> None:
    page = report.save(tmp_path / "r.html")
    assert contents(reports.load(page).export(tmp_path / "loaded")) == contents(folder)


def test_an_older_export_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    small(two={"a": [1.0]}).export(folder)
    (folder / "notes.txt").write_text("mine")
    (folder / "figures" / "mine.svg").write_text("mine")
    small(three={"a": [1.0]}).export(folder)
    there = contents(folder)
    assert "figures/three.svg" in there
    assert "figures/two.svg" not in there
    assert there["notes.txt"] == there["figures/mine.svg"] == b"mine"
    with pytest.raises(ValueError, match=r"mine\.svg is not of an export.*nothing was changed"):
        small(mine={"a": [1.0]}).export(folder)
    assert contents(folder) == there


def test_foreign_folders_and_files_are_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    report = small()
    for content in ("hello", "[]", '{"generator": "else"}', '{"generator": "candelabra export"}'):
        (mine / "index.json").write_text(content)
        with pytest.raises(ValueError, match="is not empty and no export"):
            report.export(mine)
        assert contents(mine) == {"index.json": content.encode()}
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(ValueError, match="is a file; choose a folder"):
        report.export(file)
    with pytest.raises(ValueError, match="cannot write"):
        report.export(file / "below")


def test_an_index_cannot_make_us_delete_other_files(tmp_path: Path) -> None:
    folder = small().export(tmp_path / "export")
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    index = json.loads((folder / "index.json").read_text())
    index["files"] += ["../victim.txt", str(victim), "tables/../../victim.txt", "/etc/hostname"]
    (folder / "index.json").write_text(json.dumps(index))
    small().export(folder)
    assert victim.read_text() == "mine"


def test_hostile_keys_stay_inside_and_apart(tmp_path: Path) -> None:
    keys = ["../../x", "a/b", "A/b", "a\x00b", "", ".", "x" * 300, "CON", "a b", "a_b", "é"]
    tables = [Table(key, key, ["a"], [[Cell(key)]]) for key in keys]
    report = replace(small(), sections=[Section("s", "S", tables=tables)])
    folder = report.export(tmp_path / "export")
    assert len(list((folder / "tables").glob("*.csv"))) == len(
        {f.name.casefold() for f in (folder / "tables").glob("*.csv")}
    )
    assert len(list((folder / "tables").iterdir())) == 4 * len(keys)
    assert [f.name for f in tmp_path.iterdir()] == ["export"]


def test_a_pdf_that_would_show_boxes_is_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reports.export.font_manager.get_font_names", lambda: ["DejaVu Sans"])
    folder = small(names={"等权": [1.0, 2.0]}, plain={"equal": [1.0]}).export(tmp_path / "export")
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    assert list(index["left_out"]) == ["figures/names.pdf"]
    assert "no installed font has every character" in index["left_out"]["figures/names.pdf"]
    assert not (folder / "figures" / "names.pdf").exists()
    assert (folder / "figures" / "plain.pdf").is_file()
    assert "等权" in (folder / "figures" / "names.svg").read_text(encoding="utf-8")


def test_the_command_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = three_variants(tmp_path / "runs", seeds=2, maps=False)
    page, folder = tmp_path / "r.html", tmp_path / "out"
    assert main([str(root), "--out", str(page), "--export", str(folder)]) == 0
    assert capsys.readouterr().out.split() == [str(page), str(folder)]
    assert (folder / "tables" / "scores.tex").is_file()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").write_text("mine")
    assert main([str(root), "--out", str(page), "--export", str(tmp_path / "taken")]) == 2
    assert "nothing was changed" in capsys.readouterr().err
    assert export(reports.load(page), folder) == folder
