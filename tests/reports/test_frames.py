"""Tables as data frames and CSV: every number in full, with what stands behind it."""

import csv
import io
import random
from pathlib import Path

import pandas as pd
import pytest

import reports
from reports.document import Cell, Report, Table
from reports.frames import columns_of, csv_text, frame
from tests.reports.make import three_variants

THIRD = 1 / 3


def table() -> Table:
    rows = [
        [Cell("equal"), Cell("33.3% [30, 40]", THIRD, 0.3, 0.4, 3, (0.3, THIRD, 0.4)), Cell("7", 7.0), Cell("yes")],
        [Cell("up,\n\"grad"), Cell("n/a"), Cell("8", 8.0), Cell("no")],
    ]  # fmt: skip
    return Table("t", "A table", ["variant", "left: accuracy", "runs", "better"], rows)


def test_numbers_come_with_what_stands_behind_them() -> None:
    found = frame(table())
    assert list(found) == [
        "variant", "left: accuracy", "left: accuracy low", "left: accuracy high", "left: accuracy n",
        "left: accuracy points", "runs", "better",
    ]  # fmt: skip
    assert found["left: accuracy"][0] == THIRD
    assert pd.isna(found["left: accuracy"][1])
    assert found["left: accuracy"].dtype == found["left: accuracy low"].dtype == found["runs"].dtype == float
    assert found["left: accuracy n"].tolist() == [3, 0]
    assert found["left: accuracy points"][0] == (0.3, THIRD, 0.4)
    assert found["variant"][1] == 'up,\n"grad'


def test_csv_reads_back_to_the_same_numbers() -> None:
    rows = list(csv.reader(io.StringIO(csv_text(table()))))
    assert float(rows[1][1]) == THIRD  # every digit
    assert [float(x) for x in rows[1][5].split()] == [0.3, THIRD, 0.4]
    assert rows[2] == ['up,\n"grad', "", "", "", "0", "", "8.0", "no"]
    draw = random.Random(0)
    values = [draw.uniform(-1, 1) * 10.0 ** draw.randint(-300, 300) for _ in range(200)]
    text = csv_text(Table("t", "", ["a", "b"], [[Cell(str(i)), Cell("", v)] for i, v in enumerate(values)]))
    assert [float(row[1]) for row in csv.reader(io.StringIO(text.partition("\n")[2]))] == values


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-x", "@SUM(A1)", "\t=1"])
def test_no_text_becomes_a_formula(text: str) -> None:
    (_, row) = csv.reader(io.StringIO(csv_text(Table("t", "", ["a"], [[Cell(text)]]))))
    assert row == [f"'{text}"]
    assert csv_text(Table("t", "", ["a"], [[Cell("\r=x\r")]])) == "a\n =x \n"
    assert "'-0.5" not in csv_text(Table("t", "", ["a"], [[Cell("-0.5")]]))


def test_columns_and_tables_of_one_name_are_all_there(tmp_path: Path) -> None:
    twice = Table("t", "", ["a", "b", "b"], [[Cell("x"), Cell("1", 1.0), Cell("2", 2.0)]])
    assert frame(twice).to_numpy().tolist() == [["x", 1.0, 2.0]]
    section = reports.document.Section("s", "S", tables=[twice, twice])
    report = Report("r", "", "", "en", [], [], [section])
    assert list(report.tables) == ["t", "t-2"]
    assert columns_of(Table("t", "", ["a"], [])) == [("a", [])]
    assert frame(Table("t", "", ["a"], [])).empty


def test_a_loaded_report_gives_its_tables(tmp_path: Path) -> None:
    root = three_variants(tmp_path / "runs", gain=0.05)
    loaded = reports.load(reports.build(root, tmp_path / "r.html")).tables
    built = reports.compare(root).tables
    assert list(loaded) == list(built)
    assert all(loaded[key].equals(built[key]) for key in built)
    scores = loaded["scores"].set_index("variant")
    column = next(name for name in scores if name.startswith("left") and name.endswith("points"))
    assert len(scores.loc["upgrad", column]) == 3
    value = scores.loc["upgrad", column.removesuffix(" points")]
    assert value == pytest.approx(sum(scores.loc["upgrad", column]) / 3)
