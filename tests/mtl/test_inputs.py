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


def test_fusion_is_its_formula() -> None:
    with mtl.seeded(0):
        fusion = mtl.Fusion(
            {"a": mtl.backbone("identity", in_features=2), "b": mtl.backbone("identity", in_features=3)}, 4
        )
    a, b = torch.randn(5, 2), torch.randn(5, 3)
    p, q, join = fusion.projections["a"], fusion.projections["b"], fusion.join.linear
    z, y = torch.tanh(a @ p.weight.T + p.bias), torch.tanh(b @ q.weight.T + q.bias)
    expected = torch.relu(torch.cat([z, y, z * y], dim=1) @ join.weight.T + join.bias)
    torch.testing.assert_close(fusion(b=b, a=a), expected)
    alone = mtl.Fusion({"a": mtl.backbone("identity", in_features=2)}, 4)
    assert alone.join.linear.in_features == 4


def test_fusion_refuses_what_it_has_no_branch_for() -> None:
    fusion = mtl.Fusion({"image": mtl.backbone("identity", in_features=2)}, 4)
    with pytest.raises(ValueError, match="no branch for the input 'imag'; did you mean 'image'"):
        fusion(imag=torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"needs the inputs \['image'\], got \[\]"):
        fusion()
    with pytest.raises(ValueError, match="needs a branch"):
        mtl.Fusion({})


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


def two(how: str, dropout: float = 0.0) -> mtl.Fusion:
    with mtl.seeded(0):
        branches = {name: mtl.backbone("identity", in_features=2) for name in "ab"}
        return mtl.Fusion(branches, 4, how=how, dropout=dropout)


A, B = torch.tensor([[0.5, -1.0], [2.0, 0.1]]), torch.tensor([[1.0, 0.3], [-0.2, 0.7]])


def parts_of(fusion: mtl.Fusion) -> tuple[torch.Tensor, torch.Tensor]:
    p, q = fusion.projections["a"], fusion.projections["b"]
    return torch.tanh(A @ p.weight.T + p.bias), torch.tanh(B @ q.weight.T + q.bias)


def test_late_fusion_means_the_logits_of_each() -> None:
    fusion = two("late", dropout=0.5).eval()
    z, y = parts_of(fusion)
    torch.testing.assert_close(fusion(a=A, b=B), (z + y) / 2)
    torch.testing.assert_close(fusion(b=B), y)


def test_gated_fusion_is_its_formula() -> None:
    fusion = two("gated")
    z, y = parts_of(fusion)
    gates = fusion.join.gates
    g = torch.sigmoid(torch.cat([z, y], dim=1) @ gates.weight.T + gates.bias)
    torch.testing.assert_close(fusion(a=A, b=B), g[:, :4] * z + g[:, 4:] * y)


def test_attention_fusion_is_its_formula() -> None:
    """One head at a time, by hand."""
    fusion = two("attention")
    join = fusion.join
    tokens = torch.stack(parts_of(fusion), dim=1) + join.marks  # [2, 2, 4]
    w, b = join.attention.in_proj_weight, join.attention.in_proj_bias
    q, k, v = join.query[0] @ w[:4].T + b[:4], tokens @ w[4:8].T + b[4:8], tokens @ w[8:].T + b[8:]
    heads = []
    for h in range(4):  # one value wide each
        weights = torch.softmax(q[:, h] * k[:, :, h], dim=1)
        heads.append((weights * v[:, :, h]).sum(dim=1))
    out = join.attention.out_proj
    expected = torch.stack(heads, dim=1) @ out.weight.T + out.bias
    torch.testing.assert_close(fusion(a=A, b=B), expected)


@pytest.mark.parametrize("how", ["product", "late", "gated", "attention"])
def test_an_input_left_out_is_as_if_it_had_never_been(how: str) -> None:
    """Whatever it would have held, also next to examples that have it."""
    fusion = two(how, dropout=0.5).eval()
    alone = fusion(a=A)
    there = torch.tensor([[True, False], [True, True]])
    parts = torch.stack(parts_of(fusion), dim=1) * there[:, :, None]
    mixed = fusion.join(parts, there)
    torch.testing.assert_close(mixed[0], alone[0])
    torch.testing.assert_close(mixed[1], fusion(a=A, b=B)[1])
    with pytest.raises(
        ValueError, match=r"needs the inputs \['b'\], got \['a'\]; a Fusion built with dropout"
    ):
        two(how)(a=A)
    with pytest.raises(ValueError, match=r"needs the inputs \['a', 'b'\]"):
        fusion()


def test_dropout_leaves_out_the_share_that_it_says_and_never_all() -> None:
    fusion = two("late", dropout=0.4)
    there = torch.ones(20_000, 2, dtype=torch.bool)
    with mtl.seeded(0):
        kept = fusion._kept(there) & there
    assert bool(kept.any(dim=1).all())
    # both would go with 0.16, and then one of them stays, either alike
    assert kept.double().mean(dim=0).tolist() == pytest.approx([0.6 + 0.08] * 2, abs=0.02)
    only_a = torch.tensor([[True, False]]).expand(1000, -1)
    with mtl.seeded(0):
        assert bool((fusion._kept(only_a) & only_a)[:, 0].all())
    x = torch.ones(50, 2)
    with mtl.seeded(0):
        dropped = fusion(a=x, b=-x)
    assert len(dropped.unique(dim=0)) == 3  # both, a alone, b alone
    assert len(fusion.eval()(a=x, b=-x).unique(dim=0)) == 1


@pytest.mark.parametrize(("options", "told"), [
    ({"how": "gate"}, "did you mean 'gated'"),
    ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
])  # fmt: skip
def test_fusion_options_are_checked(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        mtl.Fusion({"a": mtl.backbone("identity", in_features=2)}, 4, **options)
