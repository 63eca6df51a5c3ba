"""Losses, metrics and missing labels, worked out by hand."""

import math

import pytest
import torch

import mtl
from mtl.metrics import Scores
from mtl.tasks import mean_loss
from mtl.training.selection import Selection

NAN = math.nan
TASKS = [mtl.Classification("c", classes=3), mtl.MultiLabel("m", labels=2), mtl.Regression("r", size=2)]
ROWS = {
    "c": (torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, -1, 1, -1, 2])),
    "m": (
        torch.randn(6, 2, generator=torch.Generator().manual_seed(1)),
        torch.tensor([[0, 1], [NAN, 1], [NAN, NAN], [1, 0], [1, NAN], [0, 0]]),
    ),
    "r": (
        torch.randn(6, 2, generator=torch.Generator().manual_seed(2)),
        torch.tensor([[0, 1.5], [NAN, 1], [NAN, NAN], [1, 0], [2, NAN], [0, -3]]),
    ),
}


def test_cross_entropy_by_hand() -> None:
    """Logits (ln 3, 0) give class 0 the probability 3/4."""
    task = mtl.Classification("c", classes=2)
    loss = mean_loss(task, torch.tensor([[math.log(3), 0.0]] * 2), torch.tensor([0, 1]))
    assert float(loss) == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


def test_binary_cross_entropy_by_hand() -> None:
    task = mtl.MultiLabel("m", labels=2)
    loss = mean_loss(task, torch.tensor([[math.log(3), 0.0]]), torch.tensor([[1.0, NAN]]))
    assert float(loss) == pytest.approx(math.log(4 / 3))


@pytest.mark.parametrize(("loss", "expected"), [("mse", 5.0), ("mae", 2.0), ("huber", 1.5)])
def test_regression_losses_by_hand(loss: str, expected: float) -> None:
    """Errors of 1 and 3: squares 1 and 9; absolutes 1 and 3; Huber 1/2 and 5/2."""
    task = mtl.Regression("r", loss=loss)
    assert float(mean_loss(task, torch.tensor([[0.0], [0.0]]), torch.tensor([1.0, -3.0]))) == expected


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.kind)
def test_missing_labels_equal_the_batch_without_them(task: mtl.Task) -> None:
    output, target = ROWS[task.name]
    rows = [i for i in range(6) if not (target[i] == -1 if task.name == "c" else target[i].isnan().all())]
    with_missing, without = output.clone().requires_grad_(), output[rows].clone().requires_grad_()
    first, second = mean_loss(task, with_missing, target), mean_loss(task, without, target[rows])
    assert torch.equal(first, second)
    first.backward()
    second.backward()
    assert torch.equal(with_missing.grad[rows], without.grad)
    others = [i for i in range(6) if i not in rows]
    assert not with_missing.grad[others].any()


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.kind)
def test_scores_do_not_depend_on_the_batches(task: mtl.Task) -> None:
    output, target = ROWS[task.name]
    whole, parts = Scores([task]), Scores([task])
    whole.update({task.name: output}, {task.name: target})
    for rows in ([0], [1, 2, 3], [4, 5]):
        parts.update({task.name: output[rows]}, {task.name: target[rows]})
    assert parts.compute()[task.name] == pytest.approx(whole.compute()[task.name], rel=1e-6)


def test_scores_by_hand() -> None:
    tasks = [mtl.Classification("c", classes=2), mtl.Regression("r")]
    scores = Scores(tasks)
    scores.update(
        {"c": torch.tensor([[1.0, 0], [0, 1], [0, 1]]), "r": torch.tensor([[1.0], [2.0], [9.0]])},
        {"c": torch.tensor([0, 0, -1]), "r": torch.tensor([2.0, 5.0, NAN])},
    )
    values = scores.compute()
    assert values["c"]["accuracy"] == 0.5
    assert values["c"]["f1"] == pytest.approx(1 / 3)  # class 0: F1 2/3, class 1: 0
    assert values["r"]["rmse"] == pytest.approx(math.sqrt(5))
    assert values["r"]["mae"] == 2.0
    assert values["r"]["loss"] == 5.0


def test_multilabel_metrics_leave_missing_out() -> None:
    scores = Scores([mtl.MultiLabel("m", labels=2)])
    scores.update(
        {"m": torch.tensor([[5.0, -5.0], [5.0, 5.0]])}, {"m": torch.tensor([[1.0, NAN], [0.0, 1.0]])}
    )
    assert scores.compute()["m"]["accuracy"] == pytest.approx((0.5 + 1.0) / 2)


def test_a_task_without_labels_has_no_loss_and_no_score() -> None:
    scores = Scores(TASKS[:1])
    scores.update({"c": torch.zeros(2, 3)}, {"c": torch.tensor([-1, -1])})
    assert scores.compute() == {}
    assert mean_loss(TASKS[0], torch.zeros(2, 3), torch.tensor([-1, -1])) is None


@pytest.mark.parametrize(
    ("task", "target", "message"),
    [
        (TASKS[0], torch.tensor([0, 3]), "class targets must be in 0..2 .* from 0 to 3"),
        (TASKS[0], torch.tensor([0, -2]), "in 0..2"),
        (TASKS[0], torch.tensor([[0], [1]]), r"task 'c': targets must be \[2\], got \[2, 1\]"),
        (TASKS[1], torch.tensor([[0.0, 0.5]] * 2), "task 'm': multi-label targets must be 0, 1 or NaN"),
        (TASKS[1], torch.zeros(2), r"must be \[2, 2\], got \[2\]"),
        (TASKS[2], torch.zeros(2), r"task 'r': targets must be \[2, 2\], got \[2\]"),
        (TASKS[2], torch.full((2, 2), math.inf), "finite"),
    ],
)
def test_targets_that_do_not_fit(task: mtl.Task, target: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean_loss(task, torch.zeros(2, task.output_size), target)


def test_target_types() -> None:
    with pytest.raises(TypeError, match=r"class targets must be integers, got torch\.float32"):
        mean_loss(TASKS[0], torch.zeros(2, 3), torch.zeros(2))
    with pytest.raises(TypeError, match="must be float"):
        mean_loss(TASKS[2], torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.long))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mtl.Classification("", classes=2), "non-empty string"),
        (lambda: mtl.Classification("a", classes=1), "Classification.classes must be at least 2, got 1"),
        (lambda: mtl.Classification("a", classes=("x", "x")), "different strings"),
        (lambda: mtl.Classification("a", classes=2, label_smoothing=1.0), "label_smoothing"),
        (lambda: mtl.Classification("a", classes=2, primary="roc"), "did you mean 'roc_auc'"),
        (lambda: mtl.Classification("a", classes=3, primary="roc_auc"), "with 3 classes"),
        (lambda: mtl.Regression("a", deviation=0.0), "deviation > 0"),
        (lambda: mtl.Regression("a", size=0), "Regression.size must be >= 1, got 0"),
        (lambda: mtl.Regression("a", loss="rmse"), "'mse', 'mae' or 'huber', got 'rmse'"),
    ],
)
def test_task_options_are_checked(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_roc_auc_counts_the_pairs_in_order() -> None:
    """Of the 2 x 3 pairs of a yes and a no, four are in order and one is a tie; missing labels take no part."""
    margins = torch.tensor([3.0, 1.0, 2.0, 1.0, 0.0, 9.0])
    classes = torch.tensor([1, 1, 0, 0, 0, -1])
    scores = Scores([mtl.Classification("c", classes=2, primary="roc_auc"), mtl.MultiLabel("m", labels=2)])
    labels = torch.where(classes >= 0, classes.float(), NAN)
    scores.update(
        {"c": torch.stack([-margins, margins], dim=1), "m": torch.stack([margins, margins], dim=1)},
        {
            "c": classes,
            "m": torch.stack([labels, 1 - labels.clamp(max=0)], dim=1),
        },  # the second has one value
    )
    values = scores.compute()
    assert next(iter(values["c"])) == "roc_auc"
    assert values["c"]["roc_auc"] == pytest.approx(4.5 / 6)
    assert values["m"]["roc_auc"] == pytest.approx(4.5 / 6)


def test_roc_auc_of_one_class_is_not_defined() -> None:
    scores = Scores([mtl.Classification("c", classes=2)])
    scores.update({"c": torch.randn(3, 2)}, {"c": torch.tensor([1, 1, -1])})
    assert math.isnan(scores.compute()["c"]["roc_auc"])


def test_confident_predictions_do_not_tie() -> None:
    scores = Scores([mtl.Classification("c", classes=2)])
    scores.update(
        {"c": torch.tensor([[0.0, 40.0], [0.0, 41.0], [0.0, 42.0]])}, {"c": torch.tensor([0, 1, 1])}
    )
    assert scores.compute()["c"]["roc_auc"] == 1.0


def test_a_standardised_regression_learns_in_deviations_and_is_scored_in_its_unit() -> None:
    task = mtl.Regression("price", unit="euro", mean=100.0, deviation=10.0)
    output, target = torch.tensor([[1.0], [0.0]]), torch.tensor([130.0, NAN])
    assert float(mean_loss(task, output, target)) == pytest.approx((3.0 - 1.0) ** 2)
    scores = Scores([task])
    scores.update({"price": output}, {"price": target})
    assert scores.compute()["price"]["mae"] == pytest.approx(20.0)
    assert task.loss_unit == "(standard deviations)²"


def test_auxiliary_tasks_do_not_choose_the_checkpoint() -> None:
    tasks = [mtl.Classification("c", classes=3), mtl.Regression("hint", auxiliary=True)]
    selection = Selection("auto", tasks, has_validation=True)
    assert selection.kind == "metric"
    scores = [{"c": {"accuracy": 0.5}, "hint": {"loss": loss}} for loss in (1.0, 9.0)]
    assert [selection.improves(s) for s in (*scores, {"c": {"accuracy": 0.6}, "hint": {"loss": 99.0}})] == [
        True,
        False,
        True,
    ]
    with pytest.raises(ValueError, match="every task is auxiliary"):
        Selection("auto", tasks[1:], has_validation=True)
