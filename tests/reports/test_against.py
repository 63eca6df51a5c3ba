"""What changed since an older report: every number, and only what the seeds bear out is called more than noise."""

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

import reports
from reports.against import with_changes
from reports.document import Cell, Finding, Report, Section, Table
from reports.wording import Say
from tests.reports.make import three_variants, write_run

OLD = {0: 0.80, 1: 0.82, 2: 0.81, 3: 0.79}
NEW = {0: 0.85, 1: 0.86, 2: 0.87, 3: 0.84}


def runs(root: Path, levels: dict[int, float], variant: str = "equal", task: str = "left") -> Path:
    for seed, level in levels.items():
        write_run(root, variant, seed, {task: {"accuracy": level}}, maps=False)
    return root


def changed(report: Report) -> Section:
    return next(section for section in report.sections if section.key == "changed")


def tables(section: Section) -> list[Table]:
    return [table for group in section.groups for table in group.tables]


def row(report: Report, key: str = "changed-scores", start: str = "equal") -> list[Cell]:
    """Of the first score of a variant: its labels, old, new, difference, p, and what is said of it."""
    table = next(t for t in tables(changed(report)) if t.key == key)
    return next(cells for cells in table.rows if cells[0].text == start and cells[-5].points)


def test_the_same_seeds_are_compared_seed_by_seed(tmp_path: Path) -> None:
    old, new = runs(tmp_path / "old", OLD), runs(tmp_path / "new", NEW)
    report = reports.compare(new, against=old)
    assert [section.key for section in report.sections][:2] == ["verdict", "changed"]
    cells = row(report)
    before, after, gap, p, told = cells[-5:]
    assert (before.value, after.value) == (pytest.approx(0.805), pytest.approx(0.855))
    test = stats.ttest_rel(list(NEW.values()), list(OLD.values()))
    interval = test.confidence_interval()
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.05, interval.low, interval.high))
    assert gap.n == 4
    count = sum(cells[-2].value is not None for t in tables(changed(report)) for cells in t.rows)
    assert p.value == pytest.approx(min(1.0, count * test.pvalue))  # Holm over everything that was tested
    assert gap.strong
    assert told.text == "yes"
    (first,) = changed(report).tables  # what is more than noise comes first
    assert first.rows[0][0].text.startswith("Score on the test split")
    assert first.rows[0][1].text == "equal, left: accuracy ↑"


def test_other_seeds_are_compared_by_welch(tmp_path: Path) -> None:
    old = runs(tmp_path / "old", OLD)
    new = runs(tmp_path / "new", {seed + 10: level for seed, level in list(NEW.items())[:3]})
    gap = row(reports.compare(new, against=old))[-3]
    test = stats.ttest_ind(list(NEW.values())[:3], list(OLD.values()), equal_var=False)
    interval = test.confidence_interval()
    assert (gap.low, gap.high) == pytest.approx((interval.low, interval.high))


def test_noise_is_not_called_a_change(tmp_path: Path) -> None:
    old = runs(tmp_path / "old", OLD)
    new = runs(tmp_path / "new", {0: 0.81, 1: 0.79, 2: 0.80, 3: 0.83})
    report = reports.compare(new, against=old)
    cells = row(report)
    assert cells[-1].text == "not found"
    assert not cells[-3].strong
    assert changed(report).findings[0].heading == "No number changed beyond noise"


def test_runs_that_both_hold_are_not_tested_against_themselves(tmp_path: Path) -> None:
    """Seeds added to old ones: the means differ, and share their runs."""
    old, new = runs(tmp_path / "old", OLD), tmp_path / "new"
    shutil.copytree(old, new)
    runs(new, {4: 0.95, 5: 0.96})
    cells = row(reports.compare(new, against=old))
    assert cells[-1].text == "both hold the same runs: not tested"
    assert cells[-2].text == "n/a"
    assert cells[-3].low is None


def test_one_seed_is_not_tested(tmp_path: Path) -> None:
    old, new = runs(tmp_path / "old", {0: 0.5}), runs(tmp_path / "new", {0: 0.9})
    report = reports.compare(new, against=old)
    assert row(report)[-1].text == "one seed: not tested"
    assert "0 of them could be tested" in changed(report).findings[0].text


def test_the_same_runs_have_not_changed(tmp_path: Path) -> None:
    root = three_variants(tmp_path / "runs")
    page = reports.build(root, tmp_path / "old.html")
    section = changed(reports.compare(root, against=page))
    assert section.tables == section.groups == []
    assert [finding.heading for finding in section.findings] == ["No number changed beyond noise"]
    assert "Against old.html: toy" in section.intro


def test_what_came_and_went_is_named(tmp_path: Path) -> None:
    old = runs(runs(tmp_path / "old", OLD), OLD, "mgda")
    new = runs(runs(tmp_path / "new", OLD), NEW, "upgrad")
    runs(new, OLD, "other", task="right")
    told = {f.heading: f.text for f in changed(reports.compare(new, against=old)).findings}
    assert told["New"].startswith("variants: other and upgrad; tasks: right")
    assert told["Gone"].startswith("variants: mgda")


def test_an_answer_of_another_kind_is_told(tmp_path: Path) -> None:
    old = three_variants(tmp_path / "old", gain=0.0, maps=False)
    new = three_variants(tmp_path / "new", gain=0.06, maps=False)
    found = [f for f in changed(reports.compare(new, against=old)).findings if "was open, is good" in f.text]
    assert len(found) == 1
    assert "before: No significant gain" in found[0].text


def test_a_page_is_as_good_as_its_runs(tmp_path: Path) -> None:
    old, new = runs(tmp_path / "old", OLD), runs(tmp_path / "new", NEW)
    page = reports.build(old, tmp_path / "old.html")
    by_page, by_runs = (changed(reports.compare(new, against=one)) for one in (page, old))
    assert (by_page.tables, by_page.groups) == (by_runs.tables, by_runs.groups)
    assert by_page.findings == by_runs.findings


def test_a_comparison_can_be_compared_again(tmp_path: Path) -> None:
    """The older report's own section of changes is no result."""
    old, new = runs(tmp_path / "old", OLD), runs(tmp_path / "new", NEW)
    page = reports.build(new, tmp_path / "report.html", against=old)
    report = reports.compare(new, against=page)
    assert changed(report).groups == []
    assert reports.build(new, page, against=page) == page  # onto itself
    assert changed(reports.load(page)).groups == []


def test_conditions_hold_for_both_sides(tmp_path: Path) -> None:
    old, new = three_variants(tmp_path / "old", maps=False), three_variants(tmp_path / "new", maps=False)
    report = reports.compare(new, where="variant=equal", against=old)
    assert not any(f.heading == "Gone" for f in changed(report).findings)


def test_other_languages(tmp_path: Path) -> None:
    old, new = runs(tmp_path / "old", OLD), runs(tmp_path / "new", NEW)
    page = reports.build(old, tmp_path / "old.html", language="zh")
    with pytest.raises(ValueError, match=r"old\.html is in the language 'zh'"):
        reports.compare(new, against=page)
    section = changed(reports.compare(new, against=page, language="zh"))
    assert section.heading == "与旧报告相比的变化"
    assert row(reports.compare(new, against=page, language="zh"))[-1].text == "是"


def report_of(values: list[list[float]], variant: str = "v") -> Report:
    """One table with these seeds in a row each."""
    rows = [
        [Cell(variant), Cell(f"{sum(p) / len(p):.3f}", sum(p) / len(p), n=len(p), points=tuple(p))]
        for p in values
    ]
    section = Section("scores", "Scores", tables=[Table("t", "T", ["variant", "x"], rows)])
    seeds = {variant: list(range(len(values[0])))}
    return Report("r", "", "", "en", [variant], [], [Section("verdict", "V"), section], seeds=seeds)


def test_ten_thousand_differences_of_noise_are_rarely_called_more(tmp_path: Path) -> None:
    """Ten numbers a report that are the same but for noise: in at most 5% of the reports one is called a change."""
    draw, say, wrong = random.Random(0), Say(), 0
    for _ in range(400):
        old, new = ([[draw.gauss(0.8, 0.02) for _ in range(3)] for _ in range(10)] for _ in range(2))
        section = changed(with_changes(report_of(new), report_of(old), "old", say))
        wrong += any(cells[-1].text == "yes" for table in tables(section) for cells in table.rows)
    assert wrong <= 28  # 20 are expected; more than 28 would come by chance in 4 of 100 such tests


def test_rows_of_the_same_name_are_not_mixed_up() -> None:
    old, new = report_of([[0.1, 0.2], [0.5, 0.6]]), report_of([[0.1, 0.2], [0.7, 0.8]])
    (table,) = tables(changed(with_changes(new, old, "old", Say())))
    assert [cells[2].value for cells in table.rows] == [pytest.approx(0.55)]


def test_long_lists_keep_what_is_beyond_noise() -> None:
    draw = random.Random(1)
    old = [[draw.gauss(0.8, 0.02) for _ in range(4)] for _ in range(150)]
    new = [[value + draw.gauss(0, 0.02) for value in row] for row in old]
    clear = [0.5, 0.51, 0.52, 0.53]
    report = with_changes(
        report_of([*new, [value + 0.3 + value / 1e4 for value in clear]]),
        report_of([*old, clear]),
        "old",
        Say(),
    )
    assert changed(report).notes == ["T: 100 of 151 changed numbers are shown"]
    last = tables(changed(report))[0].rows[-1]
    assert last[-3].value == pytest.approx(0.3, abs=0.001)
    assert last[-1].text == "yes"


def test_a_number_that_is_shown_twice_is_compared_once() -> None:
    """Else Holm's adjustment would charge for each time."""
    old, new = ([[0.1, 0.2, 0.31], [0.1, 0.2, 0.31]], [[0.5, 0.61, 0.7], [0.5, 0.61, 0.7]])
    section = changed(with_changes(report_of(new), report_of(old), "old", Say()))
    (cells,) = tables(section)[0].rows
    assert cells[-2].value == pytest.approx(stats.ttest_rel(new[0], old[0]).pvalue)


def test_a_finding_without_a_key_goes_by_its_heading() -> None:
    old, new = report_of([[0.1, 0.2]]), report_of([[0.1, 0.2]])
    old = replace(old, sections=[Section("verdict", "V", findings=[Finding("A?", "x", "open")])])
    new = replace(new, sections=[Section("verdict", "V", findings=[Finding("A?", "y", "bad")])])
    told = changed(with_changes(new, old, "old", Say())).findings
    assert [(f.heading, f.tone) for f in told[1:]] == [("A?", "bad")]
