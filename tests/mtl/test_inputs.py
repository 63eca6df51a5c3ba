"""Several inputs by name: the same numbers as one tensor, and one clear error for each mistake."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import mtl

TASKS = [mtl.Regression("sum"), mtl.Classification("sign", classes=2)]


class Joined(nn.Module):
    """Both inputs side by side; with one input, that input."""

    out_features = 5

    def forward(self, inputs: Tensor | None = None, **named: Tensor) -> Tensor:
        return inputs if inputs is not None else torch.cat([named["left"], named["right"]], dim=1)


def make(several: bool, rows: int = 40) -> mtl.TaskData:
    x = torch.randn(rows, 5, generator=torch.Generator().manual_seed(0))
    targets = {"sum": x.sum(dim=1), "sign": (x[:, 0] > 0).long()}
    return mtl.TaskData({"left": x[:, :2], "right": x[:, 2:]} if several else x, targets)


def fitted(data: Any, balancer: str = "equal") -> mtl.MultiTaskModel:
    with mtl.seeded(0):
        model = mtl.MultiTaskModel(Joined(), TASKS)
    return mtl.fit(model, data, steps=12, batch_size=8, balancer=balancer, progress=False).model


@pytest.mark.parametrize("balancer", ["equal", "famo"])  # famo asks for the losses after the step once more
def test_training_is_the_same_as_on_one_tensor(balancer: str) -> None:
    one, other = (fitted(make(several), balancer) for several in (False, True))
    for weight, same in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(weight, same)
    assert mtl.evaluate(one, make(False)) == mtl.evaluate(other, make(True))


def test_datasets_and_loaders_may_give_dicts() -> None:
    data = make(True)

    class Rows(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(data)

        def __getitem__(self, row: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
            inputs, targets = data.inputs, data.targets
            return {k: x[row] for k, x in inputs.items()}, {k: y[row] for k, y in targets.items()}

    model = fitted(Rows())
    scores = mtl.evaluate(model, data)
    again = mtl.evaluate(model, DataLoader(Rows(), batch_size=7))
    assert again["sign"]["accuracy"] == scores["sign"]["accuracy"]
    assert again["sum"]["rmse"] == pytest.approx(scores["sum"]["rmse"])


def test_task_data_takes_rows_of_every_input() -> None:
    data = make(True)
    few = data.take(torch.tensor([3, 1]))
    assert len(data) == 40
    assert len(few) == 2
    assert torch.equal(few.inputs["right"], data.inputs["right"][[3, 1]])
    assert data.only(["sign"]).inputs is data.inputs
    same, other = make(True), make(True)
    other.inputs["right"][0, 0] += 1
    assert data.fingerprint() == same.fingerprint() != other.fingerprint()
    assert data.fingerprint() != make(False).fingerprint()


def test_token_ids_may_go_along() -> None:
    data = mtl.TaskData({"ids": torch.tensor([[1, 2], [3, 0]])}, {"sum": torch.zeros(2)})
    assert data.take(torch.tensor([1])).inputs["ids"].tolist() == [[3, 0]]


def test_mistakes_name_the_input() -> None:
    x, y = torch.zeros(3, 2), {"sum": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"inputs\['words'\] has 2 rows, inputs have 3"):
        mtl.TaskData({"image": x, "words": x[:2]}, y)
    with pytest.raises(
        ValueError, match=r"inputs\['words'\] has NaN or infinite values in 1 of 3 rows, .* row 1"
    ):
        mtl.TaskData({"image": x, "words": torch.tensor([[0.0], [torch.nan], [0.0]])}, y)
    with pytest.raises(ValueError, match=r"TaskData\.inputs is empty"):
        mtl.TaskData({}, y)
    model = mtl.MultiTaskModel(Joined(), TASKS)
    with pytest.raises(
        ValueError, match=r"must give \[B, 5\], got \[3, 4\] for inputs left \[3, 2\], right \[3, 2\]"
    ):
        model(left=x, right=x)


def test_convnet_does_not_care_where_things_are() -> None:
    """Moved by a multiple of the pooling, away from the edges: the same features."""
    with mtl.seeded(0):
        net = mtl.backbone("convnet", in_channels=1, widths=(4, 8)).eval()
    image = torch.zeros(1, 1, 32, 32)
    image[..., 8:12, 8:12] = torch.rand(4, 4)
    torch.testing.assert_close(net(image), net(image.roll((4, 8), dims=(2, 3))))
    with pytest.raises(ValueError, match=r"images \[B, 1, H, W\] of at least 4x4, got \[1, 1, 3, 8\]"):
        net(torch.zeros(1, 1, 3, 8))


def test_a_bag_of_words_does_not_care_for_their_order() -> None:
    words = torch.eye(6)[torch.tensor([[0, 3, 5]])]
    bag = mtl.backbone("bag_of_words", in_features=6, hidden=(7,))
    torch.testing.assert_close(bag(words), bag(words.flip(1)))
    assert bag.out_features == 7
