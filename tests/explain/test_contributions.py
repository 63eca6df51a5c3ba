"""Relevance by input: it adds up to the whole map, and follows a model that is known."""

import pytest
import torch
from torch import Tensor, nn

import explain


class Known(nn.Module):
    """3 image - 1 audio for one task, audio alone for the other."""

    def forward(self, image: Tensor, audio: Tensor) -> dict[str, Tensor]:
        return {"both": 3 * image.sum(dim=(1, 2)) - audio.sum(dim=1), "audio": audio.square().sum(dim=1)}


def test_contributions_add_up_to_the_output() -> None:
    torch.manual_seed(0)
    inputs = {"image": torch.rand(5, 2, 3), "audio": torch.rand(5, 4)}
    maps = explain.saliency(Known(), inputs, method="integrated_gradients")
    found = explain.contributions(maps)
    outputs = Known()(**inputs)
    for task, values in outputs.items():
        sums = found[found["task"] == task].groupby("example")["contribution"].sum()
        assert sums.tolist() == pytest.approx(values.tolist(), rel=1e-4)
        shares = found[found["task"] == task].groupby("example")["share"].sum()
        assert shares.tolist() == pytest.approx([1.0] * 5)
    image = found[(found["task"] == "both") & (found["input"] == "image")]["contribution"]
    assert image.tolist() == pytest.approx((3 * inputs["image"].sum(dim=(1, 2))).tolist(), rel=1e-4)
    only = found[(found["task"] == "audio") & (found["input"] == "image")]
    assert only["share"].tolist() == [0.0] * 5


def test_a_map_of_zeros_has_no_shares() -> None:
    maps = {"t": {"a": torch.zeros(1, 2), "b": torch.zeros(1, 3)}}
    assert explain.contributions(maps)["share"].isna().all()
    assert list(explain.contributions({}).columns) == ["example", "task", "input", "contribution", "share"]


def test_maps_of_a_lone_input_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the maps of task 't' must be \{input name: tensor\}"):
        explain.contributions({"t": torch.zeros(2, 3)})  # type: ignore[dict-item]
