"""Backward passes on all sorts of models: what ends up in .grad, whichever way the engine takes."""

import pytest
import torch
from torch import Tensor

import mtl
from mtl.balancing import passes
from mtl.balancing.fork import find_fork
from mtl.balancing.gramian import EXACT, gramian, weighted_sum
from mtl.balancing.methods.gradvac import gradvac_weights
from tests.mtl.balancing.models import (
    Zoo,
    error_in,
    head_gradients,
    make,
    rows,
    shared_gradient,
    step,
    values,
)

LOSS_ONLY = [name for name, kind in mtl.BALANCERS.items() if kind.needs == "losses"]
WEIGHTS = [name for name, k in mtl.BALANCERS.items() if k.needs != "losses" and not k.answers_direction]


# ---- the same gradients on every kind of model


@pytest.mark.parametrize("kind", Zoo)
@pytest.mark.parametrize("method", ["upgrad", "mgda", "config", "trimmed_mean"])
def test_the_trunk_gets_the_combined_rows(kind: str, method: str) -> None:
    model = make(kind)
    expected = mtl.combine(rows(model), method, losses=values(model))
    plain = make(kind)
    inputs, targets = plain.batch(1)
    sum(plain.losses(plain(inputs), targets).values()).backward()
    step(model, mtl.Balancer(method))
    torch.testing.assert_close(shared_gradient(model), expected, rtol=1e-4, atol=1e-6)
    for ours, own in zip(head_gradients(model), head_gradients(plain), strict=True):
        torch.testing.assert_close(ours, own, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("kind", "forked"), [(k, k not in ("tied", "no_features", "reentrant_head")) for k in Zoo]
)
def test_which_models_have_a_fork(kind: str, forked: bool) -> None:
    """Where they have, the heads are passed once; a tied weight or a model without one feature tensor has none."""
    model = make(kind)
    inputs, targets = model.batch(1)
    losses = model.losses(model(inputs), targets)
    shared = model.shared_parameters()
    own = {id(p) for p in shared}
    heads = [p for p in model.parameters() if id(p) not in own]
    assert (find_fork(list(losses.values()), shared, heads) is not None) == forked
    if not forked:
        with pytest.raises(ValueError, match="features alone"):
            mtl.Balancer("mgda", level="features").backward(losses, model)


def test_heads_are_passed_once_and_the_trunk_once_a_task() -> None:
    model = make("plain")
    counts = {"trunk": 0, "head": 0}

    def count(parameter: Tensor, name: str) -> None:
        def hook(_: Tensor) -> None:
            counts[name] += 1

        parameter.register_hook(hook)

    count(model.shared_parameters()[0], "trunk")
    for head in model.heads:
        count(head.weight, "head")
    step(model, mtl.Balancer("upgrad"))
    assert counts == {"trunk": 3, "head": 3}
    counts.update(trunk=0, head=0)
    step(model, mtl.Balancer("mgda", level="features"))
    assert counts == {"trunk": 1, "head": 3}


@pytest.mark.parametrize("kind", ["plain", "several", "half_reached"])
def test_all_passes_at_once_give_the_same_rows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an accelerator may choose, by vmap; here forced on a CPU."""
    one, two = make(kind), make(kind)
    step(one, mtl.Balancer("upgrad"))
    monkeypatch.setattr(passes, "_at_once_is_faster", lambda *_: True)
    step(two, mtl.Balancer("upgrad"))
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)


def test_two_forwards_in_one_step_have_no_fork() -> None:
    """Each task by a forward pass of its own: T passes through everything, and the same numbers."""
    model = make("plain")
    inputs, targets = model.batch(1)
    losses = {name: model.losses(model(inputs), targets)[name] for name in targets}
    mtl.Balancer("upgrad").backward(losses, model)
    expected = mtl.combine(rows(model), "upgrad")
    torch.testing.assert_close(shared_gradient(model), expected, rtol=1e-4, atol=1e-6)


def test_batch_norm_moves_once_a_step() -> None:
    model = make("normalised")
    step(model, mtl.Balancer("upgrad"))
    (counter,) = [b for name, b in model.named_buffers() if name.endswith("num_batches_tracked")]
    assert int(counter) == 1


def test_the_buffer_is_one_row_a_task() -> None:
    model = make("plain")
    balancer = mtl.Balancer("moco")
    step(model, balancer)
    before = balancer._rows[:]
    assert before.shape == (3, sum(p.numel() for p in model.shared_parameters()))
    step(model, balancer)
    assert balancer._rows[:].data_ptr() == before.data_ptr()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    assert error_in(dtype, make("plain"), "nash_mtl") < (0.05 if dtype == torch.bfloat16 else 1e-10)


def test_a_compiled_trunk_and_a_compiled_model() -> None:
    expected = mtl.combine(rows(make("plain")), "upgrad")
    model = make("plain")
    model.backbone = torch.compile(model.backbone, backend="aot_eager")
    step(model, mtl.Balancer("upgrad"))
    torch.testing.assert_close(shared_gradient(model), expected, rtol=1e-4, atol=1e-6)
    model = make("plain")
    compiled = torch.compile(model, backend="aot_eager")
    inputs, targets = model.batch(1)
    mtl.Balancer("upgrad").backward(model.losses(compiled(inputs), targets), model)
    torch.testing.assert_close(shared_gradient(model), expected, rtol=1e-4, atol=1e-6)


def test_a_gradient_that_is_not_finite_names_its_task() -> None:
    model = make("plain")
    inputs, targets = model.batch(1)
    losses = model.losses(model(inputs), targets)
    losses["size"] = losses["size"] + (model.backbone(inputs) * 0).sum().sqrt()  # finite; its slope is not
    with pytest.raises(ValueError, match="gradient of task 'size' is not finite"):
        mtl.Balancer("upgrad").backward(losses, model)
    assert all(p.grad is None for p in model.parameters())


# ---- levels


@pytest.mark.parametrize("method", WEIGHTS)
def test_features_level_is_the_method_on_the_gradients_of_the_features(method: str) -> None:
    if mtl.BALANCERS[method].keeps_gradients:
        with pytest.raises(ValueError, match="other numbers in each batch"):
            mtl.Balancer(method, level="features")
        return
    model = make("plain")
    inputs, targets = model.batch(1)
    z = model.backbone(inputs).detach().requires_grad_()
    outputs = {t.name: head(z) for t, head in zip(model.tasks, model.heads, strict=True)}
    by_features = torch.stack(
        [
            torch.autograd.grad(loss, z, retain_graph=True)[0].flatten()
            for loss in model.losses(outputs, targets).values()
        ]
    )
    balancer = mtl.Balancer(method, level="features")
    step(model, balancer)
    assert balancer.last is not None
    assert balancer.last.weights is not None
    torch.testing.assert_close(
        balancer.last.gramian, (by_features @ by_features.T).double(), rtol=1e-5, atol=1e-9
    )
    expected = balancer.last.weights @ rows(make("plain"))
    torch.testing.assert_close(shared_gradient(model), expected, rtol=1e-4, atol=1e-6)
    direction = mtl.combine(by_features.double(), method, losses=values(make("plain")))
    torch.testing.assert_close(balancer.last.weights @ by_features.double(), direction, rtol=1e-4, atol=1e-7)


def test_a_direction_in_the_features_goes_through_the_trunk() -> None:
    model = make("several")  # features in a dict of two tensors
    inputs, targets = model.batch(1)
    z = {name: part.detach().requires_grad_() for name, part in model.trunk(inputs).items()}
    losses = model.losses(model.heads_of([z] * 3), targets)
    leaves, slopes = list(z.values()), []
    for loss in losses.values():
        parts = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True)
        slopes.append(
            torch.cat([(0 * p if g is None else g).flatten() for g, p in zip(parts, leaves, strict=True)])
        )
    by_features = torch.stack(slopes)
    direction = mtl.combine(by_features, "graddrop", seed=4)
    live, at, total = model.trunk(inputs), 0, 0
    for part in live.values():
        total = total + (part.flatten() * direction[at : at + part.numel()]).sum()
        at += part.numel()
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(total, model.shared_parameters())])
    step(model, mtl.Balancer("graddrop", level="features", seed=4))
    torch.testing.assert_close(shared_gradient(model), expected.double(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["plain", "no_features"])
def test_last_layer_compares_the_last_matrix_and_its_bias(kind: str) -> None:
    model = make(kind)
    everything = rows(model)
    last = [p.numel() for p in model.shared_parameters()][-2:]
    balancer = mtl.Balancer("mgda", level="last_layer")
    step(model, balancer)
    assert balancer.last is not None
    part = everything[:, -sum(last) :]
    torch.testing.assert_close(balancer.last.gramian, part @ part.T, rtol=1e-4, atol=1e-9)
    assert balancer.last.weights is not None
    torch.testing.assert_close(
        shared_gradient(model), balancer.last.weights @ everything, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["plain", "no_features"])
def test_gradnorm_weighs_the_heads_too(kind: str) -> None:
    model = make(kind)
    balancer = mtl.Balancer("gradnorm", lr=0.5)
    for _ in range(3):
        model.zero_grad()
        step(model, balancer)
    assert balancer.last is not None
    weights = balancer.last.weights
    assert weights is not None
    assert (weights - 1).abs().max() > 0.05
    assert weights.sum() == pytest.approx(3)
    other = make(kind)
    inputs, targets = other.batch(1)
    losses = other.losses(other(inputs), targets)
    sum(float(w) * loss for w, loss in zip(weights, losses.values(), strict=True)).backward()
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)


def test_gradnorm_settles_where_all_gradients_are_equally_long() -> None:
    """alpha = 0: w_t |g_t| alike."""
    model, balancer = make("plain"), mtl.Balancer("gradnorm", alpha=0.0, lr=0.02)
    for _ in range(300):
        model.zero_grad()
        step(model, balancer)
    assert balancer.last is not None
    weighted = balancer.last.weights * balancer.last.norms  # type: ignore[operator]
    assert (weighted / weighted.mean() - 1).abs().max() < 0.1


def test_gradvac_by_layer() -> None:
    model = make("plain")
    everything = rows(model)
    sizes = [p.numel() for p in model.shared_parameters()]
    balancer = mtl.Balancer("gradvac", groups="layer", seed=6)
    step(model, balancer)
    generator = torch.Generator().manual_seed(6)
    order = torch.stack([torch.randperm(3, generator=generator) for _ in range(3)])
    parts = []
    for part in everything.split([sizes[0] + sizes[1], sizes[2] + sizes[3]], dim=1):
        weights, _ = gradvac_weights(part @ part.T, order, torch.zeros(3, 3, dtype=torch.float64), 0.01)
        parts.append(weights @ part)
    torch.testing.assert_close(shared_gradient(model), torch.cat(parts), rtol=1e-4, atol=1e-6)


# ---- large matrices


def test_products_of_large_matrices_are_right_to_1e_8_of_the_lengths() -> None:
    generator = torch.Generator().manual_seed(0)
    J = torch.randn(5, 100_003, generator=generator) * torch.tensor([[1e-3], [1.0], [1e3], [1.0], [1.0]])
    assert J.numel() > EXACT
    exact = J.double() @ J.double().T
    lengths = exact.diagonal().sqrt()
    assert ((gramian(J) - exact) / lengths / lengths[:, None]).abs().max() < 3e-8
    weights = torch.rand(5, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(weighted_sum(weights, J).double(), weights @ J.double(), rtol=1e-5, atol=1e-3)


def test_products_are_symmetric_to_the_bit() -> None:
    """Solvers read either half: with halves a rounding apart, optimality conditions fail by as much."""
    found = gramian(torch.randn(10, 60_000, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(found, found.T)
