"""Methods that only look at losses, over steps: what their weights become."""

import pytest
import torch
from torch import Tensor

import mtl
from tests.mtl.balancing.models import Two
from tests.mtl.balancing.references import famo_slope


def weights_of(method: str, steps: list[dict[str, float]], **options: object) -> Tensor:
    """The weights of the last step, for losses given step by step."""
    model, balancer = Two(), mtl.Balancer(method, **options)
    for losses in steps:
        balancer.backward({name: model.weight.sum() * 0 + loss for name, loss in losses.items()}, model)
    assert balancer.last is not None
    assert balancer.last.weights is not None
    return balancer.last.weights


def test_imtl_l_is_uncertainty_read_backwards() -> None:
    steps = [{"a": 4.0, "b": 0.25}] * 5
    torch.testing.assert_close(weights_of("imtl_l", steps, lr=0.1), weights_of("uncertainty", steps, lr=0.1))


def test_dwa_by_hand() -> None:
    """Windows of two: a falls from 4 to 2 (r = .5), b stays; 2 softmax(.5 / 2, 1 / 2)."""
    steps = [{"a": 3.0, "b": 1.0}, {"a": 5.0, "b": 1.0}, {"a": 2.0, "b": 2.0}, {"a": 2.0, "b": 0.0}]
    assert weights_of("dwa", steps, window=2).tolist() == [1.0, 1.0]  # the second window is not over
    expected = 2 * torch.tensor([0.25, 0.5], dtype=torch.float64).softmax(dim=0)
    torch.testing.assert_close(weights_of("dwa", [*steps, {"a": 9.0, "b": 9.0}], window=2), expected)


def test_dwa_does_not_see_the_factor_of_a_loss_nor_steps_without_the_task() -> None:
    steps = [{"a": 4.0, "b": 1.0}, {"a": 2.0, "b": 1.0}, {"a": 2.0, "b": 1.0}]
    expected = weights_of("dwa", steps, window=1)
    scaled = [{"a": 100 * s["a"], "b": s["b"]} for s in steps]
    torch.testing.assert_close(weights_of("dwa", scaled, window=1), expected)
    between = [steps[0], {"b": 1.0}, steps[1], steps[2]]
    torch.testing.assert_close(weights_of("dwa", between, window=1), expected)


def test_stch_nears_the_maximum() -> None:
    losses, options = [0.3, 1.2, 0.7], {"preference": [1.0, 2.0, 0.5], "ideal": [0.1, 0.0, 0.2]}
    worst = mtl.combine(torch.eye(3), "stch", losses=losses, mu=1e-3, **options)
    torch.testing.assert_close(worst, torch.tensor([0.0, 6.0, 0.0]))


@pytest.mark.parametrize("told", [False, True])
def test_famo_moves_towards_the_task_that_fell_less(told: bool) -> None:
    """Losses fall from (2, 2) to (1, 1.8): Adam's first step is the sign of J' delta, lr long."""
    model, balancer = Two(), mtl.Balancer("famo", lr=0.1)

    def losses(a: float, b: float) -> dict[str, Tensor]:
        return {"a": model.weight.sum() * 0 + a, "b": model.weight.sum() * 0 + b}

    balancer.backward(losses(2.0, 2.0), model)
    if told:  # the losses of the same batch after the update; those of the next batch do not matter then
        balancer.after_step(losses(1.0, 1.8))
        balancer.backward(losses(5.0, 5.0), model)
    else:
        balancer.backward(losses(1.0, 1.8), model)
    slope = famo_slope([0.5, 0.5], [0.6931472, 0.1053605], [0.0, 0.0], 1e-3)
    assert slope[0] > 0 > slope[1]
    z = torch.tensor([-0.1, 0.1], dtype=torch.float64).softmax(dim=0)
    gaps = torch.tensor([5.0, 5.0] if told else [1.0, 1.8], dtype=torch.float64)
    expected = 2 * (z / gaps) / (z / gaps).sum()
    assert balancer.last is not None
    torch.testing.assert_close(balancer.last.weights, expected, rtol=1e-6, atol=0)


def test_famo_stays_where_all_losses_fall_alike() -> None:
    steps = [{"a": 4.0, "b": 1.0}, {"a": 2.0, "b": 0.5}, {"a": 1.0, "b": 0.25}]
    assert weights_of("famo", steps, decay=0.0).tolist() == pytest.approx([0.4, 1.6], rel=1e-6)
