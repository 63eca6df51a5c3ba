"""The space file and the objective: what is read, and the line that names each mistake."""

from pathlib import Path

import pytest

from recipes import balancers_toy, linear_regression
from recipes.config import UsageError
from recipes.sweep.objective import history, parse_objective, score
from recipes.sweep.space import Choices, Range, load_space
from reports import RunWriter, read_run

VARIANTS = ("full_batch", "stochastic")
OPTIONS = linear_regression.Options()


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "space.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_space_with_a_block_for_one_variant(tmp_path: Path) -> None:
    text = "lr: {low: 1e-3, high: 1, log: true}\nvariants:\n  stochastic: {batch_size: {low: 8, high: 24, step: 8}}\n"
    space = load_space(write(tmp_path, text), OPTIONS, VARIANTS)
    assert dict(space.of("full_batch")) == {"lr": Range(1e-3, 1.0, log=True)}
    assert space.of("stochastic")["batch_size"] == Range(8, 24, step=8)
    assert type(space.of("full_batch")["lr"].high) is float  # an int in the file, a float option


def test_a_grid_holds_every_point_once(tmp_path: Path) -> None:
    text = "steps: {low: 1, high: 3}\nlr: {low: 0.1, high: 0.3, step: 0.1}\nexamples: {choices: [1, 2]}\n"
    grid = load_space(write(tmp_path, text), OPTIONS, VARIANTS).grid("stochastic")
    assert len(grid) == 18
    assert {"steps": 3, "lr": 0.3, "examples": 1} in grid
    assert len({tuple(point.items()) for point in grid}) == 18


def test_lists_among_choices(tmp_path: Path) -> None:
    text = "problems: {choices: [[quadratic], [quadratic, scaled]]}\n"
    space = load_space(write(tmp_path, text), balancers_toy.Options(), ("equal",))
    assert space.of("equal")["problems"] == Choices((("quadratic",), ("quadratic", "scaled")))
    assert space.grid("equal")[1] == {"problems": '["quadratic", "scaled"]'}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\nlearning_rate: {low: 1, high: 2}", "line 2: 'learning_rate' is no option of the recipe"),
        ("stepz: {low: 1, high: 2}", "did you mean 'steps'?"),
        ("seeds: {choices: [[0]]}", "'seeds' is not searched in a sweep"),
        ("lr: {low: 1, hihg: 2}", "no key 'hihg'; did you mean 'high'?"),
        ("lr: {low: 1}", "line 1: lr must be {low: , high: }"),
        ("lr: 0.1", "lr must be {low: , high: }"),
        ("lr: {low: 2, high: 1}", "low must be below high, got 2.0 and 1.0"),
        ("lr: {low: a, high: 1}", "lr: low must be float, got 'a' (str)"),
        ("steps: {low: 0.5, high: 3}", "steps: low must be int, got 0.5 (float)"),
        ("steps: {low: 0, high: 3}", "line 1: steps must be at least 1, got 0"),
        ("lr: {low: 0, high: 1, log: true}", "log needs low above 0 and no step"),
        ("lr: {low: 0.1, high: 1, log: yes please}", "log must be true or false"),
        ("steps: {low: 1, high: 10, step: 4}", "high must be low plus whole steps"),
        ("lr: {choices: []}", "choices must be a list of one or more values"),
        ("lr: {choices: [0.1, 0.1]}", "a choice is given twice"),
        ("lr: {choices: [0.1, fast]}", "a choice must be float, got 'fast' (str)"),
        ("lr: {choices: [0.1, -1]}", "line 1: lr must be a number above 0, got -1"),
        ("lr: {choices: [1]}\nlr: {choices: [2]}", "line 2: option 'lr' is given twice"),
        (
            "variants: {stochastik: {lr: {choices: [1]}}}",
            "no variant 'stochastik' in this sweep; did you mean",
        ),
        ("variants: {stochastic: {lr: {choices: [1]}}}", "nothing to search for 'full_batch'"),
        ("variants: [stochastic]", "variants must hold `variant:` blocks"),
        ("", "is empty"),
        ("lr: {low: 1", "is not valid YAML"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        load_space(write(tmp_path, text), OPTIONS, VARIANTS)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert "space.yaml" in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("accuracy", "must be max:METRIC or min:METRIC"),
        ("max:accuracy@test", "the test split is kept from the search"),
        ("max:accuracy@tset", "no split 'tset'"),
    ],
)
def test_an_objective_of_another_form(text: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_objective(text)
    assert words in str(error.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run whose selected checkpoint is that of step 2; the last validation of `right` is not there yet."""
    metrics = [{"name": "accuracy", "unit": "", "higher_is_better": True}]
    tasks = [{"name": name, "kind": "", "classes": [], "metrics": metrics} for name in ("left", "right")]
    values = [(1, "left", 0.1), (1, "right", 0.3), (2, "left", 0.9), (2, "right", 0.7), (3, "left", 0.8)]
    with RunWriter(
        tmp_path / "a--s0", experiment={"name": "a"}, variant="a", seed=0, tasks=tasks, config={}, command=[],
        data={}, selection="", tuning_budget="",
    ) as run:  # fmt: skip
        run.log(
            {
                "step": step,
                "epoch": 1,
                "split": "validation",
                "task": task,
                "metric": "accuracy",
                "value": value,
            }
            for step, task, value in values
        )
        run.log([{"step": 2, "epoch": 1, "split": "test", "task": "left", "metric": "secret", "value": 1.0}])
        run.cost(train_s=2.0, step_s=0.5, steps=4, parameters=7, peak_memory_mib=1.0)
        run.finish({"best_step": {"left": 2, "right": 2}})
    return run.folder


def test_the_score_is_that_of_the_selected_checkpoint(folder: Path) -> None:
    run = read_run(folder)
    assert score(run, parse_objective("max:accuracy")) == pytest.approx(0.8)
    assert score(run, parse_objective("max:left/accuracy")) == 0.9
    assert score(run, parse_objective("min:cost.step_s")) == 0.5


def test_the_history_has_the_steps_at_which_all_tasks_were_scored(folder: Path) -> None:
    found = history(read_run(folder), parse_objective("max:accuracy"))
    assert found == [(1, pytest.approx(0.2)), (2, pytest.approx(0.8))]
    assert [step for step, _ in history(read_run(folder), parse_objective("max:left/accuracy"))] == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max:acuracy", "no metric 'acuracy'; did you mean 'accuracy'?"),
        ("max:up/accuracy", "no task 'up'"),
        ("min:accuracy", "looks the wrong way: write max:accuracy"),
        ("max:accuracy@train", "the runs log no train scores (only validation)"),
        ("max:secret", "no metric 'secret'"),
        ("min:cost.step", "no such cost; did you mean"),
    ],
)
def test_an_objective_that_the_runs_do_not_log(folder: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        score(read_run(folder), parse_objective(text))
    assert words in str(error.value)
