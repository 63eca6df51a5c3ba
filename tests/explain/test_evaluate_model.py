"""`evaluate` with the model: tasks, targets, features, several inputs, state, and mistakes."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import explain
from tests.explain.models import Heads, heads
from tests.explain.test_guards import state

FEW: dict[str, dict[str, Any]] = {
    "deletion": {"steps": 4},
    "insertion": {"steps": 4},
    "pixel_flipping": {"steps": 4},
    "sensitivity_n": {"samples": 4},
    "infidelity": {"samples": 4},
    "monotonicity": {"groups": 4},
    "road": {"fractions": (0.5,)},
    "completeness": {},
}
NAMES = {
    "deletion", "insertion", "pixel_flipping", "sensitivity_n", "infidelity", "road", "monotonicity", "completeness",
    "max_sensitivity", "local_lipschitz", "relevance_mass", "relevance_rank", "pointing_game", "topk_intersection",
    "gini", "entropy", "effective_complexity", "parameter_randomisation", "random_logit",
}  # fmt: skip


@pytest.fixture
def model() -> Heads:
    return heads().train()


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.randn(3, 2, 8, 8, generator=generator)


def pivot(frame: pd.DataFrame) -> pd.Series:
    return frame.set_index(["metric", "task", "map", "example"])["value"].sort_index()


def same(a: pd.DataFrame, b: pd.DataFrame) -> None:
    left, right = pivot(a), pivot(b)
    assert list(left.index) == list(right.index)
    assert left.to_numpy() == pytest.approx(right.to_numpy(), rel=1e-5, abs=1e-6, nan_ok=True)


def test_the_registry_declares_kind_direction_and_range() -> None:
    assert set(explain.METRICS) == NAMES
    for name, metric in explain.METRICS.items():
        assert metric.kind in ("maps", "mask", "model", "method"), name
        assert isinstance(metric.higher_is_better, bool)
        low, high = metric.range
        assert low < high
        assert metric.__doc__
        metric()  # every option has a default


def test_one_table_with_every_kind(model: Heads, images: Tensor) -> None:
    maps = explain.saliency(model, images)
    masks = {"a": torch.rand(3, 8, 8) < 0.5, "b": torch.rand(3, 8, 8) < 0.5}
    metrics = ["deletion", "gini", "relevance_mass", "max_sensitivity"]
    few = {"deletion": {"steps": 4}, "max_sensitivity": {"samples": 2}}
    frame = explain.evaluate(
        model, images, maps, metrics=metrics, masks=masks, method="gradient", options=few
    )
    assert list(frame.columns) == ["example", "task", "metric", "region", "map", "value", "higher_is_better"]
    assert len(frame) == 3 * 3 * 3 * (1 + 1 + 2 + 1)  # examples, tasks, maps, scores
    assert set(frame[frame["metric"] == "relevance_mass"]["region"]) == {"a", "b"}
    assert set(frame[frame["metric"] != "relevance_mass"]["region"]) == {""}
    better = frame.groupby("metric")["higher_is_better"].agg(["min", "max"])
    assert not better.loc["deletion"].any()
    assert better.loc["gini"].all()
    assert list(better.loc["relevance_mass"]) == [False, True]


@pytest.mark.parametrize("wrap", ["dict", "tuple", "list"])
def test_some_tasks_and_one_task(wrap: str, images: Tensor) -> None:
    model = heads(wrap)
    maps = explain.saliency(model, images)
    first, _, last = maps
    every = explain.evaluate(model, images, maps, metrics=list(FEW), options=FEW)
    some = explain.evaluate(
        model, images, {k: maps[k] for k in (last, first)}, metrics=list(FEW), options=FEW
    )
    same(some, every[every["task"].isin([first, last])])
    alone = explain.evaluate(model, images, maps[last], task=last, metrics=list(FEW), options=FEW)
    same(alone, every[every["task"] == last])
    same(explain.evaluate(model, images, maps, task=last, metrics=list(FEW), options=FEW), alone)


def test_a_lone_tensor_is_the_models_only_task(images: Tensor) -> None:
    model = heads("tensor")
    maps = explain.saliency(model, images)
    frame = explain.evaluate(model, images, maps, metrics="completeness")
    assert set(frame["task"]) == {"output"}
    same(frame, explain.evaluate(model, images, {"output": maps}, metrics="completeness"))


def test_each_task_has_the_target_and_score_that_were_explained(images: Tensor) -> None:
    model = heads()
    chosen: dict[str, Any] = {"target": {"a": torch.tensor([0, 1, 2]), "b": 4}, "score": {"a": "margin"}}
    maps = explain.saliency(model, images, method="occlusion", window=1, stride=1, **chosen)
    sets: dict[str, Any] = {"fractions": (1 / 64,), "samples": 40}
    frame = explain.evaluate(
        model, images, maps, metrics="sensitivity_n", options={"sensitivity_n": sets}, controls=(), **chosen
    )
    # occlusion of one pixel and channel is not that of both: almost 1, for the right target alone
    assert frame.groupby("task")["value"].mean().min() > 0.9
    other = explain.evaluate(
        model,
        images,
        maps,
        metrics="sensitivity_n",
        options={"sensitivity_n": sets},
        controls=(),
        target={"b": 0},
    )
    assert other[other["task"] == "b"]["value"].mean() < 0.9


def test_a_task_with_a_dense_output(images: Tensor) -> None:
    """Neither its map nor its target is needed to score the other; its own region is a probability in curves."""

    class Both(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"class": x.flatten(1)[:, :4], "dense": torch.cat([x, -x], dim=1)}

    one = explain.saliency(Both(), images, "class")
    frame = explain.evaluate(Both(), images, {"class": one}, metrics=list(FEW), options=FEW)
    assert set(frame["task"]) == {"class"}
    region = explain.Region(torch.ones(8, 8, dtype=torch.bool), label=1)
    maps = explain.saliency(Both(), images, target={"dense": region})
    frame = explain.evaluate(Both(), images, maps, metrics="deletion", target={"dense": region}, controls=())
    assert frame["value"].between(0, 1).all()
    empty = frame[frame["task"] == "dense"]["value"]
    assert empty.mean() == pytest.approx(0.25, abs=0.25)


def test_tokens_columns_grids_superpixels_and_ids(generator: torch.Generator) -> None:
    tokens = torch.randn(2, 5, 3, generator=generator)
    weights = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])[:, None]

    class Tokens(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.abs() * weights).flatten(1).sum(1)

    shares = (tokens.abs() * weights).detach()
    frame = explain.evaluate(
        Tokens(), tokens, shares, metrics="deletion", controls=(), options={"deletion": {"steps": 5}}
    )
    for example in range(2):
        parts = sorted(shares[example].sum(1).tolist(), reverse=True)
        curve = [sum(parts[i:]) for i in range(6)]
        assert frame["value"][example] == pytest.approx((sum(curve) - curve[0] / 2) / 5, rel=1e-5)
    by_id = explain.evaluate(
        Tokens(), tokens, shares, metrics="deletion", controls=(), options={"deletion": {"steps": 5}},
        features=torch.tensor([7, 7, 3, 9, 9]),
    )  # fmt: skip
    for example in range(2):
        token = shares[example].sum(1)
        parts = sorted([float(token[:2].sum()), float(token[2]), float(token[3:].sum())], reverse=True)
        curve = [sum(parts[i:]) for i in range(4)]
        assert by_id["value"][example] == pytest.approx((sum(curve) - curve[0] / 2) / 3, rel=1e-5)


def test_superpixels_of_each_image_whatever_the_others(model: Heads, images: Tensor) -> None:
    maps = explain.saliency(model, images, method="input_x_gradient")

    def scores(features: Any, n: int) -> pd.DataFrame:
        own = {task: m[:n] for task, m in maps.items()}
        return explain.evaluate(
            model, images[:n], own, metrics=list(FEW), options=FEW, features=features, size=3
        )

    for features in ("grid", "superpixels"):
        every = scores(features, 3)
        same(scores(features, 1), every[every["example"] == 0])


def test_several_inputs(generator: torch.Generator) -> None:
    class Fused(nn.Module):
        def forward(self, image: Tensor, text: Tensor, ids: Tensor) -> dict[str, Tensor]:
            return {
                "sum": 2 * image.sum((1, 2, 3)) + (text * ids[:, :, None]).sum((1, 2)),
                "image": image.sum((1, 2, 3)),
            }

    inputs: dict[str, Tensor] = {
        "image": torch.rand(3, 1, 4, 4, generator=generator),
        "text": torch.rand(3, 5, 2, generator=generator),
        "ids": torch.arange(15).reshape(3, 5),
    }
    maps = explain.saliency(Fused(), inputs, method="input_x_gradient")
    few = {name: FEW[name] for name in FEW if name != "road"} | {"infidelity": {"perturbation": "removal"}}
    names = list(few)
    frame = explain.evaluate(Fused(), inputs, maps, metrics=names, options=few)
    means = frame.groupby(["metric", "map"])["value"].mean()
    assert means["completeness", "given"] == pytest.approx(0, abs=1e-6)
    assert means["sensitivity_n", "given"] == pytest.approx(1)
    assert means["infidelity", "given"] == pytest.approx(0, abs=1e-9)
    assert means["deletion", "given"] < means["deletion", "random"]
    as_tuple = tuple(inputs.values())
    tuples = explain.saliency(Fused(), as_tuple, method="input_x_gradient")
    same(
        frame,
        explain.evaluate(
            Fused(),
            as_tuple,
            tuples,
            metrics=names,
            options=few,
        ),
    )
    one = explain.evaluate(Fused(), inputs, maps["sum"], task="sum", metrics="completeness")
    assert one[one["map"] == "given"]["value"].max() < 1e-6
    with pytest.raises(ValueError, match="road needs images"):
        explain.evaluate(Fused(), inputs, maps, metrics="road")
    with pytest.raises(
        ValueError, match=r"map of task 'sum' for input 'text' must be like the inputs, \[3, 5, 2\]"
    ):
        explain.evaluate(Fused(), inputs, {"sum": {"image": inputs["image"]}}, metrics="deletion")


def test_the_baseline_is_that_of_the_method(images: Tensor) -> None:
    model = heads()
    for baseline in (0.3, torch.randn(2, 8, 8), torch.randn(3, 2, 8, 8)):
        maps = explain.saliency(
            model, images, method="integrated_gradients", baseline=baseline, tolerance=1e-3
        )
        frame = explain.evaluate(
            model, images, maps, metrics="completeness", baseline=baseline, controls=(), batch_size=2
        )
        assert frame["value"].median() < 0.02
    for named in ("zero", "mean", "blur"):
        maps = explain.saliency(model, images, method="feature_ablation", baseline=named, features="each")
        frame = explain.evaluate(
            model, images, maps, metrics="sensitivity_n", baseline=named, controls=(),
            options={"sensitivity_n": {"fractions": (1 / 64,), "samples": 64}},
        )  # fmt: skip
        assert frame["value"].min() > 0.999


@pytest.mark.parametrize("controls", [(), ("image",), ("random", "image", "edges"), ("random", "random")])
def test_controls(model: Heads, images: Tensor, controls: tuple[str, ...]) -> None:
    maps = explain.saliency(model, images)
    frame = explain.evaluate(model, images, maps, metrics="completeness", controls=controls)
    assert list(dict.fromkeys(frame["map"])) == ["given", *dict.fromkeys(controls)]
    edges = explain.saliency(model, images, method="edges") if "edges" in controls else None
    if edges is not None:
        own = explain.evaluate(model, images, edges, metrics="completeness", controls=())
        assert own["value"].tolist() == frame[frame["map"] == "edges"]["value"].tolist()


def test_everything_is_as_before(model: Heads, images: Tensor) -> None:
    model.trunk[1].eval()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    maps = explain.saliency(model, images)
    copies = {task: m.clone() for task, m in maps.items()}
    before = state(model, images)
    explain.evaluate(model, images, maps, metrics=list(FEW), options=FEW)
    assert state(model, images) == before
    assert all(torch.equal(maps[task], copies[task]) for task in maps)


def test_everything_is_as_before_after_an_exception(model: Heads, images: Tensor) -> None:
    maps = explain.saliency(model, images)
    for at in (1, 2, 3):
        left = at

        def fail(*_: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyError("mine")

        handle = model.heads[1].register_forward_hook(fail)
        before = state(model, images)
        with pytest.raises(KeyError, match="mine"):
            explain.evaluate(model, images, maps, metrics=["deletion", "road"])
        assert state(model, images) == before
        handle.remove()


def test_same_seed_same_table(model: Heads, images: Tensor) -> None:
    maps = explain.saliency(model, images)
    first, again, other = (
        explain.evaluate(model, images, maps, metrics=list(FEW), options=FEW, seed=seed) for seed in (1, 1, 2)
    )
    assert first.equals(again)
    assert not np.array_equal(first["value"], other["value"])


@pytest.mark.gpu
def test_a_gpu_gives_the_same_scores(model: Heads, images: Tensor) -> None:
    maps = explain.saliency(model, images)  # stay on the CPU
    here = explain.evaluate(model, images, maps, metrics=list(FEW), options=FEW, seed=1)
    there = explain.evaluate(model.cuda(), images.cuda(), maps, metrics=list(FEW), options=FEW, seed=1)
    left, right = pivot(here), pivot(there)
    assert left.to_numpy() == pytest.approx(right.to_numpy(), rel=1e-3, abs=1e-4, nan_ok=True)
