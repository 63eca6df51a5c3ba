"""Localisation by hand, and controls."""

import pytest
import torch
from torch import nn

import explain

MODEL = nn.Identity()


def one(frame: object, **where: object) -> float:
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return frame["value"].iloc[0]


def test_values_by_hand() -> None:
    """|1 - 3| = 2 in the own mask, 1 + 1 outside of it, of which 1 in the other task's mask."""
    images = torch.rand(1, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    maps = {"a": torch.tensor([[[[1.0, 1.0], [0.0, 0.0]], [[-3.0, 0.0], [1.0, 0.0]]]])}
    masks = {
        "a": torch.tensor([[[True, False], [False, False]]]),
        "b": torch.tensor([[[False, True], [False, False]]]),
    }
    frame = explain.evaluate(MODEL, images, maps, masks=masks)
    assert one(frame, metric="relevance_mass", region="a", map="given") == 0.5
    assert one(frame, metric="relevance_mass", region="b", map="given") == 0.25
    assert one(frame, metric="pointing_game", region="a", map="given") == 1
    assert one(frame, metric="pointing_game", region="b", map="given") == 0
    assert set(frame["map"]) == {"given", "random", "image"}
    assert len(frame) == 2 * 2 * 3
    better = frame.groupby("region")["higher_is_better"].first()
    assert better["a"]
    assert not better["b"]


def test_empty_masks_and_zero_maps_have_no_score() -> None:
    """Counting an empty mask as a hit is a known defect elsewhere."""
    images = torch.rand(2, 1, 2, 2)
    masks = {"a": torch.tensor([[[False, False], [False, False]], [[True, False], [False, False]]])}
    frame = explain.evaluate(MODEL, images, {"a": torch.zeros_like(images)}, masks=masks)
    given = frame[frame["map"] == "given"].set_index(["metric", "example"])["value"]
    assert given[[("relevance_mass", 0), ("relevance_mass", 1), ("pointing_game", 0)]].isna().all()
    assert given["pointing_game", 1] == 0.25  # all four are largest: one in four


def test_the_random_control_scores_the_masks_share() -> None:
    images = torch.rand(64, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    masks = {"a": torch.zeros(64, 20, 20, dtype=torch.bool)}
    masks["a"][:, :10, :5] = True  # an eighth
    frame = explain.evaluate(MODEL, images, {"a": images}, metrics="relevance_mass", masks=masks, seed=3)
    random = frame[frame["map"] == "random"]["value"]
    assert abs(random.mean() - 0.125) < 4 * random.std() / 8
    again = explain.evaluate(MODEL, images[:5], {"a": images[:5]}, masks={"a": masks["a"][:5]}, seed=3)
    first = again[(again["map"] == "random") & (again["metric"] == "relevance_mass")]["value"]
    assert (first.to_numpy() == random.to_numpy()[:5]).all()  # whatever the other examples


def test_own_maps_through_saliency_beat_the_controls() -> None:
    """A model that reads its left half only."""

    class Left(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"left": x[..., :4].square().flatten(1).sum(1)}

    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(3, 8, 8, dtype=torch.bool)
    mask[..., :4] = True
    maps = explain.saliency(Left(), images)
    frame = explain.evaluate(Left(), images, maps, masks={"left": mask}, metrics=["relevance_mass"])
    means = frame.groupby("map")["value"].mean()
    assert means["given"] == pytest.approx(1)
    assert means["random"] < 0.7
    assert means["image"] < 0.7


def test_mistakes_are_named() -> None:
    images, mask = torch.rand(2, 1, 4, 4), torch.ones(2, 4, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="did you mean 'localisation'"):
        explain.evaluate(MODEL, images, images, metrics=["localization"], masks={"a": mask})
    with pytest.raises(ValueError, match="needs masks"):
        explain.evaluate(MODEL, images, images)
    with pytest.raises(ValueError, match=r"mask of task 'a' must be bool \[2, 4, 4\], got torch.float32"):
        explain.evaluate(MODEL, images, images, masks={"a": mask.float()})
    with pytest.raises(ValueError, match=r"must be bool \[2, 4, 4\], got torch.bool \[1, 4, 4\]"):
        explain.evaluate(MODEL, images, images, masks={"a": mask[:1]})
    with pytest.raises(ValueError, match="must be like the inputs"):
        explain.evaluate(MODEL, images, {"a": images[:1]}, masks={"a": mask})
    with pytest.raises(ValueError, match="localisation needs inputs"):
        explain.evaluate(MODEL, images[:, 0, 0], images[:, 0, 0], masks={"a": mask})
