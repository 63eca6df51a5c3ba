"""What the page says, and what it never does."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import reports
from reports.__main__ import main
from reports.sections.verdict import findings
from reports.tables import Experiment
from tests.reports.make import QUESTION, three_variants, write_run


class Page(HTMLParser):
    """Tags, ids, links, images and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.svgs: list[dict[str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.ids += [values["id"]] if values.get("id") else []
        self.links += [v for k, v in attrs if k in ("href", "src", "xlink:href") and v]
        if tag == "img":
            self.images.append(values)
        if tag == "svg":
            self.svgs.append(values)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    root = three_variants(tmp_path_factory.mktemp("runs"))
    return Page(reports.build(root, root / "report.html").read_text(encoding="utf-8"))


def test_the_page_holds_its_sections_in_order(page: Page) -> None:
    order = ["verdict", "scores", "tests", "cost", "learning", "conflict", "weights", "gallery", "agreement",
             "localisation", "failures", "provenance", "reproduce"]  # fmt: skip
    assert [i for i in page.ids if i in order] == order
    text = " ".join(page.words)
    assert QUESTION in text
    assert text.index("Sharing") < text.index("Score on the test split")
    for word in ("sha256:00", "best validation accuracy", "python -m toy", "steps: 5", "numpy: "):
        assert word in text


def test_the_page_is_one_file_that_asks_for_nothing(page: Page) -> None:
    assert page.tags.count("script") == 1  # our own, which the policy names by its hash
    assert "link" not in page.tags
    assert all(link.startswith(("#", "data:image/png;base64,", "data:text/csv;")) for link in page.links)
    assert all(link[1:] in page.ids for link in page.links if link.startswith("#"))
    assert len(page.ids) == len(set(page.ids))


def test_every_picture_has_words(page: Page) -> None:
    assert len(page.images) == 2 + 2 * 2 * 3  # two inputs; two examples, two tasks, three variants
    assert all(len(image.get("alt") or "") > 10 for image in page.images)
    charts = [svg for svg in page.svgs if not svg.get("aria-hidden")]
    assert charts
    assert all(set((svg["aria-labelledby"] or "").split()) <= set(page.ids) for svg in charts)
    assert any("left: accuracy" in words for words in page.words)


def test_building_again_gives_the_same_bytes(tmp_path: Path) -> None:
    root = three_variants(tmp_path / "runs")
    first = reports.build(root, tmp_path / "a.html").read_bytes()
    assert reports.build(root, tmp_path / "b.html").read_bytes() == first
    assert reports.build(root, tmp_path / "a.html").read_bytes() == first  # an older report may be replaced


def headings(root: Path) -> dict[str, str]:
    return {f.heading: f.text for f in findings(Experiment(reports.read_runs(root)))}


def test_sharing_helped_and_balancing_did_not(tmp_path: Path) -> None:
    found = headings(three_variants(tmp_path, gain=0.0))
    assert "Sharing helped" in found
    assert "Δm +2.5%" in found["Sharing helped"]
    assert "No significant gain over the plain sum (equal)" in found
    assert "not the same as equal" in found["No significant gain over the plain sum (equal)"]


def test_balancing_helped_where_it_did(tmp_path: Path) -> None:
    found = headings(three_variants(tmp_path, gain=0.05))
    assert "upgrad +6" in found["Balancing helped beyond the plain sum"]
    assert not any("No significant gain" in heading for heading in found)


def test_balancing_that_hurts_is_said_to(tmp_path: Path) -> None:
    assert "upgrad -12" in headings(three_variants(tmp_path, gain=-0.1))["Worse than the plain sum"]


def test_sharing_that_hurts_is_said_to(tmp_path: Path) -> None:
    found = headings(three_variants(tmp_path, experiment={"reference": "upgrad"}, gain=-0.1))
    assert "Sharing hurt" in found


def test_a_baseline_of_the_same_size_is_not_about_sharing(tmp_path: Path) -> None:
    found = headings(three_variants(tmp_path, experiment={"baseline": "upgrad"}, gain=0.1))
    assert "equal is worse than upgrad" in found
    assert "of the parameters" not in found["equal is worse than upgrad"]


def test_forty_variants_fit_on_a_page(tmp_path: Path) -> None:
    """Every one of them is named in each chart, and no rank leaves the ranks."""
    names = [f"variant{k}" for k in range(40)]
    for k, name in enumerate(names):
        for seed in (0, 1):
            level = 0.5 + 0.01 * ((k * 7 + seed * 5) % 40)
            write_run(tmp_path, name, seed, {t: {"accuracy": level} for t in "ab"}, maps=False)
    text = reports.build(tmp_path, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Mean cosine by layer group" in text
    heat = text[text.index("Mean cosine by layer group") :]
    assert all(name in heat for name in names)
    for rank in Experiment(reports.read_runs(tmp_path)).ranks().values():
        assert 1 <= rank <= 40


def test_one_variant_may_be_baseline_and_reference(tmp_path: Path) -> None:
    """Its name twice in the tables' order once broke the page."""
    root = three_variants(tmp_path, experiment={"baseline": "equal", "reference": "equal"})
    experiment = Experiment(reports.read_runs(root))
    assert experiment.variants == ["equal", "single", "upgrad"]
    assert experiment.bases == ["equal"]
    text = reports.build(root, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "single is worse than equal" in text  # twice as large, so nothing is said of sharing
    assert "of the parameters" not in text


def test_one_seed_claims_nothing(tmp_path: Path) -> None:
    found = headings(three_variants(tmp_path, seeds=1))
    assert "Sharing: no significant difference" in found
    assert "One seed allows no interval" in found["Sharing: no significant difference"]
    assert "gradient: one seed, no conclusion" in found
    text = reports.build(tmp_path, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "one seed: no interval" in text
    assert not re.search(r"\d \[-?\d", Page(text).words.__str__().split("Gradient conflict")[0])


@pytest.mark.parametrize(("own", "heading"), [
    (0.6, "gradient: each task looks at its own region"),
    (0.2, "gradient: above a random map; not shown to tell the tasks apart"),
    (0.15, "gradient: no significant difference from a random map"),
    (0.1, "gradient: no better than a random map"),
])  # fmt: skip
def test_maps_are_judged_against_their_controls(tmp_path: Path, own: float, heading: str) -> None:
    found = headings(three_variants(tmp_path, own=own))
    assert heading in found
    assert "for a random map" in found[heading]
    assert "for the image itself" in found[heading]


def test_a_region_that_is_all_of_the_image_is_no_test(tmp_path: Path) -> None:
    """One digit on black: whatever multiplies by the image is wholly in the ink, whatever the model does."""
    found = headings(three_variants(tmp_path, own=0.9, image=1.0))
    assert "cannot tell a good map from the image" in found["gradient: no test of the map"]


def test_without_single_task_models_every_variant_is_reported(tmp_path: Path) -> None:
    root = three_variants(tmp_path, experiment={"baseline": None})
    texts = [f.text for f in findings(Experiment(reports.read_runs(root)))]
    assert any("equal: 82" in text and "upgrad: 82" in text for text in texts)
    assert {text.split(":")[0] for text in texts if "of the relevance" in text} == {
        "single",
        "equal",
        "upgrad",
    }


def test_unfinished_runs_are_named_and_do_not_count(tmp_path: Path) -> None:
    root = three_variants(tmp_path)
    before = Experiment(reports.read_runs(root)).compare("equal", "single").over_tasks.mean
    for seed, status in ((7, "failed"), (8, "interrupted"), (9, "running")):
        folder = write_run(root, "equal", seed, {"left": {"accuracy": 0.1}, "right": {"accuracy": 0.1}})
        info = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(info | {"status": status, "error": f"said {status}"}))
    assert Experiment(reports.read_runs(root)).compare("equal", "single").over_tasks.mean == before
    text = " ".join(Page(reports.build(root, tmp_path / "r.html").read_text(encoding="utf-8")).words)
    assert "3 of 12 runs did not finish" in text
    for name, told in (
        ("equal--s7 (failed", "said failed"),
        ("equal--s8 (interrupted", ""),
        ("equal--s9 (unfinished", ""),
    ):
        assert name in text
        assert told in text


def test_a_folder_of_failures_is_still_a_page(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "equal", 0, {"left": {"accuracy": 0.5}})
    (folder / "run.json").write_text("{torn")
    text = " ".join(Page(reports.build(tmp_path, tmp_path / "r.html").read_text(encoding="utf-8")).words)
    assert "No run finished" in text
    assert "run.json cannot be read" in text


def test_features_of_a_table_are_shown_as_numbers(tmp_path: Path) -> None:
    write_run(tmp_path, "equal", 0, {"left": {"accuracy": 0.5}}, feature_names=["age", "<b>bmi</b>"])
    page = Page(reports.build(tmp_path, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "<b>bmi</b>" in " ".join(page.words)
    assert "b" not in page.tags


def test_usage_mistakes_are_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = three_variants(tmp_path / "runs", seeds=1)
    other = tmp_path / "mine.html"
    other.write_text("<p>mine")
    (tmp_path / "empty").mkdir()
    for arguments, told in (
        ([str(tmp_path / "absent")], "is not a folder"),
        ([str(tmp_path / "empty")], "no run in"),
        ([str(root), "--out", str(other)], "is not a report"),
        ([str(root), "--out", str(tmp_path)], "is a folder"),
        ([str(root), "--out", str(other / "x.html")], "cannot"),
    ):
        assert main(arguments) == 2
        printed = capsys.readouterr()
        assert told in printed.err
        assert printed.err.count("\n") == 1
        assert printed.out == ""
    assert other.read_text() == "<p>mine"


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = three_variants(tmp_path / "runs", seeds=1)
    out = tmp_path / "new" / "r.html"
    assert main([str(root), "--out", str(out), "--title", "A & B"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert "<title>A &amp; B</title>" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize("joules", [None, 123.4])
def test_energy_is_shown_where_a_machine_tells_it(tmp_path: Path, joules: float | None) -> None:
    folder = write_run(tmp_path, "equal", 0, {"a": {"accuracy": 0.5}}, maps=False)
    if joules is not None:
        info = json.loads((folder / "run.json").read_text())
        info["cost"]["energy_j"] = joules
        (folder / "run.json").write_text(json.dumps(info))
    text = reports.build(tmp_path, tmp_path / "report.html").read_text(encoding="utf-8")
    assert ("energy [J]" in text) == (joules is not None)
    assert (">123.4" in text) == (joules is not None)
