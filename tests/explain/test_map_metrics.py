"""Metrics of maps, and of maps and masks: by hand, against slow references, and with ties."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from explain.metrics.complexity import effective_complexity, entropy, gini
from explain.metrics.localisation import pointing_game, relevance_mass, relevance_rank, topk_intersection
from explain.metrics.similarity import cosine, spearman

COMPLEXITY = {"gini": gini, "entropy": entropy, "effective_complexity": effective_complexity}
MASKED = {
    "mass": relevance_mass,
    "rank": relevance_rank,
    "pointing": pointing_game,
    "topk": topk_intersection,
}


def over_all_orders(amounts: list[float], inside: list[bool], k: int) -> float:
    """The share of the first k that is inside, averaged over every order in which no amount rises."""
    shares = [
        sum(inside[i] for i in order[:k]) / k
        for order in itertools.permutations(range(len(amounts)))
        if all(amounts[a] >= amounts[b] for a, b in itertools.pairwise(order))
    ]
    return sum(shares) / len(shares)


def test_rank_and_topk_by_hand() -> None:
    """|1 - 3| = 2 is largest and inside; of the two that follow, one is inside."""
    maps = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]], [[-3.0, 0.0], [1.5, 0.0]]]])
    mask = torch.tensor([[[True, True], [False, False]]])
    assert relevance_rank(maps, mask).item() == 0.5  # 2.0 in, 1.5 out
    assert topk_intersection(maps, mask, k=1).item() == 1
    assert topk_intersection(maps, mask, k=3).item() == pytest.approx(2 / 3)
    assert topk_intersection(maps, mask, k=4).item() == 0.5


def test_rank_and_topk_average_over_ties(generator: torch.Generator) -> None:
    maps = torch.randint(-2, 3, (12, 2, 3), generator=generator).float()
    mask = torch.rand(12, 2, 3, generator=generator) < 0.5
    rank, top = relevance_rank(maps, mask), topk_intersection(maps, mask, k=2)
    for b in range(12):
        amounts, inside = maps[b].abs().flatten().tolist(), mask[b].flatten().tolist()
        if not any(inside):
            assert rank[b].isnan()
            assert top[b].isnan()
            continue
        assert rank[b].item() == pytest.approx(over_all_orders(amounts, inside, sum(inside)))
        assert top[b].item() == pytest.approx(over_all_orders(amounts, inside, 2))


def test_a_constant_map_gets_the_masks_share() -> None:
    mask = torch.zeros(1, 4, 5, dtype=torch.bool)
    mask[:, 0, :3] = True
    for value in (0.0, 7.0):
        maps = torch.full((1, 1, 4, 5), value)
        for metric in (relevance_rank, topk_intersection, pointing_game):
            assert metric(maps, mask).item() == pytest.approx(3 / 20)


@pytest.mark.parametrize("metric", MASKED.values(), ids=MASKED)
def test_masks(metric: Callable[[Tensor, Tensor], Tensor], generator: torch.Generator) -> None:
    maps = torch.randn(3, 2, 4, 4, generator=generator)
    full, empty = torch.ones(3, 4, 4, dtype=torch.bool), torch.zeros(3, 4, 4, dtype=torch.bool)
    assert metric(maps, full).tolist() == pytest.approx([1, 1, 1])
    assert metric(maps, empty).isnan().all()
    best = maps.sum(1).abs() > 1
    assert (metric(maps, best)[best.flatten(1).any(1)] >= 0.49).all()  # topk of 2 of 16
    together = metric(maps, best)
    alone = torch.cat([metric(maps[b : b + 1], best[b : b + 1]) for b in range(3)])
    assert torch.equal(together, alone)


def test_topk_names_a_k_out_of_range() -> None:
    maps, mask = torch.rand(1, 1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool)
    for k in (0, 5, -1):
        with pytest.raises(ValueError, match=rf"k must be in 1..4, the pixels of an image, got {k}"):
            topk_intersection(maps, mask, k=k)
    assert topk_intersection(maps, mask).item() == 1  # a tenth of four pixels is one


def test_complexity_by_hand() -> None:
    maps = torch.tensor([[0.0, 1.0, -3.0, 0.0]])
    # mean absolute difference of all pairs over twice the mean, the textbook Gini index
    amounts = [0, 1, 3, 0]
    expected = sum(abs(a - b) for a in amounts for b in amounts) / 16 / (2 * 1.0)
    assert gini(maps).item() == pytest.approx(expected)
    assert entropy(maps).item() == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))
    assert effective_complexity(maps).item() == 2
    assert effective_complexity(maps, eps=0.5).item() == 1


def test_complexity_against_slow_references(generator: torch.Generator) -> None:
    maps = torch.randn(5, 3, 4, 4, generator=generator, dtype=torch.float64)
    for b in range(5):
        amounts = maps[b].sum(0).abs().flatten().numpy()
        ordered, total = np.sort(amounts), amounts.sum()
        lorenz = sum(v / total * (16 - k - 0.5) / 16 for k, v in enumerate(ordered))
        assert gini(maps)[b].item() == pytest.approx(1 - 2 * lorenz, rel=1e-12)
        assert entropy(maps)[b].item() == pytest.approx(scipy.stats.entropy(amounts), rel=1e-12)
        assert effective_complexity(maps, 0.3)[b] == (amounts > 0.3 * amounts.max()).sum()


@pytest.mark.parametrize("metric", COMPLEXITY.values(), ids=COMPLEXITY)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_complexity_of_hard_maps(metric: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    one, equal, zero = torch.zeros(8), torch.full((8,), -3.0), torch.zeros(8)
    one[5] = -2.0
    extremes = {"gini": (7 / 8, 0), "entropy": (0, math.log(8)), "effective_complexity": (1, 8)}
    for scale in (1e-12, 1.0, 1e8):
        values = metric((torch.stack([one, equal, zero]) * scale).to(dtype))
        assert values[:2].tolist() == pytest.approx(extremes[metric.__name__], abs=1e-12)
        assert values[2].isnan()
    assert (metric(torch.stack([one, equal]))[1:] == metric(equal[None])).all()


def test_effective_complexity_names_a_threshold_out_of_range() -> None:
    for eps in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="eps must be in"):
            effective_complexity(torch.ones(1, 2), eps=eps)


def test_spearman_equals_scipy_with_ties(generator: torch.Generator) -> None:
    one = torch.randint(-3, 4, (6, 2, 5), generator=generator).float()
    other = torch.randn(6, 2, 5, generator=generator).round(decimals=1)
    expected = [
        scipy.stats.spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(one, other, strict=True)
    ]
    assert spearman(one, other).tolist() == pytest.approx(expected, abs=1e-12)
    assert spearman(one, -one).tolist() == pytest.approx([-1] * 6)


def test_cosine_by_hand_and_at_any_scale() -> None:
    one, other = torch.tensor([[1.0, 2.0, 2.0]]), torch.tensor([[2.0, -1.0, 2.0]])
    for scale in (1e-30, 1.0, 1e30):
        assert cosine(one * scale, other * scale).item() == pytest.approx(4 / 9)


def test_similarity_of_constant_or_zero_maps_is_not_defined() -> None:
    map_, constant = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 3.0]])
    assert spearman(map_, constant).isnan().all()
    assert cosine(map_, torch.zeros(1, 2)).isnan().all()
