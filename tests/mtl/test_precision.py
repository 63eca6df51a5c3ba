"""bf16, fp16 with its loss scale, and clipping: near full precision, and nothing moves in a step that is skipped."""

import io

import pytest
import torch
from torch import Tensor, nn

import mtl
from mtl.training.precision import Precision

TASKS = (mtl.Classification("row", classes=3), mtl.Classification("column", classes=3))
TOLERANCE = {"bf16": 0.1, "fp16": 0.02}  # of the gradient's length: 8 and 11 bits, through six layers


def images(rows: int, seed: int = 0) -> mtl.TaskData:
    """A bright patch at one of nine places, in noise: [N, 1, 12, 12]."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.randint(0, 9, (rows,), generator=generator)
    inputs = 0.5 * torch.randn(rows, 1, 12, 12, generator=generator)
    patches = inputs.unfold(2, 4, 4).unfold(3, 4, 4)  # views [N, 1, 3, 3, 4, 4]
    patches[torch.arange(rows), 0, place // 3, place % 3] += 1
    return mtl.TaskData(inputs, {"row": place // 3, "column": place % 3})


def model(tasks: tuple[mtl.Task, ...] = TASKS) -> mtl.MultiTaskModel:
    with mtl.seeded(0):
        return mtl.MultiTaskModel(mtl.backbone("cnn", image_size=12), tasks)


def far(size: float = 1.0) -> mtl.TaskData:
    """Targets (and inputs of that size) whose gradients overflow fp16 at the first loss scales, not at lower ones."""
    targets = {"a": torch.full((8,), 300.0), "b": torch.full((8,), -200.0)}
    return mtl.TaskData(torch.full((8, 3), size), targets)


def regression(trunk: nn.Module | None = None) -> mtl.MultiTaskModel:
    with mtl.seeded(0):
        trunk = trunk or mtl.backbone("mlp", in_features=3, hidden=(8,))
        return mtl.MultiTaskModel(trunk, [mtl.Regression("a"), mtl.Regression("b")], features=8)


def weights(m: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in m.parameters()])


def gradient(name: str, precision: str) -> Tensor:
    """Of a second step with the balancer, so that a state took part."""
    m, split = model(), images(32)
    computed, balancer = Precision(precision, m), mtl.Balancer(name, seed=3)
    optimizer = torch.optim.SGD(m.parameters(), lr=0.0)
    for _ in range(2):
        m.zero_grad()
        losses = m.losses(computed.forward(m, split.inputs), split.targets)
        assert all(loss.dtype == torch.float32 for loss in losses.values())
        balancer.backward(losses, m, scaler=computed.scaler)
        if computed.scaler is not None:
            computed.scaler.unscale_(optimizer)
            computed.scaler.update()
    return torch.cat([p.grad.flatten() for p in m.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", mtl.BALANCERS)
def test_every_balancer_gives_gradients_near_those_of_fp32(name: str) -> None:
    expected = gradient(name, "fp32")
    for precision, tolerance in TOLERANCE.items():
        found = gradient(name, precision)
        assert found.isfinite().all()
        if name != "sdmgrad":  # its twenty long steps end elsewhere when a Gramian changes in the third digit
            assert float((found - expected).norm() / expected.norm()) < tolerance


def test_trains_as_well_in_every_precision() -> None:
    scores = {}
    for precision in ("fp32", "bf16", "fp16"):
        result = mtl.fit(
            model(), images(512), balancer="upgrad", precision=precision, steps=40, batch_size=32, lr=5e-3
        )
        assert all(p.dtype == torch.float32 for p in result.model.parameters())
        scores[precision] = mtl.evaluate(result.model, images(256, 1))
    for task in TASKS:
        found = [scores[precision][task.name]["accuracy"] for precision in scores]
        assert found[0] > 0.9
        assert found == pytest.approx([found[0]] * 3, abs=0.04)


def test_measured_gradients_do_not_vanish_in_fp16() -> None:
    """The losses' gradients of features are far below what fp16 can hold; scaled they are not."""
    found = {}
    for precision in ("fp32", "fp16"):
        m = model()
        with torch.no_grad():
            for head in m.heads:
                head.weight *= 1e-5
        result = mtl.fit(m, images(16), precision=precision, steps=1, dynamics_every=1)
        found[precision] = torch.as_tensor(result.dynamics.arrays()["gramian"])
    torch.testing.assert_close(found["fp16"], found["fp32"], rtol=0.05, atol=0.0)


# ---- a step that is skipped


class Counted:
    """A schedule that counts."""

    steps = 0

    def step(self) -> None:
        self.steps += 1


def same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one.nan_to_num(-1), other.nan_to_num(-1))
    return one == other


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", mtl.BALANCERS)
def test_a_skipped_step_moves_neither_balancer_nor_weights_nor_schedule(name: str, accumulate: int) -> None:
    m, schedule = regression(), Counted()
    before, balancer = weights(m), mtl.Balancer(name, seed=3)
    fresh = balancer.state_dict()
    result = mtl.fit(
        m, far(8000.0), balancer=balancer, precision="fp16", steps=2, schedule=schedule, clip=1.0,
        accumulate=accumulate, dynamics_every=1,
    )  # fmt: skip
    assert (result.steps, result.skipped_steps, schedule.steps) == (2, 2, 0)
    assert torch.equal(weights(m), before)
    assert same(balancer.state_dict(), fresh)
    assert bool(torch.as_tensor(result.dynamics.arrays()["weights"]).isnan().all())


def test_after_skipped_steps_it_trains_as_if_they_had_not_been() -> None:
    """The same weights as a run that starts where the other, its scale once low enough, made its first update."""
    schedule = Counted()
    late = mtl.fit(
        regression(), far(), balancer="uncertainty", precision="fp16", steps=20, schedule=schedule, lr=0.1
    )
    assert 2 < late.skipped_steps < 16
    assert schedule.steps == 20 - late.skipped_steps
    plain = mtl.fit(
        regression(), far(), balancer="uncertainty", steps=schedule.steps, schedule="constant", lr=0.1
    )
    moved = weights(plain.model) - weights(regression())
    assert float((weights(late.model) - weights(plain.model)).norm() / moved.norm()) < 0.02


class Root(nn.Module):
    """Finite values, and an infinite slope."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 8)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.linear(x)
        return z + (0 * z).sqrt()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp16", "balancer": "equal"}, "step 17: gradients are not finite in fp16, not even"),
        ({"precision": "fp16", "balancer": "mgda"}, "step 17: the gradient of task 'a' is not finite"),
        ({"clip": 1.0}, "step 1: the gradient's norm is nan"),
    ],
)
def test_gradients_that_are_never_finite_are_an_error(options: dict[str, object], message: str) -> None:
    """Not by overflow: a scaler alone would skip every step, and training would end where it began."""
    with pytest.raises(ValueError, match=message):
        mtl.fit(regression(Root()), far(), steps=40, **options)


def test_a_loss_that_is_not_finite_names_task_and_step_in_fp16() -> None:
    split = far()
    huge = mtl.TaskData(split.inputs, {**split.targets, "b": torch.full((8,), 1e30)})
    with pytest.raises(ValueError, match=r"step 1: .*'b' is inf"):
        mtl.fit(regression(), huge, steps=3, precision="fp16")


# ---- clipping


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_balanced_gradient_is_cut_to_the_norm(precision: str) -> None:
    """SGD moves by the gradient: the update is as long as ``clip``, and points where the balancer does."""
    m, split = model(), images(32)
    losses = m.losses(m(split.inputs), split.targets)
    mtl.Balancer("upgrad").backward(losses, m)
    balanced = torch.cat([p.grad.flatten() for p in m.parameters() if p.grad is not None])
    before = weights(m)
    how = {"optimizer": "sgd", "lr": 1.0, "weight_decay": 0.0, "schedule": "constant", "steps": 1}
    mtl.fit(m, split, balancer="upgrad", batch_size=32, clip=0.01, precision=precision, **how)
    moved = before - weights(m)
    assert float(moved.norm()) == pytest.approx(0.01, rel=1e-3)
    assert float(nn.functional.cosine_similarity(moved, balanced, dim=0)) > 0.999


def test_a_clip_that_is_never_reached_changes_nothing() -> None:
    runs = [mtl.fit(model(), images(64), balancer="pcgrad", steps=4, clip=clip) for clip in (None, 1e6)]
    assert torch.equal(*(weights(run.model) for run in runs))


# ---- state and mistakes


def test_the_state_continues() -> None:
    m = regression()
    first = Precision("fp16", m)
    balancer, optimizer, split = mtl.Balancer("equal"), torch.optim.SGD(m.parameters(), lr=0.0), far()
    for _ in range(3):
        optimizer.zero_grad()
        balancer.backward(m.losses(first.forward(m, split.inputs), split.targets), m, scaler=first.scaler)
        assert not first.update(optimizer)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = Precision("fp16", m)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert (second.scale, second.skipped) == (first.scale, 3) == (2.0**13, 3)
    with pytest.raises(ValueError, match=r"of precision 'fp16', this run has precision='bf16'"):
        Precision("bf16", m).load_state_dict(first.state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp61"}, "no precision 'fp61'; did you mean 'fp16'"),
        ({"clip": 0.0}, "clip must be a finite number > 0, or None, got 0.0"),
        ({"clip": float("nan")}, "clip must be"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mtl.fit(regression(), far(), **options)


def test_a_device_or_a_model_that_cannot_be() -> None:
    with pytest.raises(
        ValueError, match=r"precision='fp16' does not work on device 'meta'.*use precision='fp32'"
    ):
        mtl.fit(regression().to("meta"), far(), precision="fp16")
    for other in (torch.float64, torch.float16):
        with pytest.raises(
            ValueError, match=r"casts a float32 model as it goes, but 'backbone.1.weight' is float"
        ):
            mtl.fit(regression().to(other), far(), precision="bf16")


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_on_a_gpu(precision: str) -> None:
    result = mtl.fit(
        model().cuda(), images(512), balancer="upgrad", precision=precision, steps=60, batch_size=32, lr=5e-3
    )
    assert mtl.evaluate(result.model, images(256, 1))["row"]["accuracy"] > 0.9
