"""Mistakes in labels and checkpoints, and damaged files: one clear line each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import explain
from tests.explain.models import Linear

NAN = float("nan")
X, Y = torch.ones(3, 3), {"left": torch.tensor([0, 1, -1])}
WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "task": (lambda: explain.influential(Linear(), X, {"lef": Y["left"]}, X), "no task 'lef'; did you mean 'left'"),
    "task asked": (lambda: explain.influential(Linear(), X, Y, X, task="right"), "no task of train_targets 'right'"),
    "targets": (lambda: explain.influential(Linear(), X, Y, X, {"right": X[:, 0]}), "no task of train_targets 'right'"),
    "loss": (lambda: explain.influential(Linear(), X, Y, X, losses="squard"), "did you mean 'squared'"),
    "loss of a task": (lambda: explain.influential(Linear(), X, Y, X, losses={"lft": "squared"}), "no task 'lft'"),
    "class": (lambda: explain.influential(Linear(), X, {"left": torch.tensor([0, 2, 1])}, X), r"0..1 .*got 0..2"),
    "kind": (lambda: explain.influential(Linear(), X, Y, X, losses="squared"), "needs float labels"),
    "one value": (lambda: explain.influential(Linear(), X, {"right": Y["left"]}, X, Y), "no task of train_targets"),
    "int for one": (
        lambda: explain.influential(Linear(), X, {"right": torch.tensor([0, 1, 0])}, X), "must be in 0..0"
    ),
    "0 and 1": (lambda: explain.influential(Linear(), X, {"right": X[:, 0]}, X), "classes or values; give losses"),
    "no prediction": (lambda: explain.influential(Linear(), X, {"right": 2 * X[:, 0]}, X), "give targets="),
    "rows": (lambda: explain.influential(Linear(), X, {"left": Y["left"][:2]}, X), "with N = 3, got"),
    "mask": (lambda: explain.influential(Linear(), X, {"left": (Y["left"], X)}, X), "mask of labels must be bool"),
    "no labels": (lambda: explain.influential(Linear(), X, {"left": [0, 1, 0]}, X), "got list"),
    "k": (lambda: explain.influential(Linear(), X, Y, X, k=0), "k must be"),
    "sources": (lambda: explain.influential(Linear(), X, Y, X, sources="al"), "did you mean 'all'"),
    "parameters": (lambda: explain.influential(Linear(), X, Y, X, parameters=["lef"]), "did you mean 'left"),
    "shape": (lambda: explain.influential(Linear(), X[:, :2], Y, X), "cannot take train_inputs"),
    "inputs": (lambda: explain.influential(Linear(), [X, None], Y, X), "got .'Tensor', 'NoneType'"),
    "none": (lambda: explain.influential(Linear(), X, Y, X[:0]), "at least one"),
    "empty": (lambda: explain.influential(Linear(), X, Y, X, checkpoints=[]), "checkpoints is empty"),
    "no list": (lambda: explain.influential(Linear(), X, Y, X, checkpoints="a.pt"), "must be a list, got str"),
    "no file": (lambda: explain.influential(Linear(), X, Y, X, checkpoints=["nowhere.pt"]), "there is no file"),
    "other": (lambda: explain.influential(Linear(), X, Y, X, checkpoints=[nn.Linear(1, 1).state_dict()]), "no tensor"),
    "part": (
        lambda: explain.influential(Linear(), X, Y, X, checkpoints=[Linear().left.state_dict(prefix="left.")]),
        "it has no 'right.weight'",
    ),
    "shape of weights": (
        lambda: explain.influential(Linear(), X, Y, X, checkpoints=[{"left.weight": X}]), r"\[3, 3\], here \[2, 3\]"
    ),
    "rates": (
        lambda: explain.influential(
            Linear(), X, Y, X, checkpoints=[Linear().state_dict(), (Linear().state_dict(), 0.1)]
        ), "others none",
    ),
    "rate": (lambda: explain.influential(Linear(), X, Y, X, checkpoints=[(Linear().state_dict(), "x")]), "got 'x'"),
    "number": (lambda: explain.influential(Linear(), X, Y, X, checkpoints=[3]), "got int"),
    "frozen": (lambda: explain.influential(Linear().requires_grad_(False), X, Y, X), "no parameter of the model"),
    "not finite": (lambda: explain.influential(Linear(), X * NAN, Y, X), "of task 'left' hold NaN"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_named(case: str) -> None:
    call, message = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_damaged_files(tmp_path: Path) -> None:
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    (tmp_path / "torn.pt").write_bytes(b"torn")
    torch.save(Linear(), tmp_path / "module.pt")
    save_file({"x": torch.ones(1)}, tmp_path / "other.safetensors")
    torch.save([1], tmp_path / "list.pt")
    for name, message in (
        ("torn.safetensors", "damaged"), ("torn.pt", "damaged"), ("module.pt", "more than a state dict"),
        ("other.safetensors", "of another model"), ("list.pt", "got list"),
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            explain.influential(Linear(), X, Y, X, checkpoints=[tmp_path / name])
        assert "\n" not in str(caught.value)
