"""Missing labels, for every balancer: the step of the batch without those rows, and states that do not move."""

import copy

import pytest
import torch
from torch import Tensor

import mtl
from mtl.balancing.state import is_state, take

TASKS = (mtl.Classification("kind", classes=3), mtl.Regression("size"), mtl.MultiLabel("tags", labels=2))
NAN = torch.nan
# of eight rows: which have a label; the last has none at all, and rows 0 and 1 have all
THERE = {
    "kind": [1, 1, 0, 1, 1, 0, 0, 0],
    "size": [1, 1, 1, 0, 1, 0, 1, 0],
    "tags": [1, 1, 1, 1, 0, 1, 0, 0],
}


def make() -> mtl.MultiTaskModel:
    with mtl.seeded(0):
        return mtl.MultiTaskModel(mtl.backbone("mlp", in_features=4, hidden=(6, 5)), TASKS).double()


def batch(seed: int, absent: str = "") -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Inputs, targets with labels missing, and the rows of each task that have one."""
    draw = torch.Generator().manual_seed(seed)
    there = {name: torch.tensor(rows, dtype=torch.bool) & (name != absent) for name, rows in THERE.items()}
    inputs = torch.randn(8, 4, generator=draw, dtype=torch.float64)
    targets = {
        "kind": torch.randint(0, 3, (8,), generator=draw).where(there["kind"], -1),
        "size": torch.randn(8, generator=draw, dtype=torch.float64).where(there["size"], NAN),
        "tags": torch.randint(0, 2, (8, 2), generator=draw).double().where(there["tags"][:, None], NAN),
    }
    return inputs, targets, {name: rows.nonzero()[:, 0] for name, rows in there.items()}


def without_missing(model: mtl.MultiTaskModel, seed: int, absent: str = "") -> dict[str, Tensor]:
    """Each task's loss from a forward pass of its labelled rows alone."""
    inputs, targets, rows = batch(seed, absent)
    losses: dict[str, Tensor] = {}
    for name, own in rows.items():
        if len(own):
            losses |= model.losses(model(inputs[own]), {name: targets[name][own]})
    return losses


def step(model: mtl.MultiTaskModel, balancer: mtl.Balancer, losses: dict[str, Tensor]) -> list[Tensor]:
    """The gradients of one step, which then moves the model a little."""
    model.zero_grad()
    balancer.backward(losses, model)
    found = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]
    with torch.no_grad():
        for p, gradient in zip(model.parameters(), found, strict=True):
            p -= 0.05 * gradient
    return found


@pytest.mark.parametrize("name", mtl.BALANCERS)
def test_missing_labels_are_as_if_those_rows_were_not_there(name: str) -> None:
    """Three steps, so that what a balancer remembers is compared too; in the second a task has no label at all."""
    one, two = make(), make()
    first, second = mtl.Balancer(name, seed=3), mtl.Balancer(name, seed=3)
    for seed, absent in ((0, ""), (1, "size"), (2, "")):
        inputs, targets, _ = batch(seed, absent)
        found = step(one, first, one.losses(one(inputs), targets))
        expected = step(two, second, without_missing(two, seed, absent))
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", mtl.BALANCERS)
def test_a_row_without_any_label_changes_nothing(name: str) -> None:
    one, two = make(), make()
    inputs, targets, _ = batch(0)
    cut = {task: y[:7] for task, y in targets.items()}
    found = step(one, mtl.Balancer(name, seed=3), one.losses(one(inputs), targets))
    expected = step(two, mtl.Balancer(name, seed=3), two.losses(two(inputs[:7]), cut))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", mtl.BALANCERS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_state_of_a_task_without_a_label_does_not_move(name: str, place: int) -> None:
    model, balancer = make(), mtl.Balancer(name, seed=3)
    for seed in (0, 1):  # some states begin with the second step
        inputs, targets, _ = batch(seed)
        step(model, balancer, model.losses(model(inputs), targets))
    at = torch.tensor([place])
    before = copy.deepcopy(take(balancer._state, at))
    head = [p.clone() for p in model.head_parameters(TASKS[place].name)]
    inputs, targets, _ = batch(2, absent=TASKS[place].name)
    step(model, balancer, model.losses(model(inputs), targets))
    after = take(balancer._state, at)
    if is_state(before):
        for field, old in before._asdict().items():
            if (
                isinstance(old, Tensor)
                and old.dim()
                and len(old) == 1
                and getattr(balancer._state, field).shape[0] == 3
            ):
                torch.testing.assert_close(getattr(after, field), old, rtol=0, atol=0, equal_nan=True)
    for p, old in zip(model.head_parameters(TASKS[place].name), head, strict=True):
        assert torch.equal(p, old)
