"""Several inputs into one feature vector: each way by its formula, and with inputs missing."""

from typing import Any

import pytest
import torch

import mtl


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
    """One head, and so one feature, at a time."""
    fusion = two("attention")
    z, y = parts_of(fusion)
    p, q = fusion.join.queries
    for head in range(4):
        a = torch.exp(z @ p.weight[head] + p.bias[head])
        b = torch.exp(y @ q.weight[head] + q.bias[head])
        expected = (a * z[:, head] + b * y[:, head]) / (a + b)
        torch.testing.assert_close(fusion(a=A, b=B)[:, head], expected)
    wide = mtl.Fusion({"a": mtl.backbone("identity", in_features=2)}, 8, how="attention")
    assert wide.join.queries[0].out_features == 4  # two features a head


def test_a_missing_input_leaves_the_product_of_the_others() -> None:
    """Not the product with nothing: what is there goes on through both halves of W."""
    fusion = two("product", dropout=0.5).eval()
    z, _ = parts_of(fusion)
    join = fusion.join.linear
    expected = torch.relu(z @ (join.weight[:, :4] + join.weight[:, 8:]).T + join.bias)
    torch.testing.assert_close(fusion(a=A), expected)


@pytest.mark.parametrize("how", ["late", "attention"])
def test_alone_an_input_gives_what_it_was_brought_to(how: str) -> None:
    fusion = two(how, dropout=0.5).eval()
    torch.testing.assert_close(fusion(b=B), parts_of(fusion)[1])


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
