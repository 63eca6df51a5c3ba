"""TracIn against closed forms, a loop written from the paper, and Captum task by task."""

from pathlib import Path
from typing import Any

import pytest
import torch
from captum.influence import TracInCP, TracInCPFast
from safetensors.torch import save_model
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import explain
from tests.explain.models import Heads, Linear, heads
from tests.explain.test_guards import state

NAN = float("nan")


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.randn(9, 2, 8, 8, generator=generator)


def targets_of(n: int, generator: torch.Generator) -> dict[str, Tensor]:
    return {
        "a": torch.randint(3, (n,), generator=generator),
        "b": torch.randint(5, (n,), generator=generator),
        "c": torch.randn(n, generator=generator),
    }


def part(labels: dict[str, Tensor], rows: slice) -> dict[str, Tensor]:
    return {task: y[rows] for task, y in labels.items()}


# ---- closed forms


def test_closed_form_on_a_linear_model() -> None:
    """Loss (w x + b - y)²: gradient 2 (w x + b - y) (x, 1), so influence 4 r r' (x x' + 1), times the learning rate."""
    model = Linear().double()
    x = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0], [2.0, 0.0, 1.0]]).double()
    here = torch.tensor([[0.5, 1.0, -1.0]]).double()
    w, b = model.right.weight[0].detach(), model.right.bias.detach()
    y, z = torch.tensor([3.0, NAN, -2.0]).double(), torch.tensor([0.3]).double()
    found = explain.influence_scores(
        model, x, {"right": y}, here, {"right": z}, checkpoints=[(model.state_dict(), 0.1)]
    )
    assert list(found) == ["right"]
    residual, own = x @ w + b - y, here @ w + b - z
    exact = 0.1 * 4 * own * residual * (x @ here[0] + 1)
    torch.testing.assert_close(found["right"][0], exact, equal_nan=True, rtol=1e-10, atol=1e-10)
    assert found["right"][0].isnan().tolist() == [False, True, False]


def test_one_step_of_gradient_descent_changes_the_loss_by_the_influence() -> None:
    """What TracIn is: the fall of the loss here in a small step on one training example."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    x, y = torch.randn(2, 4).double(), torch.tensor([0, 2])
    rate = 1e-5
    expected = explain.influence_scores(
        model, x[:1], y[:1], x[1:], y[1:], checkpoints=[(model.state_dict(), rate)]
    )["output"]
    before = F.cross_entropy(model(x[1:]), y[1:]).item()
    F.cross_entropy(model(x[:1]), y[:1]).backward()
    with torch.no_grad():
        for p in model.parameters():
            p -= rate * p.grad
    fall = before - F.cross_entropy(model(x[1:]), y[1:]).item()
    assert fall == pytest.approx(float(expected), rel=1e-3)


# ---- against a loop written from the paper, over checkpoints, tasks and pairs of tasks


def loop(
    model: Heads, states: list[tuple[dict[str, Tensor], float]], own: str, source: str,
    train: tuple[Tensor, dict[str, Tensor]], here: tuple[Tensor, dict[str, Tensor]],
) -> Tensor:  # fmt: skip
    copy = heads(model.wrap)
    result = torch.zeros(len(here[0]), len(train[0]))

    def gradient(x: Tensor, labels: dict[str, Tensor], task: str, i: int) -> list[Tensor]:
        output = copy(x[i : i + 1])[task]  # type: ignore[index]
        y = labels[task][i]
        loss = (output[0, 0] - y) ** 2 if task == "c" else F.cross_entropy(output, y[None])
        found = torch.autograd.grad(loss, list(copy.parameters()), allow_unused=True)
        return [
            torch.zeros_like(p) if g is None else g for g, p in zip(found, copy.parameters(), strict=True)
        ]

    for weights, rate in states:
        copy.load_state_dict(weights)
        copy.eval()
        for i in range(len(here[0])):
            mine = gradient(*here, own, i)
            for j in range(len(train[0])):
                theirs = gradient(*train, source, j)
                result[i, j] += rate * sum((a * b).sum() for a, b in zip(mine, theirs, strict=True))
    return result


def two_checkpoints() -> list[tuple[dict[str, Tensor], float]]:
    first, second = heads(), heads()
    with torch.no_grad():
        for p in first.parameters():
            p.mul_(0.7)
    return [(first.state_dict(), 0.5), (second.state_dict(), 0.1)]


def test_every_pair_of_tasks_against_a_loop(images: Tensor, generator: torch.Generator) -> None:
    model, states = heads().train(), two_checkpoints()
    labels = targets_of(9, generator)
    train, here = (
        (images[:6], {t: y[:6] for t, y in labels.items()}),
        (images[6:], {t: y[6:] for t, y in labels.items()}),
    )
    found = explain.influence_scores(model, *train, *here, checkpoints=states, sources="all")
    assert len(found) == 9
    for (own, source), matrix in found.items():
        torch.testing.assert_close(
            matrix, loop(model, states, own, source, train, here), rtol=1e-4, atol=1e-4
        )
    alone = explain.influence_scores(model, *train, *here, checkpoints=states)
    for task, matrix in alone.items():
        torch.testing.assert_close(matrix, found[task, task])
    one = explain.influence_scores(model, *train, *here, checkpoints=states, task="b")
    assert list(one) == ["b"]
    torch.testing.assert_close(one["b"], found["b", "b"])


# ---- against Captum


class One(nn.Module):
    """One task of a model, for Captum."""

    def __init__(self, model: Heads, task: str) -> None:
        super().__init__()
        self.model, self.task = model, task
        self.last = model.heads["abc".index(task)]

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)[self.task]  # type: ignore[index]


def captum(kind: type, task: str, **options: Any) -> Any:
    model = One(heads().eval(), task)

    def load(module: nn.Module, checkpoint: tuple[dict[str, Tensor], float]) -> float:
        model.model.load_state_dict(checkpoint[0])
        return checkpoint[1]

    return kind(model, checkpoints=two_checkpoints(), checkpoints_load_func=load, batch_size=4, **options)


@pytest.mark.parametrize("task", ["a", "b"])
def test_equal_to_captum_on_the_last_layer(images: Tensor, generator: torch.Generator, task: str) -> None:
    """Captum's fast way leaves the layer's bias out, though it is trained like the weight."""
    labels = targets_of(9, generator)[task]
    engine = captum(
        TracInCPFast, task, final_fc_layer="last", train_dataset=TensorDataset(images[:6], labels[:6]),
        loss_fn=nn.CrossEntropyLoss(reduction="sum"),
    )  # fmt: skip
    expected = engine.influence((images[6:], labels[6:]))
    found = explain.influence_scores(
        heads(), images[:6], {task: labels[:6]}, images[6:], {task: labels[6:]},
        checkpoints=two_checkpoints(), parameters=[f"heads.{'abc'.index(task)}.weight"],
    )  # fmt: skip
    torch.testing.assert_close(found[task], expected.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("task", ["a", "b"])
def test_equal_to_captum_on_all_layers(images: Tensor, generator: torch.Generator, task: str) -> None:
    """With the layers that Captum can take; with all it asks for gradients of the other tasks' heads, and fails."""
    labels = targets_of(9, generator)[task]
    layers = ["model.trunk.0", "model.trunk.4", f"model.heads.{'abc'.index(task)}"]
    engine = captum(
        TracInCP, task, train_dataset=TensorDataset(images[:6], labels[:6]), layers=layers,
        loss_fn=nn.CrossEntropyLoss(reduction="none"),
    )  # fmt: skip
    expected = engine.influence((images[6:], labels[6:]))
    found = explain.influence_scores(
        heads(), images[:6], {task: labels[:6]}, images[6:], {task: labels[6:]},
        checkpoints=two_checkpoints(), parameters=[layer.removeprefix("model.") for layer in layers],
    )  # fmt: skip
    torch.testing.assert_close(found[task], expected.detach(), rtol=1e-4, atol=1e-4)


# ---- missing labels


def test_missing_labels_count_for_nothing(images: Tensor, generator: torch.Generator) -> None:
    """-1, NaN and a mask: the same as the batch without those rows, and those rows are never listed."""
    model = heads()
    labels = targets_of(9, generator)
    full = explain.influence_scores(
        model, images[:6], part(labels, slice(6)), images[6:], part(labels, slice(6, 9))
    )
    gone = torch.tensor([1, 4])
    there = torch.ones(6, dtype=torch.bool).index_fill(0, gone, False)
    missing = {
        "a": labels["a"][:6].index_fill(0, gone, -1),
        "b": (labels["b"][:6].index_fill(0, gone, 99), there),
        "c": labels["c"][:6].index_fill(0, gone, NAN)[:, None],
    }
    here = {t: y[6:] for t, y in labels.items()} | {"a": labels["a"][6:].index_fill(0, torch.tensor([0]), -1)}
    found = explain.influence_scores(model, images[:6], missing, images[6:], here)
    for task, matrix in found.items():
        rows = slice(1, None) if task == "a" else slice(None)
        torch.testing.assert_close(matrix[rows][:, there], full[task][rows][:, there])
        assert matrix[:, gone].isnan().all()
    assert found["a"][0].isnan().all()
    table = explain.influential(model, images[:6], missing, images[6:], here, k=6)
    assert not table["train_example"].isin(gone.tolist()).any()
    assert table["influence"].notna().all()
    assert set(table.loc[table["task"] == "a", "example"]) == {1, 2}


def test_missing_values_of_several(generator: torch.Generator) -> None:
    """Multi-label and several regression values: what is missing of an example counts for nothing, the rest does."""
    model = nn.Linear(3, 2)
    x, here = torch.randn(3, 3, generator=generator), torch.randn(1, 3, generator=generator)
    y = torch.tensor([[1.0, NAN], [0.0, 1.0], [NAN, NAN]])
    found = explain.influence_scores(model, x, y, here, torch.tensor([[1.0, 0.0]]), losses="binary")["output"]
    p, q = model(x).sigmoid(), model(here).sigmoid()
    residual = (p - y).nan_to_num(0)  # gradient of the loss with respect to the logits
    exact = (q - torch.tensor([[1.0, 0.0]])) @ residual.T * (here @ x.T + 1)
    torch.testing.assert_close(found[:, :2], exact[:, :2].detach())
    assert found[0, 2].isnan()


def test_dense_labels(generator: torch.Generator) -> None:
    model = nn.Conv2d(1, 3, 1)
    x, y = torch.randn(2, 1, 2, 2, generator=generator), torch.randint(3, (2, 2, 2), generator=generator)
    y[0, 0] = -1
    found = explain.influence_scores(model, x, y, x, y)["output"]
    rows = []
    for i in range(2):
        loss = F.cross_entropy(model(x[i : i + 1]), y[i : i + 1], ignore_index=-1, reduction="sum")
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]))
    torch.testing.assert_close(found, torch.stack(rows) @ torch.stack(rows).T)


# ---- what is listed


def test_only_influence_of_the_right_sign_is_listed() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    x, y = torch.tensor([[1.0], [2.0], [-1.0], [1.0]]), torch.tensor([10.0, 20.0, 10.0, 0.0])
    table = explain.influential(model, x, y, x[:1], y[:1], k=4)  # residual x: 10, 40, -10, 0
    assert table[["kind", "rank", "train_example"]].to_numpy().tolist() == [
        ["for", 1, 1], ["for", 2, 0], ["against", 1, 2],
    ]  # fmt: skip
    assert table["influence"].tolist() == [1600.0, 400.0, -400.0]
    assert (table["task"] == "output").all()
    assert (table["source"] == "output").all()


def test_the_predicted_class_where_no_label_is_given(images: Tensor, generator: torch.Generator) -> None:
    model = heads()
    labels = {t: y[:6] for t, y in targets_of(9, generator).items() if t != "c"}
    classes = {t: o.argmax(1) for t, o in model.eval()(images[6:]).items() if t != "c"}
    found = explain.influence_scores(model, images[:6], labels, images[6:])
    for task, matrix in explain.influence_scores(model, images[:6], labels, images[6:], classes).items():
        torch.testing.assert_close(found[task], matrix)


# ---- models and checkpoints of every kind


class Tokens(nn.Module):
    """Integer inputs, tied weights, a frozen parameter, and a recurrent layer that vmap does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.rnn = nn.GRU(4, 4, batch_first=True)
        self.out = nn.Linear(4, 7, bias=False)
        self.out.weight = self.embed.weight
        self.scale = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        hidden = self.rnn(self.embed(ids))[0]
        if mask is not None:
            hidden = hidden * mask[..., None]
        return {"next": self.out(hidden.sum(1)) * self.scale}


def test_tokens_tied_weights_and_files(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, other = Tokens(), Tokens()
    ids, mask = torch.randint(7, (4, 3)), torch.rand(4, 3) > 0.3
    y = {"next": torch.tensor([1, 2, 3, 4])}
    rows = []
    for i in range(4):
        loss = F.cross_entropy(other(ids[i : i + 1], mask[i : i + 1])["next"], y["next"][i : i + 1])
        free = [p for p in other.parameters() if p.requires_grad]
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, free)]))
    expected = torch.stack(rows) @ torch.stack(rows).T
    (tmp_path / "best").mkdir()
    save_model(other, str(tmp_path / "best" / "model.safetensors"))  # keeps tied weights once
    torch.save(other.state_dict(), tmp_path / "weights.pt")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for checkpoint in (
        tmp_path / "best", str(tmp_path / "best" / "model.safetensors"), tmp_path / "weights.pt",
        other.state_dict(), other.state_dict,
    ):  # fmt: skip
        for inputs in ((ids, mask), {"ids": ids, "mask": mask}):
            found = explain.influence_scores(model, inputs, y, inputs, y, checkpoints=[checkpoint])["next"]
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_chunks_change_nothing(
    images: Tensor, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = targets_of(9, generator)

    def call() -> dict[str, Tensor]:
        return explain.influence_scores(
            heads(), images, labels, images[:4], {t: y[:4] for t, y in labels.items()}
        )

    expected = call()
    monkeypatch.setattr("explain.influence.tracin.NUMBERS", 1)
    for task, matrix in call().items():
        torch.testing.assert_close(matrix, expected[task])


def test_a_callable_loss(images: Tensor, generator: torch.Generator) -> None:
    labels = targets_of(9, generator)
    labels["c"][2] = NAN
    asked = {"a": lambda o, y: F.cross_entropy(o, y, reduction="none"), "c": lambda o, y: (o[:, 0] - y) ** 2}
    found = explain.influence_scores(heads(), images, labels, images, labels, losses=asked)
    for task, matrix in explain.influence_scores(heads(), images, labels, images, labels).items():
        torch.testing.assert_close(found[task], matrix, equal_nan=True)


# ---- the model is left as it was


def test_everything_is_as_before(images: Tensor, generator: torch.Generator) -> None:
    model = heads().train()
    next(model.parameters()).requires_grad_(False)
    labels = targets_of(9, generator)
    before = state(model, images)
    explain.influential(model, images, labels, images[:2], checkpoints=two_checkpoints(), task="a")
    with pytest.raises(KeyError, match="mine"):
        explain.influential(model, images, labels, images, labels, losses={"a": broken})
    assert state(model, images) == before


def broken(output: Tensor, labels: Tensor) -> Tensor:
    raise KeyError("mine")
