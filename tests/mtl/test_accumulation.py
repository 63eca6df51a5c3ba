"""Micro-batches: the same training as with whole batches, for every balancer, whatever labels are missing."""

import copy
import math

import pytest
import torch
from torch import nn

import mtl
from mtl.training.micro import micro_batches

TASKS = (
    mtl.Classification("kind", classes=3),
    mtl.Regression("size"),
    mtl.MultiLabel("tags", labels=["x", "y"]),
)


def data(rows: int = 22) -> mtl.TaskData:
    """Float64, a third of all labels missing, and one task without a label in many a micro-batch."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(rows, 4, generator=generator, dtype=torch.float64)
    missing = torch.rand(rows, 3, generator=generator) < torch.tensor([0.3, 0.8, 0.3])
    tags = (inputs[:, :2] > 0).double()
    tags[missing[:, 2], 0] = math.nan
    return mtl.TaskData(
        inputs,
        {
            "kind": torch.where(missing[:, 0], -1, inputs[:, :3].argmax(dim=1)),
            "size": torch.where(missing[:, 1], math.nan, inputs.sum(dim=1)),
            "tags": tags,
        },
    )


def model() -> mtl.MultiTaskModel:
    with mtl.seeded(0):
        trunk = mtl.backbone("mlp", in_features=4, hidden=(6, 5))
        return mtl.MultiTaskModel(trunk, TASKS, heads="mlp").double()


def trained(balancer: str | mtl.Balancer, accumulate: int, **options: object) -> mtl.FitResult:
    return mtl.fit(
        model(), data(), balancer=balancer, accumulate=accumulate, batch_size=8, steps=6,
        optimizer="sgd", lr=0.05, weight_decay=0.0, seed=3, **{"dynamics_every": None, **options},
    )  # fmt: skip


def weights(m: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in m.parameters()])


def apart(one: mtl.FitResult, other: mtl.FitResult) -> float:
    """The difference of two trainings, relative to what training changed."""
    moved = weights(one.model) - weights(model())
    return float((weights(other.model) - weights(one.model)).norm() / moved.norm())


@pytest.mark.parametrize("name", mtl.BALANCERS)
def test_micro_batches_train_like_whole_batches(name: str) -> None:
    """Uneven parts (2, 3 and 3 rows), an uneven last batch (6), missing labels; six steps, so that states agree."""
    whole, split = trained(name, 1), trained(name, 3)
    assert apart(whole, split) < 1e-6
    losses = [[r["value"] for r in result.records] for result in (whole, split)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize("options", [
    {"method": "nash_mtl", "every": 3}, {"method": "mgda", "smooth": 0.5}, {"method": "cagrad", "match_norm": True},
    {"method": "uncertainty", "match_norm": True}, {"method": "mgda", "level": "last_layer"},
])  # fmt: skip
def test_settings_of_a_balancer_too(options: dict[str, object]) -> None:
    whole, split = (trained(mtl.Balancer(**options), parts) for parts in (1, 4))
    assert apart(whole, split) < 1e-6


def test_the_measured_gradients_are_those_of_the_whole_batch() -> None:
    whole, split = (trained("upgrad", parts, dynamics_every=2).dynamics.arrays() for parts in (1, 3))
    assert list(split["step"]) == [1, 3, 5]
    assert split["groups"] == whole["groups"]
    for name in ("losses", "weights", "norms", "gramian", "cosines", "group_gramian"):
        torch.testing.assert_close(
            *(torch.as_tensor(found[name]) for found in (whole, split)), rtol=1e-6, atol=1e-9, equal_nan=True
        )


def test_clipped_after_balancing() -> None:
    """The norm that is cut is of the balanced gradient of the whole batch."""
    whole, split = (trained("mgda", parts, clip=0.05) for parts in (1, 4))
    assert apart(whole, split) < 1e-6
    assert apart(trained("mgda", 1), whole) > 0.1


def test_more_micro_batches_than_rows_in_the_last_batch() -> None:
    result = mtl.fit(model(), data(9), accumulate=8, batch_size=8, epochs=1, lr=1e-3)
    assert result.steps == 2


def test_a_batch_without_any_label_is_still_an_error() -> None:
    split = data(4)
    none = {"kind": torch.full((4,), -1), "size": torch.full((4,), math.nan, dtype=torch.float64)}
    with pytest.raises(ValueError, match="no label for any task"):
        mtl.fit(model(), mtl.TaskData(split.inputs, none), accumulate=2, batch_size=4)


def test_targets_of_another_length_are_refused_and_not_cut() -> None:
    split = data(8)
    longer = {name: torch.cat([target, target]) for name, target in split.targets.items()}
    loader = torch.utils.data.DataLoader([(split.inputs, longer)], batch_size=None)
    with pytest.raises(ValueError, match=r"step 1: .*targets must be \[8\], got \[16\]"):
        mtl.fit(model(), loader, accumulate=2)


def test_parts_hold_every_row_once_and_shares_add_up() -> None:
    split = data()
    inputs = {"image": split.inputs, "words": split.inputs[:, :1]}
    parts = micro_batches((inputs, split.targets), 5, TASKS)
    assert [len(part.inputs["image"]) for part in parts] == [4, 4, 5, 4, 5]
    assert torch.equal(torch.cat([part.inputs["words"] for part in parts]), inputs["words"])
    for task in TASKS:
        assert sum((part.shares or {}).get(task.name, 0) for part in parts) == pytest.approx(1)


def test_accumulation_takes_less_memory() -> None:
    """Bytes of tensors alive at once in one step of a trunk whose activations outweigh its parameters."""
    from benchmarks.measure import peak_bytes

    generator = torch.Generator().manual_seed(0)
    images = torch.randn(64, 1, 28, 28, generator=generator)
    split = mtl.TaskData(images, {"up": (images.mean(dim=(1, 2, 3)) > 0).long()})
    with mtl.seeded(0):
        trunk = mtl.backbone("convnet", in_channels=1, widths=(8, 8))
        m = mtl.MultiTaskModel(trunk, [mtl.Classification("up", classes=2)])

    def step(accumulate: int) -> None:
        mtl.fit(copy.deepcopy(m), split, steps=1, accumulate=accumulate)

    step(1)  # what libraries keep
    assert peak_bytes(lambda: step(8)) < 0.4 * peak_bytes(lambda: step(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": 0}, "accumulate must be >= 1, got 0"),
        ({"accumulate": 9}, "accumulate=9 micro-batches need a batch_size of at least as many, got 8"),
        ({"accumulate": 2, "balancer": mtl.Balancer("mgda", level="features")}, "level='features'"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mtl.fit(model(), data(), batch_size=8, **options)
