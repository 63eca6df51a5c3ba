"""Losses and metrics of dense tasks against scikit-learn and numpy, and against themselves in other batches."""

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, jaccard_score
from torch import Tensor

import mtl
from mtl.dense.metrics import PixelMedian
from mtl.tasks import mean_loss
from mtl.training.micro import label_counts
from tests.mtl.dense.drawn import TASKS, H, N, W, of_this_process, outputs, scores, targets
from tests.mtl.distributed.processes import together

NAN = math.nan
BY_NAME = {task.name: task for task in TASKS}


def reference(output: Tensor, target: Tensor, task: str) -> dict[str, float]:
    """The metrics by scikit-learn and numpy, in float64."""
    p, y = output.double().numpy(), target.double().numpy()
    if task == "segmentation":
        there = y >= 0
        predicted, label = p.argmax(axis=1)[there], y[there].astype(int)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            miou = jaccard_score(label, predicted, average="macro")  # over the classes that occur
        return {"miou": miou, "pixel_accuracy": accuracy_score(label, predicted)}
    if task == "depth":
        there = ~np.isnan(y)
        error = np.abs(p[:, 0][there] - y[there])
        return {"abs_error": error.mean(), "rel_error": (error / y[there]).mean()}
    if task == "normals":
        there = ~np.isnan(y).any(axis=1)
        p, y = (np.moveaxis(part, 1, -1)[there] for part in (p, y))
        cosine = (p * y).sum(axis=1) / np.linalg.norm(p, axis=1) / np.linalg.norm(y, axis=1)
        angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        within = {f"within_{limit:g}": (angle <= limit).mean() for limit in (11.25, 22.5, 30.0)}
        return {"mean_angle": angle.mean(), "median_angle": np.median(angle), **within}
    there = y >= 0
    probability, label = output[:, 0][target >= 0].sigmoid().numpy(), y[there].astype(int)
    best = max(f1_score(label, probability >= np.float32(k / 100)) for k in range(1, 100))
    return {"f1": f1_score(label, probability > 0.5), "ods_f": best}


@pytest.mark.parametrize("name", BY_NAME)
def test_metrics_equal_the_references(name: str) -> None:
    found = scores([slice(0, N)])[name]
    expected = reference(outputs()[name], targets()[name], name)
    assert set(found) == {*expected, "loss"}
    assert list(found)[: len(expected)] == [metric.name for metric in BY_NAME[name].metrics]
    for metric, value in expected.items():
        room = {"abs": 1e-4} if metric == "median_angle" else {"rel": 1e-6, "abs": 1e-6}
        assert found[metric] == pytest.approx(value, **room), metric


def test_classes_that_are_only_predicted_count_and_absent_ones_do_not() -> None:
    """Classes 0..3 are labels, 0, 1, 2 and 4 are predicted: five unions, two of them without intersection."""
    output, target = outputs()["segmentation"], targets()["segmentation"]
    assert set(output.argmax(dim=1)[target >= 0].tolist()) == {0, 1, 2, 4}
    assert set(target.unique().tolist()) == {-1, 0, 1, 2, 3}
    two = mtl.Segmentation("segmentation", classes=6)  # class 5 is nowhere
    from mtl.metrics import Scores

    wide = Scores([two])
    wide.update({"segmentation": torch.cat([output, output[:, :1] - 99], dim=1)}, {"segmentation": target})
    assert wide.compute()["segmentation"]["miou"] == pytest.approx(
        scores([slice(0, N)])["segmentation"]["miou"]
    )


def test_scores_depend_neither_on_batches_nor_on_processes() -> None:
    whole = scores([slice(0, N)])
    in_parts = scores([slice(0, 1), slice(1, 3), slice(3, 7)])
    for other in (in_parts, *together(of_this_process, 2), *together(of_this_process, 3)):
        for task, values in whole.items():
            assert other[task] == pytest.approx(values, rel=1e-6)
            assert other[task]["loss"] == pytest.approx(values["loss"], rel=1e-6)


@pytest.mark.parametrize("name", BY_NAME)
def test_loss_by_a_loop_over_pixels(name: str) -> None:
    task, output, target = BY_NAME[name], outputs()[name].double(), targets()[name]
    target = target.double() if target.is_floating_point() else target
    total, count = 0.0, 0
    for n in range(N):
        for y in range(H):
            for x in range(W):
                label, z = target[n, ..., y, x], output[n, :, y, x]
                if name == "normals" and not label.isnan().any():
                    total, count = total + 1 - float(z @ label / z.norm() / label.norm()), count + 1
                elif name == "depth" and not label.isnan():
                    total, count = total + abs(float(z[0] - label)), count + 1
                elif name == "segmentation" and label >= 0:
                    total, count = total - float(z.log_softmax(dim=0)[int(label)]), count + 1
                elif name == "boundary" and label >= 0:
                    p = float(z[0].sigmoid())
                    total, count = total - math.log(p if label else 1 - p), count + 1
    found, pixels = task.loss_sum(output, target)
    assert pixels == count < N * H * W
    assert float(found) == pytest.approx(total)
    assert label_counts(TASKS, targets())[list(BY_NAME).index(name)] == count


@pytest.mark.parametrize("name", BY_NAME)
def test_missing_pixels_have_no_gradient(name: str) -> None:
    """And a batch of missing labels alone has no loss."""
    task, output, target = BY_NAME[name], outputs()[name].requires_grad_(), targets()[name]
    loss = mean_loss(task, output, target)
    assert loss is not None
    loss.backward()
    there = (target >= 0) if not target.is_floating_point() else ~target.isnan()
    there = there.all(dim=1) if there.dim() == 4 else there
    assert output.grad is not None
    assert bool(output.grad.isfinite().all())
    assert bool(output.grad.any(dim=1).equal(there))
    assert mean_loss(task, outputs()[name][2:3], target[2:3]) is None


def test_weights_and_other_losses_by_hand() -> None:
    squared = mtl.Depth("d", loss="mse", unit="cm")
    assert float(mean_loss(squared, torch.zeros(1, 1, 1, 2), torch.tensor([[[1.0, 3.0]]]))) == 5.0
    assert (squared.loss_unit, squared.metrics[0].unit) == ("(cm)²", "cm")
    weighted = mtl.Boundary("b", positive_weight=3.0)
    found = mean_loss(weighted, torch.zeros(1, 1, 1, 2), torch.tensor([[[0, 1]]]))
    assert float(found) == pytest.approx(2 * math.log(2))
    void = mtl.Segmentation("s", classes=2, ignore_index=255)
    target = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    assert void.loss_sum(torch.zeros(1, 2, 1, 2), target) == (pytest.approx(math.log(2)), 1)


def test_median_of_an_even_number_and_at_the_ends() -> None:
    metric = PixelMedian(lambda p, y: (p - y).abs(), 180.0)
    metric.update(torch.tensor([0.0, 10.0, 20.0, 180.0]), torch.zeros(4))
    assert float(metric.compute()) == pytest.approx(15.0, abs=1e-4)
    metric.update(torch.tensor([180.0, 180.0, 180.0]), torch.zeros(3))
    assert float(metric.compute()) == pytest.approx(180.0, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "target", "error", "message"),
    [
        ("segmentation", torch.full((2, 3, 3), 5), ValueError, r"got 5, first in row 0 at pixel \(0, 0\)"),
        ("segmentation", torch.zeros(2, 3, 3), TypeError, "must be integers, got torch.float32"),
        ("segmentation", torch.zeros(2, dtype=torch.long), ValueError, r"targets must be \[2, H, W\], got \[2\]"),
        ("segmentation", torch.zeros(2, 4, 3, dtype=torch.long), ValueError, r"head must give \[B, 5, 4, 3\]"),
        ("depth", torch.zeros(2, 3, 3), ValueError, "task 'depth': depths must be > 0"),
        ("depth", torch.full((2, 3, 3), math.inf), ValueError, "finite"),
        ("depth", torch.zeros(2, 1, 3, 3), ValueError, r"targets must be \[2, H, W\], got \[2, 1, 3, 3\]"),
        ("depth", torch.zeros(2, 3, 3, dtype=torch.long), TypeError, "must be float"),
        ("normals", torch.zeros(2, 3, 3, 3), ValueError, "normals must have length one"),
        ("normals", torch.zeros(2, 2, 3, 3), ValueError, r"targets must be \[2, 3, H, W\]"),
        ("boundary", torch.full((2, 3, 3), 2), ValueError, "in 0..1"),
    ],
)  # fmt: skip
def test_targets_that_do_not_fit(name: str, target: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        BY_NAME[name].loss_sum(torch.zeros(2, BY_NAME[name].output_size, 3, 3), target)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mtl.Segmentation("a", classes=1), "Segmentation.classes must be at least 2, got 1"),
        (lambda: mtl.Segmentation("a", classes=3, ignore_index=2), "ignore_index must be no class of 0..2, got 2"),
        (lambda: mtl.Depth("", loss="mae"), "non-empty string"),
        (lambda: mtl.Depth("a", loss="huber"), "'mae' or 'mse', got 'huber'"),
        (lambda: mtl.Boundary("a", positive_weight=0.0), "positive_weight must be > 0"),
    ],
)  # fmt: skip
def test_options_are_checked(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
