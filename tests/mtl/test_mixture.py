"""Sources of unequal size: how often each is drawn, that nothing is lost, and that a resumed run draws the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import mtl
from mtl.data.mixture import draw_epoch
from mtl.training.batches import batches

TASKS = (mtl.Regression("a"), mtl.Classification("b", classes=3), mtl.Regression("c"))


def source(task: str, rows: int, seed: int) -> mtl.TaskData:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, generator=draw)
    return mtl.TaskData(
        x, {task: torch.randint(0, 3, (rows,), generator=draw) if task == "b" else x.sum(dim=1)}
    )


SOURCES = {"a": source("a", 60, 0), "b": source("b", 12, 1), "c": source("c", 8, 2)}


class Pairs(Dataset):
    """The same examples as a map-style Dataset."""

    def __init__(self, data: mtl.TaskData) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> tuple[Tensor, dict[str, Tensor]]:
        return self.data.inputs[row], {name: y[row] for name, y in self.data.targets.items()}


def model() -> mtl.MultiTaskModel:
    with mtl.seeded(0):
        return mtl.MultiTaskModel(mtl.backbone("mlp", in_features=3, hidden=(6,)), TASKS)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0, float("inf")])
def test_shares_are_those_of_the_formula_on_average(temperature: float) -> None:
    sources = torch.arange(3).repeat_interleave(torch.tensor([60, 12, 8]))
    draw, epochs = torch.Generator().manual_seed(0), 300
    counts = torch.zeros(3)
    for _ in range(epochs):
        rows = draw_epoch(sources, temperature, draw)
        assert len(rows) == 80
        found = sources[rows].bincount(minlength=3)
        counts += found
        for own in range(3):  # none again before all were seen
            times = rows.bincount(minlength=80)[sources == own]
            assert int(times.max() - times.min()) <= 1
    weights = torch.tensor([60.0, 12.0, 8.0]) ** (1 / temperature)
    torch.testing.assert_close(counts / epochs, 80 * weights / weights.sum(), atol=0.1, rtol=0)


def test_proportional_shows_every_row_once() -> None:
    both = mtl.mixture(SOURCES)
    for _ in range(3):
        assert torch.equal(both.order(torch.Generator().manual_seed(5)).sort().values, torch.arange(80))


def test_tasks_that_a_source_lacks_are_missing() -> None:
    both = mtl.mixture(SOURCES)
    assert both.targets["b"].tolist() == [-1] * 60 + SOURCES["b"].targets["b"].tolist() + [-1] * 8
    assert int((~both.targets["c"].isnan()).sum()) == 8
    assert torch.equal(both.inputs[60:72], SOURCES["b"].inputs)
    alone = both.only(["c"]).labelled()
    assert torch.equal(alone.inputs, SOURCES["c"].inputs)


def test_rows_of_one_table_are_sources_by_the_labels_they_have() -> None:
    data = mtl.mixture(SOURCES)
    plain = mtl.TaskData(data.inputs, data.targets)
    found = mtl.mixture(plain, sampling="equal")
    rows = found.order(torch.Generator().manual_seed(0))
    there = torch.stack([~found.targets[n][rows].isnan() for n in ("a", "c")])
    assert [int(n) for n in there.sum(dim=1)] == pytest.approx([80 / 3, 80 / 3], abs=1)


@pytest.mark.parametrize("kind", ["memory", "datasets"])
@pytest.mark.parametrize("sampling", ["proportional", "equal", "temperature"])
def test_a_resumed_run_draws_the_same_rows(tmp_path: Path, kind: str, sampling: str) -> None:
    parts: dict[str, Any] = SOURCES if kind == "memory" else {k: Pairs(v) for k, v in SOURCES.items()}
    train = mtl.mixture(parts, sampling=sampling)
    how: dict[str, Any] = {"batch_size": 16, "schedule": "constant", "seed": 4, "dynamics_every": None}
    whole = mtl.fit(model(), train, steps=13, checkpoints=tmp_path / "whole", **how)
    mtl.fit(model(), train, steps=7, checkpoints=tmp_path / "cut", **how)  # in the middle of the second epoch
    how |= {"resume": True, "allow_change": ["steps", "validate_every"]}
    again = mtl.fit(model(), train, steps=13, checkpoints=tmp_path / "cut", **how)
    for p, q in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(p, q)
    how = {**how, "seed": 5, "resume": False}
    other = mtl.fit(model(), train, steps=13, **how)
    assert not all(
        torch.equal(p, q) for p, q in zip(whole.model.parameters(), other.model.parameters(), strict=True)
    )


def test_another_sampling_is_another_training(tmp_path: Path) -> None:
    how: dict[str, Any] = {"steps": 2, "batch_size": 16, "checkpoints": tmp_path}
    mtl.fit(model(), mtl.mixture(SOURCES), **how)
    with pytest.raises(ValueError, match=r"train\.sha256 was"):
        mtl.fit(
            model(),
            mtl.mixture(SOURCES, sampling="equal"),
            **{**how, "steps": 3},
            resume=True,
            allow_change=["steps"],
        )


def test_datasets_give_what_memory_gives() -> None:
    memory, read = (mtl.mixture(s) for s in (SOURCES, {k: Pairs(v) for k, v in SOURCES.items()}))
    for (x, y), (x2, y2) in zip(batches(memory, 16), batches(read, 16), strict=True):
        assert torch.equal(x, x2)
        for name in y:
            torch.testing.assert_close(y[name], y2[name], equal_nan=True)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (SOURCES, {"sampling": "equaly"}, "no way of sampling 'equaly'; did you mean 'equal'"),
        (SOURCES, {"temperature": 0.5}, "temperature must be at least 1, got 0.5"),
        ({}, {}, "there is no source"),
        (
            {**SOURCES, "d": mtl.TaskData(torch.zeros(2, 4), {"d": torch.zeros(2)})},
            {},
            r"inputs of 'd' are .*\[4\].*, of 'a' .*\[3\]",
        ),
        (
            {"a": SOURCES["a"], "b": Pairs(SOURCES["b"])},
            {},
            "source 'a' is a TaskData; give TaskData for all",
        ),
        ({"b": DataLoader(Pairs(SOURCES["b"]))}, {}, "source 'b' is a DataLoader.*its dataset"),
    ],
)
def test_mistakes_are_named(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mtl.mixture(data, **options)
