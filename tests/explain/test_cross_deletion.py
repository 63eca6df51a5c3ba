"""Cross deletion: closed forms, a slow reference, and what it costs."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import explain
from tests.explain.models import Heads, heads
from tests.explain.test_between_model import Parts


@pytest.fixture
def model() -> Heads:
    return heads().train()


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.randn(5, 2, 8, 8, generator=generator)


class Halves(nn.Module):
    """Task a reads the left half of an image, task b the right."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards = 0

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        self.forwards += 1
        half = x.shape[-1] // 2
        return {"a": x[..., :half].flatten(1).sum(1), "b": x[..., half:].flatten(1).sum(1)}


def matrix(frame: pd.DataFrame, column: str = "excess") -> pd.DataFrame:
    return frame.pivot_table(index="deleted_by", columns="measured", values=column, sort=False)


def test_halves_fall_with_their_own_map_first() -> None:
    """Ones: a's score falls to zero in the first half of the steps, b's in the second: drops of 3/4 and 1/4."""
    x = torch.ones(3, 1, 4, 4)
    maps = explain.saliency(Halves(), x)
    frame = explain.cross_deletion(Halves(), x, maps, steps=16, controls=64)
    drop = matrix(frame, "drop")
    assert drop.loc["a", "a"] == pytest.approx(8 * 3 / 4)
    assert drop.loc["a", "b"] == pytest.approx(8 * 1 / 4)
    assert drop.loc["b"].tolist() == pytest.approx([2, 6])
    assert (frame["whole"] == 8).all()
    assert abs(frame["control"].mean() - 4) < 0.1  # any order on average
    np.testing.assert_allclose(frame["excess"], frame["drop"] - frame["control"])
    excess = matrix(frame)
    assert excess.loc["a", "a"] > 1.5
    assert excess.loc["a", "b"] < -1.5


def test_identical_tasks_fall_alike(generator: torch.Generator) -> None:
    model = Parts(a=[[1.0, -2.0, 3.0, 0.5]], b=[[1.0, -2.0, 3.0, 0.5]])
    x = torch.randn(4, 4, generator=generator)
    frame = explain.cross_deletion(model, x, explain.saliency(model, x, method="input_x_gradient"), steps=4)
    assert matrix(frame).to_numpy().ravel().tolist() == pytest.approx([matrix(frame).iloc[0, 0]] * 4)
    assert matrix(frame).iloc[0, 0] > 0


@pytest.mark.parametrize("absolute", [False, True])
def test_cross_deletion_is_the_slow_one(model: Heads, images: Tensor, absolute: bool) -> None:
    """Pixels, channels together, taken out one by one; a's map and an image as a control."""
    g = torch.Generator().manual_seed(1)
    maps = {"a": torch.randn(images.shape, generator=g), "anything": images}
    frame = explain.cross_deletion(
        model, images, maps, steps=64, baseline=0.25, absolute=absolute, controls=1
    )
    with torch.no_grad():
        clean = model.eval()(images)
        chosen = {"a": clean["a"].argmax(1), "b": clean["b"].argmax(1), "c": torch.zeros(5, dtype=torch.long)}
        for name, found in maps.items():
            mine = frame[frame["deleted_by"] == name]
            for i in range(5):
                amounts = found[i].sum(0).flatten()
                order = (amounts.abs() if absolute else amounts).argsort(descending=True)
                x = images[i : i + 1].clone()
                curve = [{t: out[0, chosen[t][i]].item() for t, out in model(x).items()}]
                for pixel in order:
                    x[0, :, pixel // 8, pixel % 8] = 0.25
                    curve.append({t: out[0, chosen[t][i]].item() for t, out in model(x).items()})
                rows = mine[mine["example"] == i].set_index("measured")["drop"]
                for task in "abc":
                    scores = [point[task] for point in curve]
                    area = (sum(scores) - (scores[0] + scores[-1]) / 2) / 64
                    assert rows[task] == pytest.approx(scores[0] - area, rel=1e-4, abs=1e-5)


def test_cross_deletion_costs_the_same_for_any_number_of_tasks(images: Tensor) -> None:
    model = Halves()
    maps = explain.saliency(model, images)
    model.forwards = 0
    explain.cross_deletion(model, images, maps, steps=8, controls=2)
    assert model.forwards <= 2 + 4 * 2  # the clean and the empty input; 4 orders of 5 x 7 rows, 32 at a time


def test_cross_deletion_does_not_depend_on_the_batch(model: Heads, images: Tensor) -> None:
    maps = explain.saliency(model, images)
    whole = explain.cross_deletion(model, images, maps, seed=3)
    for rows in (1, 2):
        part = explain.cross_deletion(model, images, maps, seed=3, batch_size=rows)
        np.testing.assert_allclose(part["excess"], whole["excess"], rtol=1e-4, atol=1e-5)
    alone = explain.cross_deletion(model, images[:1], {task: m[:1] for task, m in maps.items()}, seed=3)
    first = whole[whole["example"] == 0]
    np.testing.assert_allclose(alone["drop"], first["drop"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(alone["control"], first["control"], rtol=1e-4, atol=1e-5)


def test_cross_deletion_names_mistakes(model: Heads, images: Tensor) -> None:
    maps = {"a": images}
    with pytest.raises(ValueError, match=r"no task 'aa'; .*known: a, b, c"):
        explain.cross_deletion(model, images, {"aa": images})
    with pytest.raises(
        ValueError, match=r"the map of task 'a' must be like the inputs, .*, got \[1, 2, 8, 8\]"
    ):
        explain.cross_deletion(model, images, {"a": images[:1]})
    with pytest.raises(ValueError, match="steps must be an integer >= 1, got 0"):
        explain.cross_deletion(model, images, maps, steps=0)
    with pytest.raises(ValueError, match=r"controls must be an integer >= 1, got 0"):
        explain.cross_deletion(model, images, maps, controls=0)
    with pytest.raises(ValueError, match="did you mean 'blur'"):
        explain.cross_deletion(model, images, maps, baseline="blurr")
