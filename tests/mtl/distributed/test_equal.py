"""Several processes give what one gives on the joined batch."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.mtl.distributed.processes import together
from tests.mtl.distributed.steps import everything


def difference(found: Any, expected: Any) -> float:
    """The largest relative difference of two nested lists of tensors; infinite where their forms differ."""
    if isinstance(expected, Tensor):
        if not isinstance(found, Tensor) or found.shape != expected.shape:
            return float("inf")
        if not expected.numel():
            return 0.0
        gap = (found.double() - expected.double()).abs().max()
        return float(gap / expected.double().abs().max().clamp(min=1e-8))
    if isinstance(expected, list):
        if not isinstance(found, list) or len(found) != len(expected):
            return float("inf")
        return max((difference(a, b) for a, b in zip(found, expected, strict=True)), default=0.0)
    return 0.0 if found is expected is None else float("inf")


@pytest.fixture(scope="module")
def one() -> dict[str, Any]:
    return everything()


@pytest.mark.parametrize("world", [2, 3])
def test_every_method_gives_what_one_process_gives_on_the_joined_batch(
    world: int, one: dict[str, Any]
) -> None:
    ranks = together(everything, world)
    for found in ranks:
        wrong = {name: d for name in one if not (d := difference(found[name], one[name])) < 1e-6}
        assert not wrong, wrong
    first = ranks[0]
    for found in ranks[1:]:  # to the bit, or the processes would drift apart
        assert all(difference(found[name], first[name]) == 0.0 for name in one)


def test_the_difference_is_seen() -> None:
    a = [torch.ones(2), None]
    assert difference([torch.ones(2), None], a) == 0.0
    assert difference([torch.tensor([1.0, 1.1]), None], a) == pytest.approx(0.1)
    assert difference([torch.ones(2), torch.ones(1)], a) == difference([torch.ones(2)], a) == float("inf")
