"""What a balancer can be told: every, match_norm, smooth, micro-batches, gradient scalers, functions of one's own."""

from collections.abc import Callable

import pytest
import torch

import mtl
from tests.mtl.balancing.models import (
    head_gradients,
    make,
    overflowing_step,
    rows,
    scaled_and_plain,
    shared_gradient,
    step,
)


@pytest.mark.parametrize("kind", ["plain", "no_features"])
def test_every_third_step_is_solved_and_the_others_use_its_weights(kind: str) -> None:
    model, balancer = make(kind), mtl.Balancer("mgda", every=3)
    refreshed, weights = [], torch.empty(0)
    for seed in range(5):
        model.zero_grad()
        step(model, balancer, seed)
        assert balancer.last is not None
        refreshed.append(balancer.last.refreshed)
        if seed == 1:
            expected = weights @ rows(make(kind), seed)
            torch.testing.assert_close(shared_gradient(model), expected, rtol=1e-4, atol=1e-6)
            plain = make(kind)
            inputs, targets = plain.batch(seed)
            sum(plain.losses(plain(inputs), targets).values()).backward()
            for ours, own in zip(head_gradients(model), head_gradients(plain), strict=True):
                torch.testing.assert_close(ours, own, rtol=1e-5, atol=1e-7)
        weights = balancer.last.weights
    assert refreshed == [True, False, False, True, False]


@pytest.mark.parametrize("name", mtl.BALANCERS)
def test_a_matched_norm_is_that_of_the_plain_sum(name: str) -> None:
    model = make("plain")
    balancer = mtl.Balancer(name, match_norm=True)
    for seed in (1, 2):
        model.zero_grad()
        step(model, balancer, seed)
        if balancer.level == "parameters":
            plain = rows(make("plain"), seed).sum(dim=0).norm()
            torch.testing.assert_close(shared_gradient(model).norm(), plain, rtol=1e-4, atol=0)
        assert balancer.last is not None
        assert balancer.last.factor > 0


def test_smoothed_weights_are_a_running_mean() -> None:
    model, found = make("plain"), []
    smooth, sharp = mtl.Balancer("mgda", smooth=0.9), mtl.Balancer("mgda")
    for seed in (1, 2):
        for balancer in (smooth, sharp):
            step(model, balancer, seed)
            assert balancer.last is not None
            found.append(balancer.last.weights)
    torch.testing.assert_close(found[2], 0.9 * found[1] + 0.1 * found[3])


@pytest.mark.parametrize("name", mtl.BALANCERS)
def test_micro_batches_are_one_batch(name: str) -> None:
    """Two halves with their losses divided by two, against the whole; in two steps, so that states agree too."""
    options = {"level": "parameters"} if name == "gradnorm" else {}
    whole, halves = make("plain"), make("plain")
    one, two = mtl.Balancer(name, seed=3, **options), mtl.Balancer(name, seed=3, **options)
    for seed in (1, 2):
        for model in (whole, halves):
            model.zero_grad()
        step(whole, one, seed)
        inputs, targets = halves.batch(seed)
        half = len(inputs) // 2
        for part, call in ((slice(half), two.accumulate), (slice(half, None), two.backward)):
            losses = halves.losses(halves(inputs[part]), {n: t[part] for n, t in targets.items()})
            call({n: loss / 2 for n, loss in losses.items()}, halves)
    for a, b in zip(whole.parameters(), halves.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=2e-3, atol=2e-5)


def test_a_task_in_one_micro_batch_alone_takes_part() -> None:
    model, other = make("plain"), make("plain")
    inputs, targets = model.batch(1)
    balancer = mtl.Balancer("upgrad")
    losses = model.losses(model(inputs), targets)
    balancer.accumulate({"kind": losses["kind"]}, model)
    losses = model.losses(model(inputs), targets)
    balancer.backward({"tags": losses["tags"]}, model)
    losses = other.losses(other(inputs), targets)
    mtl.Balancer("upgrad").backward({"kind": losses["kind"], "tags": losses["tags"]}, other)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)
    assert balancer.last is not None
    assert balancer.last.tasks == ("kind", "tags")


@pytest.mark.parametrize("name", ["equal", "uncertainty", "nash_mtl", "moco", "gradnorm", "gradvac"])
def test_a_gradient_scaler_changes_nothing(name: str) -> None:
    """Written scaled, unscaled by the scaler: the same numbers, also for methods that are not homogeneous."""
    for scaled, plain in scaled_and_plain(make("plain"), make("plain"), name):
        torch.testing.assert_close(scaled, plain, rtol=1e-5, atol=1e-8)


def test_an_overflow_skips_the_step_and_leaves_the_state() -> None:
    model, balancer = make("plain"), mtl.Balancer("moco")
    assert overflowing_step(model, balancer)
    assert not balancer.state_dict()["state"]["steps"].any()


# ---- functions of the user's


def test_a_torchjd_aggregator_and_a_function_balance() -> None:
    torchjd = pytest.importorskip("torchjd.aggregation")
    for function in (torchjd.UPGrad(), lambda jacobian: jacobian.mean(dim=0)):
        model = make("plain")
        expected = function(rows(model))
        step(model, mtl.Balancer(function))
        torch.testing.assert_close(shared_gradient(model), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: mtl.Balancer("mgda", level="layers"), "no Balancer.level 'layers'"),
    (lambda: mtl.Balancer("mgda", every=0), "must be a whole number >= 1"),
    (lambda: mtl.Balancer("mgda", smooth=2.0), "must be a number >= 0 and <= 1"),
    (lambda: mtl.Balancer("graddrop", every=2), "no weights, so every has no meaning"),
    (lambda: mtl.Balancer("trimmed_mean", level="last_layer"), "no weights, so level"),
    (lambda: mtl.Balancer("equal", every=2), "every has no meaning"),
    (lambda: mtl.Balancer("gradvac", groups="layer", level="features"), "by layer needs level='parameters'"),
    (lambda: mtl.Balancer(lambda J: J.sum(0), lr=1), "go with a method's name"),
    (lambda: mtl.combine(torch.eye(2), lambda J: J), r"must give a tensor \[P\] with P=2"),
    (lambda: mtl.combine(torch.eye(2), lambda J: J[0] * torch.nan), "NaN or infinite"),
    (lambda: mtl.combine(torch.eye(3), "krum", outliers=1), "needs 4 tasks or more"),
    (lambda: mtl.combine(torch.eye(3), "mgda", normalise="l3"), "no mgda.normalise 'l3'"),
    (lambda: mtl.combine(torch.eye(2), "graddrop", leak=[2.0, 0.0]), "must be a number >= 0 and <= 1"),
])  # fmt: skip
def test_mistakes_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_something_that_is_no_method() -> None:
    with pytest.raises(TypeError, match="a name, a function"):
        mtl.Balancer(3)  # type: ignore[arg-type]
