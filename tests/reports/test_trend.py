"""Scores over a scale that the tasks are points of."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import reports
from reports.charts import drawn
from reports.document import Chart, Section
from reports.wording import Say
from tests.reports.make import describe, write_run

PLACES = {"many": 1.0, "few": 0.01, "some": 0.1}
SCORES = {("a", 0): (0.9, 0.5, 0.7), ("a", 1): (0.8, 0.3, 0.7), ("b", 0): (0.6, 0.2, 0.4)}


def scores_of(root: Path, at: dict[str, Any]) -> Section:
    tasks = [describe(name) | {"at": at.get(name)} for name in PLACES]
    for (variant, seed), values in SCORES.items():
        test = {name: {"accuracy": value} for name, value in zip(PLACES, values, strict=True)}
        write_run(root, variant, seed, test, tasks=tasks, maps=False)
    return next(section for section in reports.compare(root).sections if section.key == "scores")


def share(value: Any) -> dict[str, Any]:
    return {"scale": "share of labels", "unit": "fraction", "value": value}


def test_the_curve_goes_through_the_means_in_the_order_of_the_scale(tmp_path: Path) -> None:
    section = scores_of(tmp_path, {name: share(value) for name, value in PLACES.items()})
    assert section.legend
    chart = section.charts[0]
    assert (chart.key, chart.kind, chart.data["x"]) == ("trend", "trend", [0.01, 0.1, 1.0])
    # two seeds, 0.5 and 0.3: 0.4 -+ 12.706 x 0.1
    assert chart.data["points"]["a"][0] == pytest.approx([0.01, 0.4, 0.4 - 1.2706, 0.4 + 1.2706], abs=1e-4)
    assert [point[:2] for point in chart.data["points"]["a"]] == [
        pytest.approx(pair) for pair in ([0.01, 0.4], [0.1, 0.7], [1.0, 0.85])
    ]
    # one seed: no interval
    assert chart.data["points"]["b"] == [[x, y, None, None] for x, y in ((0.01, 0.2), (0.1, 0.4), (1.0, 0.6))]
    root = ElementTree.fromstring(drawn(chart, Say(), "c", ["a", "b"]))
    assert "a 1%: 40 [-87.1, 167], 10%: 70 [70, 70], 100%: 85 [21.5, 149]; b 1%: 20" in str(root[1].text)
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [word for word in words if word in ("1%", "10%", "100%")] == ["1%", "10%", "100%"]
    assert {"share of labels", "accuracy [%]"} <= set(words)


@pytest.mark.parametrize("at", [
    {},
    {"few": share(0.01), "some": share(0.1)},  # one task lies nowhere
    {"few": share(0.1), "some": share(0.1), "many": share(1.0)},  # two at one place
    {"few": share(0.01), "some": share(0.1), "many": {**share(1.0), "scale": "size"}},
    {"few": share(0.01), "some": share(0.1), "many": share("all")},
    {"few": share(0.01), "some": share(0.1), "many": share(10**400)},
    {"few": share(0.01), "some": share(0.1), "many": ["share"]},
])  # fmt: skip
def test_no_curve_where_the_tasks_share_no_scale(at: dict[str, Any], tmp_path: Path) -> None:
    section = scores_of(tmp_path, at)
    assert "trend" not in [chart.kind for chart in section.charts]
    assert not section.legend


def test_a_scale_through_zero_and_a_score_that_is_not_there_are_drawn() -> None:
    named = {"scale": "size", "x_unit": "", "metric": "error", "unit": "px"}
    data = {"x": [-1.0, 0.0, 100.0], "order": ["a", "b"], **named,
            "points": {"a": [[-1.0, 1.0, 0.5, 1.5], [100.0, 3.0, None, None]], "b": []}}  # fmt: skip
    root = ElementTree.fromstring(drawn(Chart("trend", "t", "trend", data), Say(), "c", ["a", "b"]))
    assert root[1].text == "mean and 95% interval: a -1: 1 [0.5, 1.5], 100: 3"
