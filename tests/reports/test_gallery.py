"""Which examples the gallery shows, and what is said of each map."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports import RunWriter, read_runs
from reports.choosing import choose, metric_of
from reports.document import Section
from reports.sections.gallery import gallery
from reports.tables import Experiment
from reports.wording import LANGUAGES, Say
from tests.reports.make import describe

N = 60


def write(
    root: Path, variant: str, predictions: list[int], scores: list[float] | None = None, better: bool = True
) -> None:
    """A run with maps of N inputs, all of class 1, and a score for each map where there are any."""
    with RunWriter(
        root / f"{variant}--s0", experiment={"name": "toy", "question": "?", "baseline": None, "reference": "equal"},
        variant=variant, seed=0, tasks=[describe("a")], config={}, command=[], data={}, selection="last",
        tuning_budget="none",
    ) as run:  # fmt: skip
        rng = np.random.default_rng(0)
        run.save_examples(rng.random((N, 1, 4, 4)), {"a": np.ones((N, 4, 4), dtype=bool)})
        label = np.ones(N, dtype=int)
        run.save_attribution(
            "gradient", "a", maps=rng.random((N, 4, 4)), prediction=np.array(predictions), label=label
        )
        rows = [
            {"example": i, "task": "a", "method": "gradient", "metric": metric, "region": "", "map": kind,
             "value": value, "higher_is_better": better}
            for i, value in enumerate(scores or []) for kind, metric in (("given", "insertion"), ("random", "gini"))
        ]  # fmt: skip
        if rows:
            run.save_scores(pd.DataFrame(rows))
        run.finish({})


def shown(section: Section) -> list[str]:
    return [card.heading for group in section.groups for card in group.cards]


@pytest.mark.parametrize("better", [True, False])
def test_first_differing_best_worst_and_random_ones(tmp_path: Path, better: bool) -> None:
    predictions = [1] * N
    write(tmp_path, "equal", predictions, [0.5] * 40 + [0.9] + [0.5] * 10 + [0.1] + [0.5] * 8, better)
    write(tmp_path, "upgrad", [*predictions[:30], 0, 0, *predictions[32:]])
    section = gallery(Experiment(read_runs(tmp_path), max_maps=20), Say())
    best, worst = (40, 51) if better else (51, 40)
    assert shown(section)[:3] == [
        "Example 30 (the variants differ)", f"Example {best} (the best)", f"Example {worst} (the worst)",
    ]  # fmt: skip
    assert len(shown(section)) == 10
    rule = section.intro.partition("No example was picked by hand: ")[2]
    assert rule == (
        "example 30 is the first for which the variants predict different classes; "
        f"example {best} is the best by insertion, mean over variants, methods and tasks; "
        f"example {worst} is the worst; 7 were drawn at random with seed 0."
    )
    assert section.notes == [
        "10 of 60 examples are shown: a page holds at most 20 maps and 15 million of their pixels"
    ]
    again = gallery(Experiment(read_runs(tmp_path), max_maps=20), Say())
    assert shown(again) == shown(section)
    card = section.groups[0].cards[1]
    score = 0.9 if better else 0.1
    assert card.strips[0].pictures[0].alt == (
        f"gradient map of task a, variant equal, example {best}: predicted class 1, label class 1, insertion {score}"
    )
    assert card.strips[0].note.startswith("colours end at ±0.9")
    assert "insertion" not in card.strips[1].pictures[0].alt  # this variant was not scored


def test_without_scores_the_predictions_tell_best_and_worst(tmp_path: Path) -> None:
    write(tmp_path, "equal", [1, 1, 0, *[1] * (N - 3)])
    write(tmp_path, "upgrad", [0, 1, 0, *[1] * (N - 3)])
    runs = [(run, list(run.attributions())) for run in read_runs(tmp_path)]
    assert metric_of([run for run, _ in runs]) == ""
    choice = choose(runs, N, 4, "")
    assert choice.by == "prediction"
    assert choice.shown == {
        0: ("differ",), 1: ("best",), 2: ("worst",), next(i for i in choice.shown if i > 2): ("random",)
    }  # fmt: skip


def test_one_example_may_be_shown_for_two_reasons(tmp_path: Path) -> None:
    write(tmp_path, "equal", [0, *[1] * (N - 1)])
    write(tmp_path, "upgrad", [1] * N)
    runs = [(run, list(run.attributions())) for run in read_runs(tmp_path)]
    assert list(choose(runs, N, 2, "").shown.items()) == [(0, ("differ", "worst")), (1, ("best",))]
    section = gallery(Experiment(read_runs(tmp_path)), Say())
    assert shown(section)[:2] == ["Example 0 (the variants differ, the worst)", "Example 1 (the best)"]


def test_where_nothing_tells_them_apart_all_are_random(tmp_path: Path) -> None:
    write(tmp_path, "equal", [1] * N)
    runs = [(run, list(run.attributions())) for run in read_runs(tmp_path)]
    choice = choose(runs, N, 5, "")
    assert set(choice.shown.values()) == {("random",)}
    assert list(choice.shown) == sorted(choice.shown)


def test_groups_have_at_most_fifty_cards(tmp_path: Path) -> None:
    write(tmp_path, "equal", [0, *[1] * (N - 1)])
    section = gallery(Experiment(read_runs(tmp_path)), Say())
    assert [(group.heading, len(group.cards)) for group in section.groups] == [
        ("gradient, part 1 of 2", 50), ("gradient, part 2 of 2", 10),
    ]  # fmt: skip
    assert "all others follow" in section.intro
    assert section.notes == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_in_every_language(tmp_path: Path, language: str) -> None:
    write(tmp_path, "equal", [0, *[1] * (N - 1)], [0.1] * 59 + [0.2])
    section = gallery(Experiment(read_runs(tmp_path), max_maps=5), Say(language))
    assert len(shown(section)) == 5
