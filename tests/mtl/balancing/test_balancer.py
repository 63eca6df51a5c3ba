"""`mtl.Balancer` on real models: what ends up in .grad, missing tasks, state, errors that change nothing."""

import pytest
import torch
from torch import Tensor, nn

import mtl
from mtl.conflict import measure_conflict

TASKS = (
    mtl.Classification("kind", classes=3),
    mtl.Regression("size"),
    mtl.MultiLabel("tags", labels=["x", "y"]),
)


def make() -> tuple[mtl.MultiTaskModel, Tensor, dict[str, Tensor]]:
    with mtl.seeded(0):
        model = mtl.MultiTaskModel(mtl.backbone("mlp", in_features=4, hidden=(6, 5)), TASKS)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(8, 4, generator=generator)
    targets = {
        "kind": torch.randint(0, 3, (8,), generator=generator),
        "size": torch.randn(8, generator=generator),
        "tags": torch.randint(0, 2, (8, 2), generator=generator).float(),
    }
    return model, inputs, targets


def gradients(model: nn.Module) -> list[Tensor | None]:
    return [None if p.grad is None else p.grad.clone() for p in model.parameters()]


def jacobian(model: mtl.MultiTaskModel, losses: dict[str, Tensor]) -> Tensor:
    """Row by row, the slow way."""
    rows = []
    for loss in losses.values():
        found = torch.autograd.grad(loss, model.shared_parameters(), retain_graph=True)
        rows.append(torch.cat([g.flatten() for g in found]))
    return torch.stack(rows)


def test_equal_is_bit_identical_to_the_plain_sum() -> None:
    for missing in ((), ("size",), ("kind", "tags")):
        found = []
        for balanced in (True, False):
            model, inputs, targets = make()
            losses = model.losses(model(inputs), targets)
            losses = {name: loss for name, loss in losses.items() if name not in missing}
            if balanced:
                mtl.Balancer("equal").backward(losses, model)
            else:
                sum(losses.values()).backward()
            found.append(gradients(model))
        for ours, plain in zip(*found, strict=True):
            assert (ours is None) == (plain is None)
            assert ours is None or torch.equal(ours, plain)


@pytest.mark.parametrize("name", ["pcgrad", "upgrad"])
def test_the_trunk_gets_the_combined_rows_and_each_head_its_own(name: str) -> None:
    model, inputs, targets = make()
    losses = model.losses(model(inputs), targets)
    expected = mtl.combine(jacobian(model, losses), name, losses=torch.ones(3), seed=0)
    own = {
        task: torch.autograd.grad(loss, model.head_parameters(task), retain_graph=True)
        for task, loss in losses.items()
    }
    mtl.Balancer(name, seed=0).backward(losses, model)
    found = torch.cat([p.grad.flatten() for p in model.shared_parameters() if p.grad is not None])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    for task, plain in own.items():
        for p, g in zip(model.head_parameters(task), plain, strict=True):
            torch.testing.assert_close(p.grad, g)


@pytest.mark.parametrize("name", mtl.BALANCERS)
def test_gradients_are_added_like_tensor_backward_does(name: str) -> None:
    model, inputs, targets = make()
    mtl.Balancer(name).backward(model.losses(model(inputs), targets), model)
    once = gradients(model)
    for p in model.parameters():
        p.grad = torch.full_like(p, 3.0)
    mtl.Balancer(name).backward(model.losses(model(inputs), targets), model)
    for before, p in zip(once, model.parameters(), strict=True):
        assert before is not None
        torch.testing.assert_close(p.grad, before + 3.0)


@pytest.mark.parametrize("name", mtl.BALANCERS)
def test_a_missing_task_is_as_if_it_did_not_exist(name: str) -> None:
    model, inputs, targets = make()
    losses = model.losses(model(inputs), targets | {"size": torch.full((8,), torch.nan)})
    assert "size" not in losses
    balancer = mtl.Balancer(name, seed=5)
    balancer.backward(losses, model)
    assert balancer.last is not None
    assert balancer.last.tasks == ("kind", "tags")
    other, present = again(losses=("kind", "tags"))
    values = [loss.item() for loss in present.values()]
    expected = mtl.combine(jacobian(other, present), name, losses=values, seed=5)
    found = torch.cat([p.grad.flatten() for p in model.shared_parameters() if p.grad is not None])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    assert all(p.grad is None or not p.grad.any() for p in model.head_parameters("size"))


def again(losses: tuple[str, ...]) -> tuple[mtl.MultiTaskModel, dict[str, Tensor]]:
    model, inputs, targets = make()
    found = model.losses(model(inputs), targets)
    return model, {name: found[name] for name in losses}


@pytest.mark.parametrize("name", mtl.BALANCERS)
@pytest.mark.parametrize("twice", [False, True])
def test_the_state_continues_bit_for_bit(name: str, twice: bool) -> None:
    """Also when it is saved again before the first step after loading."""
    model, inputs, targets = make()
    one = mtl.Balancer(name, seed=2)
    for _ in range(3):
        one.backward(model.losses(model(inputs), targets), model)
    two = mtl.Balancer(name, seed=9)
    two.load_state_dict(one.state_dict())
    if twice:
        three = mtl.Balancer(name, seed=10)
        three.load_state_dict(two.state_dict())
        two = three
    found = []
    for balancer in (one, two):
        model.zero_grad()
        for _ in range(2):
            balancer.backward(model.losses(model(inputs), targets), model)
        found.append(gradients(model))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True) if a is not None and b is not None)
    with pytest.raises(ValueError, match="is of balancer"):
        mtl.Balancer("equal" if name != "equal" else "upgrad").load_state_dict(one.state_dict())


@pytest.mark.parametrize("name", mtl.BALANCERS)
def test_a_loss_that_is_nan_names_its_task_and_writes_nothing(name: str) -> None:
    model, inputs, targets = make()
    losses = model.losses(model(inputs), targets)
    losses["size"] = losses["size"] * torch.nan
    with pytest.raises(ValueError, match="'size'"):
        mtl.Balancer(name).backward(losses, model)
    assert all(p.grad is None for p in model.parameters())


def test_mistakes_are_named() -> None:
    model, inputs, targets = make()
    losses = model.losses(model(inputs), targets)
    balancer = mtl.Balancer("equal")
    for wrong, message in (
        ({}, "no loss to balance"),
        ({"sise": losses["size"]}, "did you mean 'size'"),
        ({"size": losses["size"].expand(2)}, "must be a scalar tensor"),
        ({"size": 1.0}, "must be a scalar tensor, got float"),
        ({"size": losses["size"].detach()}, "'size'"),
    ):
        with pytest.raises(ValueError, match=message):
            balancer.backward(wrong, model)


def test_conflict_is_measured_without_touching_anything() -> None:
    model, inputs, targets = make()
    losses = model.losses(model(inputs), targets)
    J = jacobian(model, losses)
    found = measure_conflict(losses, model)
    assert found.tasks == ("kind", "size", "tags")
    torch.testing.assert_close(found.whole.gramian, (J @ J.T).double(), rtol=1e-5, atol=1e-9)
    norms = J.norm(dim=1)
    torch.testing.assert_close(found.whole.norms, norms.double(), rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(
        found.whole.cosines, (J @ J.T / norms / norms[:, None]).double(), rtol=1e-5, atol=1e-6
    )
    if found.groups:
        parts = torch.stack([group.gramian for group in found.groups.values()]).sum(0)
        torch.testing.assert_close(parts, found.whole.gramian)
    assert all(p.grad is None for p in model.parameters())
    sum(losses.values()).backward()  # the graph is still there
