"""Overlap and contrast: values by hand and by slow references, and nulls that hold what they promise."""

import re
from functools import partial
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

import explain
from explain.between.chance import holm, orders, p_value
from explain.between.contrast import _signs, _stepped_down
from explain.between.overlap import _against, _measures, _moves

MEASURES = ["cosine", "rank_correlation", "top_iou", "shared_mass"]


def blobs(n: int, centred: float, generator: torch.Generator, side: int = 12) -> Tensor:
    """Smooth maps [n, 1, side, side]: a spot at a random place, or in the middle where ``centred`` is 1."""
    place = (side - 1) * (centred * 0.5 + (1 - centred) * torch.rand(n, 2, generator=generator))
    grid = torch.arange(side).float()
    spots = [(-(((grid[None] - place[:, axis, None]) / 2) ** 2)).exp() for axis in (0, 1)]
    noise = 0.1 * torch.rand(n, side, side, generator=generator)
    return (spots[0][:, :, None] * spots[1][:, None, :] + noise)[:, None]


# ---- the measures


def test_measures_are_the_slow_ones(generator: torch.Generator) -> None:
    a, b = torch.randn(2, 3, 2, 5, 4, generator=generator)  # [B, C, H, W]
    frame = explain.overlap({"a": a, "b": b}, by="example", top=0.2).set_index(["measure", "example"])[
        "value"
    ]
    for i in range(3):
        x, y = (m[i].double().sum(0).flatten().numpy() for m in (a, b))
        expected = x @ y / np.sqrt((x @ x) * (y @ y))
        assert frame["cosine", i] == pytest.approx(expected, abs=1e-12)
        assert frame["rank_correlation", i] == pytest.approx(spearmanr(abs(x), abs(y))[0], abs=1e-12)
        one, other = (set(np.argsort(-abs(m))[:4].tolist()) for m in (x, y))
        assert frame["top_iou", i] == pytest.approx(len(one & other) / len(one | other), abs=1e-12)
        p, q = (abs(m) / abs(m).sum() for m in (x, y))
        assert frame["shared_mass", i] == pytest.approx(
            sum(min(s, t) for s, t in zip(p, q, strict=True)), abs=1e-12
        )


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_identical_tasks_overlap_fully_whatever_the_scale(generator: torch.Generator, scale: float) -> None:
    a = torch.randn(5, 1, 6, 6, generator=generator).double()
    same = explain.overlap({"a": a, "b": a * scale}).set_index("measure")
    np.testing.assert_allclose(same["value"], 1, rtol=0, atol=1e-12)
    opposed = explain.overlap({"a": a, "b": -a}).set_index("measure")["value"]
    assert opposed["cosine"] == pytest.approx(-1)
    assert opposed[MEASURES[1:]].tolist() == pytest.approx([1, 1, 1])


def test_disjoint_tasks_share_nothing() -> None:
    a = torch.zeros(2, 1, 4, 4)
    a[..., :2] = torch.tensor([1.0, 2.0])
    values = explain.overlap({"a": a, "b": a.flip(3)}, top=0.25).set_index("measure")["value"]
    assert values[["cosine", "top_iou", "shared_mass"]].tolist() == [0, 0, 0]


def test_ties_belong_to_the_top_by_their_share() -> None:
    """The two largest of (3, 1, 1, 0): all of the 3, half of each 1; of (3, 1, 0, 1) likewise."""
    maps = {"a": torch.tensor([[3.0, 1.0, 1.0, 0.0]]), "b": torch.tensor([[3.0, 1.0, 0.0, 1.0]])}
    values = explain.overlap(maps, top=0.5).set_index("measure")["value"]
    assert values["top_iou"] == pytest.approx(1.5 / 2.5)
    sparse = torch.tensor([[2.0, 0.0, 0.0, 0.0]])  # one element is not zero: the top holds no second
    assert explain.overlap({"a": sparse, "b": sparse}, top=0.5).set_index("measure")["value"]["top_iou"] == 1


def test_channels_are_summed_or_not() -> None:
    """Red for one task, green for the other: the same pixels, other elements."""
    a, b = torch.zeros(2, 1, 2, 3, 3)
    a[:, 0], b[:, 1] = 1 + torch.arange(9.0).reshape(3, 3), 1 + torch.arange(9.0).reshape(3, 3)
    shared = {
        channels: explain.overlap({"a": a, "b": b}, channels=channels).set_index("measure")["value"]["cosine"]
        for channels in ("sum", "each")
    }
    assert shared == pytest.approx({"sum": 1, "each": 0})


def test_maps_of_zeros_are_not_counted(generator: torch.Generator) -> None:
    a, b = torch.randn(2, 4, 1, 5, 5, generator=generator)
    b[1] = 0
    frame = explain.overlap({"a": a, "b": b})
    assert frame["examples"].tolist() == [3] * 4
    kept = torch.tensor([0, 2, 3])
    expected = explain.overlap({"a": a[kept], "b": b[kept]})
    np.testing.assert_allclose(frame["value"], expected["value"])
    np.testing.assert_allclose(frame["p_value"], expected["p_value"])
    nothing = explain.overlap({"a": a, "b": torch.zeros_like(b)})
    assert nothing[["value", "p_value", "p_holm"]].isna().all().all()
    assert nothing["examples"].tolist() == [0] * 4
    by_example = explain.overlap({"a": a, "b": b}, by="example")
    assert by_example[by_example["example"] == 1][["value", "p_value"]].isna().all().all()
    constant = explain.overlap({"a": a, "b": torch.ones_like(b)}).set_index("measure")["value"]
    assert constant.isna().tolist() == [False, True, False, False]


def test_maps_of_several_inputs_are_joined(generator: torch.Generator) -> None:
    image, words = torch.randn(2, 3, 1, 4, 4, generator=generator), torch.randn(2, 3, 5, generator=generator)
    whole = {
        "a": torch.cat([image[0].flatten(1), words[0]], 1),
        "b": torch.cat([image[1].flatten(1), words[1]], 1),
    }
    expected = explain.overlap(whole)
    named = {t: {"image": image[i], "words": words[i]} for i, t in enumerate("ab")}
    listed = {t: (image[i], None, words[i]) for i, t in enumerate("ab")}
    for maps in (named, listed):
        found = explain.overlap(maps)
        np.testing.assert_allclose(found["value"], expected["value"])
        assert len(explain.overlap(maps, null="shifts", draws=50)) == 4


# ---- the nulls


def test_the_images_null_is_the_slow_one(generator: torch.Generator) -> None:
    """All orders of four images, by hand."""
    a, b = torch.randn(2, 4, 1, 3, 3, generator=generator).double()
    frame = explain.overlap({"a": a, "b": b}).set_index("measure").loc["cosine"]
    table = torch.nn.functional.cosine_similarity(a.flatten(1)[:, None], b.flatten(1)[None], dim=2).numpy()
    means = np.array([np.mean([table[i, order[i]] for i in range(4)]) for order in permutations(range(4))])
    assert frame["value"] == pytest.approx(means[0])
    far = np.abs(means - table.mean()) >= abs(means[0] - table.mean()) - 1e-12
    assert frame["p_value"] == pytest.approx(far.mean())
    others = [table[i, j] for i in range(4) for j in range(4) if i != j]
    assert frame["null_mean"] == pytest.approx(np.mean(others))
    example = explain.overlap({"a": a, "b": b}, by="example").query("measure == 'cosine' and example == 2")
    row = table[2]
    far = np.abs(row - row.mean()) >= abs(row[2] - row.mean()) - 1e-12
    assert example["p_value"].item() == pytest.approx(far.mean())
    assert example["null_mean"].item() == pytest.approx(np.delete(row, 2).mean())


def test_the_shifts_null_is_the_slow_one(generator: torch.Generator) -> None:
    a, b = torch.randn(2, 2, 1, 3, 4, generator=generator).double()
    frame = explain.overlap({"a": a, "b": b}, null="shifts").set_index("measure").loc["cosine"]
    means = np.array(
        [
            torch.nn.functional.cosine_similarity(a.flatten(1), b.roll((s, t), (2, 3)).flatten(1)).mean()
            for s in range(3)
            for t in range(4)
        ]
    )
    assert frame["null_mean"] == pytest.approx(means[1:].mean())
    far = np.abs(means - means.mean()) >= abs(means[0] - means.mean()) - 1e-12
    assert frame["p_value"] == pytest.approx(far.mean())


def test_objects_in_the_middle_are_chance_for_images_and_not_for_shifts(generator: torch.Generator) -> None:
    middle = torch.Generator().manual_seed(4)
    a, b = (blobs(16, centred=0.9, generator=middle) for _ in range(2))
    images = explain.overlap({"a": a, "b": b}).set_index("measure")
    shifts = explain.overlap({"a": a, "b": b}, null="shifts").set_index("measure")
    assert images["value"]["shared_mass"] > 0.6  # much, and no more than on any other image
    assert images["p_value"]["shared_mass"] > 0.05
    assert shifts["p_value"]["shared_mass"] < 0.02
    moving = blobs(16, centred=0.0, generator=generator)
    noisy = {"a": moving, "b": moving + 0.2 * torch.rand(moving.shape, generator=generator)}
    assert (explain.overlap(noisy)["p_value"] == 1 / 1000).all()  # and never below one in draws + 1


@pytest.mark.parametrize("null", ["images", "shifts", "shuffles"])
def test_p_values_of_unrelated_maps_are_level(null: str) -> None:
    """Unrelated maps fall below 0.1 in about a tenth of 200 trials, whatever the images share (for "images")."""
    hits = []
    moves = None
    if null != "images":
        shape = (1, 8, 8) if null == "shifts" else (3, 8)
        moves = partial(iter, list(_moves(null, [torch.zeros(shape)], 99, 0)))
    for trial in range(200):
        g = torch.Generator().manual_seed(trial)
        if null == "images":
            a, b = (blobs(6, centred=0.7, generator=g, side=6) for _ in range(2))
        elif null == "shifts":
            a, b = blobs(1, 0.0, g, side=8), torch.rand(1, 1, 8, 8, generator=g)
        else:
            a, b = torch.randn(2, 3, 8, generator=g)
        for name in ("cosine", "shared_mass"):
            measure = _measures(0.1)[name]
            a_, b_ = (measure.embed(m.flatten(1).double()) for m in (a, b))
            hits.append(_against(measure.compare, a_, b_, moves).pair(99, 0)["p_value"] <= 0.1)
    rates = np.mean(np.reshape(hits, (200, 2)), axis=0)
    assert (abs(rates - 0.1) < 3 * 0.0212).all()  # three standard errors


def test_p_values_are_never_below_what_the_number_allows(generator: torch.Generator) -> None:
    for n, smallest in ((1, 1.0), (2, 1.0), (3, 1 / 6), (4, 1 / 24)):
        maps = torch.randn(n, 1, 8, 8, generator=generator)
        pair = explain.overlap({"a": maps, "b": maps})
        assert (pair["p_value"] >= smallest - 1e-12).all()
        assert (explain.overlap({"a": maps, "b": maps}, by="example")["p_value"] >= 1 / n - 1e-12).all()
    assert pair["p_value"].tolist() == pytest.approx([1 / 24] * 4)
    lone = explain.overlap({"a": maps[:1], "b": maps[:1]})
    assert lone["p_value"].tolist() == [1] * 4
    assert lone["null_mean"].isna().all()


def test_holm_is_over_the_pairs_of_a_measure(generator: torch.Generator) -> None:
    maps = {task: torch.randn(5, 1, 4, 4, generator=generator) for task in "abc"}
    maps["c"] = maps["a"]
    frame = explain.overlap(maps)
    assert len(frame) == 12
    for _, part in frame.groupby("measure"):
        np.testing.assert_allclose(part["p_holm"], holm(part["p_value"].to_numpy()))
    same = frame.query("task_a == 'a' and task_b == 'c'")
    np.testing.assert_allclose(same["p_holm"], 3 * same["p_value"])


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.02])), [0.04, 0.03, 0.04])
    assert holm(np.array([0.9, 0.8])).tolist() == [1, 1]
    assert len(holm(np.array([]))) == 0


def test_chance_counts_the_observed() -> None:
    assert p_value(9.0, np.array([9.0, *range(-9, 10)]), centre=0.0) == pytest.approx(3 / 20)
    assert np.isnan(p_value(float("nan"), np.zeros(2), 0.0))
    drawn = orders(7, draws=20, seed=1)
    assert drawn.shape == (21, 7)
    assert (np.sort(drawn, axis=1) == np.arange(7)).all()
    assert drawn[0].tolist() == list(range(7))
    assert (drawn == orders(7, draws=20, seed=1)).all()
    assert len({tuple(order) for order in orders(4, draws=99, seed=0)}) == 24


def test_overlap_names_mistakes(generator: torch.Generator) -> None:
    a = torch.randn(2, 1, 4, 4, generator=generator)
    cases = [
        ({"maps": {"a": a}}, "maps of at least 2 tasks are needed, got ['a']"),
        ({"maps": {"a": a, "b": a[:1]}}, "the map of task 'b' must be like that of task 'a'"),
        ({"maps": {"a": a, "b": a / 0}}, "the map of task 'b' holds NaN or infinite values"),
        ({"maps": {"a": a, "b": a}, "null": "image"}, "no null 'image'; did you mean 'images'?"),
        ({"maps": {"a": a, "b": a}, "by": "task"}, "no by 'task'"),
        ({"maps": {"a": a, "b": a}, "channels": "mean"}, "no channels 'mean'"),
        ({"maps": {"a": a, "b": a}, "top": 10}, "top must be a fraction between 0 and 1, got 10"),
        ({"maps": {"a": a, "b": a}, "draws": 0}, "draws must be an integer >= 1, got 0"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            explain.overlap(**arguments)
    with pytest.raises(TypeError, match=r"maps must be {task: \[B, \*S\]}, .* got Tensor"):
        explain.overlap(a)
    with pytest.raises(TypeError, match=r"task 'b' must be a float tensor \[B, \*S\], got torch.int64 \[2\]"):
        explain.overlap({"a": a, "b": torch.arange(2)})


# ---- contrast


def test_contrast_is_what_the_other_does_not_use() -> None:
    a = torch.zeros(1, 1, 2, 4)
    a[..., :2] = torch.tensor([3.0, -1.0])
    disjoint = explain.contrast({"a": a, "b": a.flip(3)}, "a", "b")
    torch.testing.assert_close(disjoint, a.abs() / 8)
    assert explain.contrast({"a": a, "b": -7 * a}, "a", "b").abs().max() == 0
    torch.testing.assert_close(explain.contrast({"a": a, "b": torch.zeros_like(a)}, "a", "b"), a.abs() / 8)
    assert explain.contrast({"a": torch.zeros_like(a), "b": a}, "a", "b").abs().max() == 0


def test_contrast_and_shared_mass_make_one(generator: torch.Generator) -> None:
    maps = dict(zip("ab", torch.randn(2, 3, 1, 5, 5, generator=generator), strict=True))
    rest = explain.contrast(maps, "a", "b").flatten(1).sum(1)
    frame = explain.overlap(maps, by="example").query("measure == 'shared_mass'")
    np.testing.assert_allclose(1 - rest.double().numpy(), frame["value"], atol=1e-6)


def runs(n: int, seed: int, effect: float) -> list[dict[str, Tensor]]:
    """Tasks with exchangeable noise in 400 elements; in the first ten, a has ``effect`` more."""
    g = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(n):
        a, b = torch.rand(2, 1, 400, generator=g).double()
        a[:, :10] += effect
        made.append({"a": a, "b": b})
    return made


def test_contrast_over_runs_keeps_what_is_more_than_chance() -> None:
    kept = explain.contrast(runs(8, seed=0, effect=4.0), "a", "b") > 0
    assert kept[0, :10].all()
    assert kept[0, 10:].sum() == 0


def test_contrast_over_runs_is_seldom_wrong_anywhere() -> None:
    """The chance of any false element in an example is at most the level: 200 trials at a level of 0.1."""
    wrong = [
        bool((explain.contrast(runs(6, seed, effect=0.0), "a", "b", level=0.1) > 0).any())
        for seed in range(200)
    ]
    assert np.mean(wrong) <= 0.1 + 3 * 0.0212


def test_the_steps_are_the_slow_ones(generator: torch.Generator) -> None:
    """Westfall and Young's step-down maxima with loops."""
    d = torch.randn(5, 7, generator=generator).double() + torch.linspace(0, 2, 7)
    signs = _signs(5, 0).double()
    assert len(signs) == 16
    observed = d.mean(0).abs()
    order = observed.argsort(descending=True).tolist()
    expected, worst = {}, 0.0
    for step, element in enumerate(order):
        count = 0
        for sign in signs:
            largest = max(abs(float((sign * d[:, other]).mean())) for other in order[step:])
            count += largest >= observed[element] - 1e-12
        worst = max(worst, count / 16)
        expected[element] = worst
    torch.testing.assert_close(
        _stepped_down(signs, d), torch.tensor([expected[e] for e in range(7)]).double()
    )


def test_contrast_names_mistakes(generator: torch.Generator) -> None:
    a = torch.randn(2, 3, generator=generator)
    maps = {"left": a, "right": a}
    with pytest.raises(ValueError, match=r"no task 'lefft'; did you mean 'left'\?"):
        explain.contrast(maps, "lefft", "right")
    with pytest.raises(ValueError, match="no task of run 1 'right'"):
        explain.contrast([maps, {"left": a}], "left", "right")
    with pytest.raises(ValueError, match=r"5 runs have 16 ways .* give at least 6 runs, or level=0.0625"):
        explain.contrast([maps] * 5, "left", "right")
    assert explain.contrast([maps] * 5, "left", "right", level=0.0625).abs().max() == 0
    with pytest.raises(
        ValueError, match=r"the maps of run 1 must be like those of run 0, \[2, 3\], got \[1, 3\]"
    ):
        explain.contrast([maps, {"left": a[:1], "right": a[:1]}], "left", "right")
    with pytest.raises(ValueError, match="the map of task 'right' must be like"):
        explain.contrast({"left": a, "right": a[:1]}, "left", "right")
    with pytest.raises(ValueError, match="got an empty list"):
        explain.contrast([], "left", "right")
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        explain.contrast(maps, "left", "right", level=5)
    with pytest.raises(TypeError, match="contrast takes the maps of one input, got a tuple for task 'left'"):
        explain.contrast({"left": (a, a), "right": (a, a)}, "left", "right")
    with pytest.raises(TypeError, match="maps of run 0 must be"):
        explain.contrast(a, "left", "right")
