"""Conflict and channel sharing: closed forms, slow references, and the model left as it was."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import explain
from tests.explain.models import Heads, heads
from tests.explain.test_guards import Fails, state


class Parts(nn.Module):
    """Linear tasks by name, of a linear trunk [F] -> [C] (or of the inputs)."""

    def __init__(self, trunk: list[list[float]] | None = None, **weights: list[list[float]]) -> None:
        super().__init__()
        self.trunk = nn.Identity() if trunk is None else linear(trunk)
        self.heads = nn.ModuleDict({name: linear(weight) for name, weight in weights.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.trunk(x)
        return {name: head(features) for name, head in self.heads.items()}


def linear(weight: list[list[float]]) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
    return layer


@pytest.fixture
def model() -> Heads:
    return heads().train()


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.randn(5, 2, 8, 8, generator=generator)


LOSSES = {"a": torch.tensor([0, 1, 2, 0, 1]), "b": 3, "c": torch.tensor([0.5, -1.0, 2.0, 0.0, 1.0])}


# ---- conflict


def test_conflict_by_hand() -> None:
    """Squared errors of w x: gradients 2 (w x - y) w.  At x = 0 and y = 1, -2 w."""
    model = Parts(a=[[3.0, 4.0, 0.0]], b=[[4.0, -3.0, 0.0]], c=[[0.0, 0.0, 1.0]], d=[[-6.0, -8.0, 0.0]])
    found = explain.conflict(model, torch.zeros(1, 3), {task: [1.0] for task in "abcd"})
    torch.testing.assert_close(found.pairs["a", "b"], torch.tensor([[12 / 25, -12 / 25, 0]]))
    torch.testing.assert_close(found.pairs["a", "c"], torch.zeros(1, 3))
    torch.testing.assert_close(found.pairs["a", "d"], torch.tensor([[-9 / 25, -16 / 25, 0]]))
    torch.testing.assert_close(  # a b, a d and b d; six pairs
        found.total, torch.tensor([[9 / 25 + 12 / 25, 12 / 25 + 16 / 25, 0]]) / 6
    )
    table = found.table.set_index(["task_a", "task_b"])
    assert table.loc[("a", "b"), ["cosine", "conflict", "aligned"]].tolist() == pytest.approx([0, 0.48, 0.48])
    assert table.loc[("a", "d"), ["cosine", "conflict", "aligned"]].tolist() == pytest.approx([-1, 1, 0])
    assert len(table) == 6


def test_conflict_is_the_cosine_of_the_loss_gradients(model: Heads, images: Tensor) -> None:
    found = explain.conflict(model, images, LOSSES)
    clean = images.clone().requires_grad_()
    outputs = model.eval()(clean)
    losses = {
        "a": nn.functional.cross_entropy(outputs["a"], LOSSES["a"], reduction="sum"),
        "b": nn.functional.cross_entropy(outputs["b"], torch.full((5,), 3), reduction="sum"),
        "c": (outputs["c"][:, 0] - LOSSES["c"]).square().sum(),
    }
    g = {t: torch.autograd.grad(loss, clean, retain_graph=True)[0].flatten(1) for t, loss in losses.items()}
    for (a, b), product in found.pairs.items():
        expected = nn.functional.cosine_similarity(g[a], g[b], dim=1)
        torch.testing.assert_close(product.flatten(1).sum(1), expected, rtol=1e-4, atol=1e-5)
        rows = found.table.query("task_a == @a and task_b == @b")
        np.testing.assert_allclose(rows["cosine"], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(rows["aligned"] - rows["conflict"], rows["cosine"], atol=1e-12)
        assert ((product < 0) == ((g[a] * g[b]) < 0).reshape(product.shape)).float().mean() > 0.999
    for rows in (1, 2):
        parts = explain.conflict(model, images, LOSSES, batch_size=rows)
        torch.testing.assert_close(parts.total, found.total, rtol=1e-4, atol=1e-6)


def test_conflict_of_identical_and_of_silent_tasks() -> None:
    model = Parts(a=[[1.0, 2.0]], b=[[5.0, 10.0]], silent=[[0.0, 0.0]])
    found = explain.conflict(
        model, torch.ones(2, 2), {t: torch.full((2,), -1.0) for t in ("a", "b", "silent")}
    )
    assert found.total.abs().max() == 0
    table = found.table.set_index(["task_a", "task_b", "example"])["cosine"]
    assert table["a", "b"].tolist() == pytest.approx([1, 1])
    assert table["a", "silent"].isna().all()
    assert found.pairs["a", "silent"].abs().max() == 0
    tiny = Parts(a=[[1e-30, 2e-30]], b=[[-1e-30, 2e-30]])  # whose product leaves float32
    assert explain.conflict(tiny, torch.ones(1, 2), {"a": [1.0], "b": [1.0]}).table["cosine"].item() == (
        pytest.approx(0.6)
    )


def test_conflict_leaves_tasks_out_and_takes_callables(model: Heads, images: Tensor) -> None:
    both = explain.conflict(model, images, {"a": LOSSES["a"], "c": LOSSES["c"]})
    assert list(both.pairs) == [("a", "c")]
    torch.testing.assert_close(both.pairs["a", "c"], explain.conflict(model, images, LOSSES).pairs["a", "c"])
    called = explain.conflict(
        model, images, {"b": lambda out: nn.functional.cross_entropy(out, torch.full((len(out),), 3), reduction="none"),
                        "a": LOSSES["a"]}
    )  # fmt: skip
    torch.testing.assert_close(
        called.pairs["b", "a"], explain.conflict(model, images, LOSSES).pairs["a", "b"], rtol=1e-4, atol=1e-6
    )


def test_conflict_at_a_layer(model: Heads, images: Tensor) -> None:
    found = explain.conflict(model, images, LOSSES, layer="trunk.5")
    assert found.total.shape == (5, 8, 4, 4)
    features = model.eval().trunk[:6](images).detach().requires_grad_()
    a, b = (head(features.flatten(1)) for head in list(model.heads)[:2])
    one, other = (
        torch.autograd.grad(nn.functional.cross_entropy(out, label, reduction="sum"), features)[0].flatten(1)
        for out, label in ((a, LOSSES["a"]), (b, torch.full((5,), 3)))
    )
    expected = nn.functional.cosine_similarity(one, other)
    torch.testing.assert_close(found.pairs["a", "b"].flatten(1).sum(1), expected, rtol=1e-4, atol=1e-5)
    model.unused = nn.ReLU()
    with pytest.raises(ValueError, match="layer 'unused' ran 0 times"):
        explain.conflict(model, images, LOSSES, layer="unused")


def test_conflict_of_several_inputs() -> None:
    class Sum(nn.Module):
        def forward(self, x: Tensor, ids: Tensor, y: Tensor) -> dict[str, Tensor]:
            return {"up": x.sum(1) + y.sum((1, 2)), "down": x.sum(1) - y.sum((1, 2))}

    inputs = (torch.zeros(2, 2), torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 1, 2))
    found = explain.conflict(Sum(), inputs, {"up": [1.0, 1.0], "down": [1.0, 1.0]})
    x, none, y = found.pairs["up", "down"]
    assert none is None
    torch.testing.assert_close(x, torch.full((2, 2), 0.25))
    torch.testing.assert_close(y, torch.full((2, 1, 2), -0.25))


def test_conflict_names_mistakes(model: Heads, images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"needs the losses of at least 2 tasks, got \['a'\]"):
        explain.conflict(model, images, {"a": 0})
    with pytest.raises(ValueError, match=r"no task 'd'; .*known: a, b, c"):
        explain.conflict(model, images, {"a": 0, "d": 0})
    with pytest.raises(ValueError, match=r"task 'a': target classes must be in 0\.\.2, got 0\.\.7"):
        explain.conflict(model, images, {"a": [0, 1, 2, 7, 0], "b": 0})
    with pytest.raises(TypeError, match=r"losses must be {task: labels \[B\]}, got list"):
        explain.conflict(model, images, [0, 1])
    with pytest.raises(ValueError, match=r"no layer 'trunk.55'; did you mean 'trunk.5'"):
        explain.conflict(model, images, LOSSES, layer="trunk.55")
    with pytest.raises(TypeError, match=r"model must be an nn.Module, got function"):
        explain.conflict(lambda x: x, images, LOSSES)


# ---- channel sharing


def split(frame: pd.DataFrame, column: str = "shared") -> dict[str, float]:
    return frame.groupby("task", sort=False)[column].sum().to_dict()


def test_tasks_with_channels_of_their_own_share_nothing() -> None:
    eye = np.eye(4).tolist()
    model = Parts(trunk=eye, a=[[1.0, 2.0, 0.0, 0.0]], b=[[0.0, 0.0, 3.0, -4.0]])
    x = torch.tensor([[1.0, 1.0, 1.0, 1.0], [3.0, 1.0, -1.0, 2.0]])
    frame = explain.channel_sharing(model, x, "trunk")
    table = frame.set_index(["task", "channel"])
    assert table["evidence"]["a"].tolist() == [2, 2, 0, 0]  # means of w x
    assert table["evidence"]["b"].tolist() == [0, 0, 0, -6]
    assert table["strength"]["b"].tolist() == [0, 0, 3, 6]
    assert table["share"]["b"].tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3])
    assert split(frame) == {"a": 0, "b": 0}
    assert frame["selectivity"].tolist() == [1] * 8
    assert (frame["effect"] == frame["evidence"]).all()


def test_tasks_that_use_the_same_channels_share_all() -> None:
    model = Parts(trunk=np.eye(3).tolist(), a=[[1.0, 2.0, 3.0]], b=[[-2.0, -4.0, -6.0]])
    frame = explain.channel_sharing(model, torch.ones(2, 3), "trunk")
    assert split(frame) == pytest.approx({"a": 1, "b": 1})
    assert frame["selectivity"].tolist() == pytest.approx([0] * 6)


def test_the_split_and_selectivity_by_hand() -> None:
    """Shares (1/2, 1/2, 0), (1/4, 0, 3/4) and (0, 0, 1)."""
    model = Parts(trunk=np.eye(3).tolist(), a=[[1.0, 1.0, 0.0]], b=[[1.0, 0.0, 3.0]], c=[[0.0, 0.0, 9.0]])
    frame = explain.channel_sharing(model, torch.ones(1, 3), "trunk")
    assert split(frame) == pytest.approx({"a": 1 / 4, "b": 1 / 4 + 3 / 4, "c": 3 / 4})
    rest = [(1 / 4 + 0) / 2, 0, (3 / 4 + 0) / 2]
    expected = [(m - r) / (m + r) for m, r in zip([1 / 2, 1 / 2, 1], rest, strict=True)]
    assert frame.groupby("channel")["selectivity"].first().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("reference", ["zero", "mean"])
def test_evidence_is_the_effect_where_the_rest_is_linear(
    model: Heads, images: Tensor, reference: str
) -> None:
    """From the last ReLU on the model is linear: gradient x (activation - reference) is exact."""
    frame = explain.channel_sharing(model, images, "trunk.5", reference=reference)
    np.testing.assert_allclose(frame["evidence"], frame["effect"], rtol=1e-3, atol=1e-5)
    assert frame["effect"].abs().max() > 1e-2
    assert len(frame) == 8 * 3


@pytest.mark.parametrize("reference", ["zero", "mean"])
def test_effects_are_the_slow_ones(model: Heads, images: Tensor, reference: str) -> None:
    """Each channel of an early layer taken out by hand; and each example by itself or all at once."""
    options = {"target": {"a": 1, "b": 2}, "reference": reference}
    frame = explain.channel_sharing(model, images, ["trunk.2"], **options)
    trunk = model.eval().trunk
    with torch.no_grad():
        features = torch.relu(trunk[1](trunk[0](images)))
        clean = torch.stack(
            [head(trunk[3:](features))[:, k] for head, k in zip(model.heads, (1, 2, 0), strict=True)], 1
        )
        for channel in range(6):
            gone = features.clone()
            gone[:, channel] = features[:, channel].mean() if reference == "mean" else 0
            without = torch.stack(
                [head(trunk[3:](gone))[:, k] for head, k in zip(model.heads, (1, 2, 0), strict=True)], 1
            )
            found = frame[frame["channel"] == channel]["effect"].to_numpy()
            np.testing.assert_allclose(found, (clean - without).mean(0).numpy(), rtol=1e-4, atol=1e-6)
    for rows in (1, 2):
        part = explain.channel_sharing(model, images, ["trunk.2"], batch_size=rows, **options)
        for column in ("evidence", "strength", "effect"):
            np.testing.assert_allclose(part[column], frame[column], rtol=1e-4, atol=1e-6)


def test_the_layers_are_the_convolutions_with_what_follows(model: Heads, images: Tensor) -> None:
    frame = explain.channel_sharing(model, images, ablate=False)
    assert frame["layer"].unique().tolist() == ["trunk.2", "trunk.5"]
    assert frame["effect"].isna().all()
    for layer in ("trunk.2", "trunk.5"):
        alone = explain.channel_sharing(model, images, model.get_submodule(layer), ablate=False)
        np.testing.assert_allclose(alone["evidence"], frame[frame["layer"] == layer]["evidence"], rtol=1e-5)


def test_a_module_that_runs_twice_is_no_point_and_counts_both_times(images: Tensor) -> None:
    class Reused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.act, self.head = (
                nn.Conv2d(2, 3, 3, bias=False), nn.Conv2d(3, 3, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False),
            )  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.act(self.two(self.act(self.one(x)))).mean((2, 3)))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Reused()
    frame = explain.channel_sharing(model, images, ablate=False)
    assert frame["layer"].unique().tolist() == ["one", "two"]
    # bias-free: the evidence of each of the two runs adds up to the score
    twice = explain.channel_sharing(model, images, "act", ablate=False)
    assert twice["evidence"].sum() == pytest.approx(2 * model(images).mean().item(), rel=1e-4)


def test_a_task_beside_the_layer_has_no_evidence_there(images: Tensor) -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 3, 3)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"through": self.conv(x).mean((1, 2, 3)), "beside": x.mean((1, 2, 3))}

    frame = explain.channel_sharing(Beside(), images).set_index("task")
    assert frame.loc["beside", ["evidence", "effect"]].abs().max().max() < 1e-6
    assert frame.loc["beside", ["share", "shared"]].isna().all().all()
    assert frame.loc["through", "shared"].tolist() == [0, 0, 0]


def test_tokens_have_their_channels_last(generator: torch.Generator) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.act = linear([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.embed(x)).sum(1) @ torch.tensor([1.0, 2.0, 0.0])

    x = torch.rand(4, 5, 2, generator=generator)
    frame = explain.channel_sharing(Tokens(), x, "embed")
    expected = [x[..., 0].sum(1).mean(), 2 * x[..., 1].sum(1).mean(), 0]
    np.testing.assert_allclose(frame["evidence"], expected, rtol=1e-5)
    np.testing.assert_allclose(frame["effect"], expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"'act' \(ReLU\) gives \[4, 5, 3\], .* give channel_axis=1 or"):
        explain.channel_sharing(Tokens(), x, "act")
    last = explain.channel_sharing(Tokens(), x, "act", channel_axis=-1)
    np.testing.assert_allclose(last["evidence"], expected, rtol=1e-5)


def test_channel_sharing_names_mistakes(model: Heads, images: Tensor) -> None:
    with pytest.raises(ValueError, match="no reference 'means'; did you mean 'mean'"):
        explain.channel_sharing(model, images, reference="means")
    with pytest.raises(ValueError, match=r"no layer 'trunc.5'; did you mean 'trunk.5'"):
        explain.channel_sharing(model, images, ["trunc.5"])
    with pytest.raises(ValueError, match="layers is empty"):
        explain.channel_sharing(model, images, [])
    with pytest.raises(ValueError, match="the model has no convolution; give layers="):
        explain.channel_sharing(nn.Linear(3, 2), torch.ones(1, 3))
    with pytest.raises(ValueError, match=r"channel_axis 4 is no axis of layer 'trunk.5', which gives"):
        explain.channel_sharing(model, images, "trunk.5", channel_axis=4)
    model.lstm = nn.LSTM(8, 4)
    with pytest.raises(ValueError, match="layer 'lstm' took no part in the forward pass"):
        explain.channel_sharing(model, images, "lstm")
    with pytest.raises(ValueError, match="layer Linear is not a part of the model"):
        explain.channel_sharing(model, images, nn.Linear(1, 1))


# ---- the model afterwards

CALLS: dict[str, Callable[[nn.Module, Tensor], object]] = {
    "conflict": lambda model, x: explain.conflict(model, x, LOSSES),
    "conflict at a layer": lambda model, x: explain.conflict(model, x, LOSSES, layer="trunk.5"),
    "channel_sharing": lambda model, x: explain.channel_sharing(model, x, reference="mean"),
    "cross_deletion": lambda model, x: explain.cross_deletion(model, x, {"a": x, "b": -x}, steps=3),
}


PASSES = {"conflict": 2, "conflict at a layer": 2, "channel_sharing": 3, "cross_deletion": 3}


@pytest.mark.parametrize("call", CALLS)
def test_everything_is_as_before(model: Heads, images: Tensor, call: str) -> None:
    model.trunk[1].eval()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    with torch.no_grad():
        before = state(model, images)
        CALLS[call](model, images)
        assert state(model, images) == before


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("at", [1, 2, 3])
def test_everything_is_as_before_after_an_exception(model: Heads, images: Tensor, call: str, at: int) -> None:
    """In the first, second and third pass, where there are as many."""
    model.trunk.insert(6, Fails(at))
    before = state(model, images)
    before["attributes"] = None
    if at <= PASSES[call]:
        with pytest.raises(KeyError, match="from inside the model"):
            CALLS[call](model, images)
    else:
        CALLS[call](model, images)
    after = state(model, images)
    after["attributes"] = None
    assert after == before
