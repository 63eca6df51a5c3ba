"""The recorded Gramians of a run, and methods solved again on them."""

import numpy as np
import pytest
import torch

import mtl
from tests.mtl.balancing.models import TASKS, make


def data(rows: int = 64) -> mtl.TaskData:
    parts = [make("plain").batch(seed) for seed in range(rows // 8)]
    targets = {task.name: torch.cat([t[task.name] for _, t in parts]) for task in TASKS}
    return mtl.TaskData(torch.cat([inputs for inputs, _ in parts]), targets)


@pytest.mark.parametrize("name", ["mgda", "nash_mtl", "uncertainty", "famo", "pcgrad"])
def test_the_method_of_the_run_solved_again_gives_its_own_weights(name: str) -> None:
    """Also for methods with a state and with a generator, when every step is logged."""
    balancer = mtl.Balancer(name, seed=3)
    result = mtl.fit(make("plain"), data(), steps=6, batch_size=16, dynamics_every=1, balancer=balancer)
    trace = result.dynamics.arrays()
    found = mtl.resolve(trace, name, seed=3)
    if name != "famo":  # which in the run was told the losses after each step
        np.testing.assert_allclose(found["weights"], trace["weights"], rtol=1e-3)
    assert found["weights"].shape == (6, 3)


def test_what_others_would_have_done() -> None:
    result = mtl.fit(make("plain"), data(), steps=6, batch_size=16, dynamics_every=2)
    trace = result.dynamics.arrays()
    equal = mtl.resolve(trace, "equal")
    np.testing.assert_allclose(equal["cosine"], 1.0)
    np.testing.assert_allclose(equal["length"], 1.0)
    shortest = mtl.resolve(trace, "mgda")
    assert (shortest["gains"] >= -1e-9).all()
    assert (shortest["residual"] <= 1e-8).all()
    for k, M in enumerate(trace["gramian"]):
        w = shortest["weights"][k]
        assert shortest["length"][k] == pytest.approx((w @ M @ w) ** 0.5 / M.sum() ** 0.5)
    whole = trace["group_gramian"].sum(axis=1)
    if trace["groups"]:
        np.testing.assert_allclose(whole, trace["gramian"], rtol=1e-5, atol=1e-9)
        by_group = mtl.resolve(trace, "mgda", group=trace["groups"][0])
        assert not np.allclose(by_group["weights"], shortest["weights"])


def test_a_task_that_took_no_part_is_left_out() -> None:
    M = np.array([[1.0, np.nan, -1.0], [np.nan] * 3, [-1.0, np.nan, 4.0]])
    found = mtl.resolve({"gramian": M[None], "losses": np.array([[1.0, np.nan, 1.0]])}, "mgda")
    np.testing.assert_allclose(found["weights"][0], [10 / 7, np.nan, 4 / 7])


def test_mistakes_are_named() -> None:
    trace = {"gramian": np.eye(2)[None], "losses": np.ones((1, 2)), "groups": ["head"]}
    for call, message in (
        (lambda: mtl.resolve(trace, "graddrop"), "needs whole gradients"),
        (lambda: mtl.resolve({"losses": np.ones((1, 2))}, "mgda"), "has no gramian"),
        (
            lambda: mtl.resolve({**trace, "group_gramian": np.eye(2)[None, None]}, "mgda", group="body"),
            "known: head",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()  # type: ignore[no-untyped-call]


def test_famo_is_told_the_losses_after_each_step_and_nothing_else_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With statistics and dropout in the model: the same draws again, and the statistics put back."""
    told: list[float] = []
    balancer = mtl.Balancer("famo")
    monkeypatch.setattr(balancer, "after_step", lambda losses: told.append(float(losses["size"])))
    with mtl.seeded(0):
        body = torch.nn.Sequential(
            torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.Dropout(0.5), torch.nn.Linear(6, 5)
        )
        model = mtl.MultiTaskModel(body, TASKS, features=5)
    result = mtl.fit(model, data(), steps=4, batch_size=64, balancer=balancer, lr=0.05)
    assert len(told) == 4
    assert int(result.model.state_dict()["backbone.1.num_batches_tracked"]) == 4
    assert told[-1] < told[0]
