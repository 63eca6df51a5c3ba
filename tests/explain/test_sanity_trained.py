"""On trained models of two digits: what passes and fails the sanity checks, and whose digit each task looks at."""

import pandas as pd
import pytest
import torch
from torch import nn

import explain
import mtl

pytestmark = pytest.mark.slow
SEEDS = range(5)
OWN_DIGIT = ("gradient", "input_x_gradient", "deeplift")


@pytest.fixture(scope="module")
def data() -> mtl.Splits:
    return mtl.dataset("multimnist", train=5_000, validation=64, test=256)


@pytest.fixture(scope="module")
def models(data: mtl.Splits) -> list[nn.Module]:
    return [trained(data, seed) for seed in SEEDS]


def trained(data: mtl.Splits, seed: int, train: mtl.TaskData | None = None, lr: float = 6e-3) -> nn.Module:
    with mtl.seeded(seed):
        model = mtl.MultiTaskModel(mtl.backbone("cnn", image_size=36), data.tasks)
    options = {"steps": 100, "batch_size": 48, "dynamics_every": None, "progress": False}
    return mtl.fit(model, train or data.train, lr=lr, seed=seed, **options).model


def test_the_models_have_learnt(data: mtl.Splits, models: list[nn.Module]) -> None:
    for model in models:
        outputs = model.eval()(data.test.inputs)
        for task, labels in data.test.targets.items():
            assert (outputs[task].argmax(1) == labels).double().mean() > 0.8


def test_guided_backprop_fails_and_the_signed_gradient_passes(
    data: mtl.Splits, models: list[nn.Module]
) -> None:
    """Adebayo et al. 2018: guided backprop hardly notices a random head; the gradient becomes another map."""
    for model in models:
        table = {
            method: explain.sanity(model, data.test.inputs[:16], method=method, draws=3).set_index(
                ["task", "check"]
            )
            for method in ("guided_backprop", "gradient", "image")
        }
        for task in ("left", "right"):
            guided, gradient = (table[method].loc[task] for method in ("guided_backprop", "gradient"))
            assert guided["value"]["last layer"] > 0.8
            assert guided["value"]["another class"] > 0.8
            assert guided["verdict"]["all"] == "fails"
            assert abs(gradient["value"]["last layer"]) < 0.4
            assert abs(gradient["value"]["all layers"]) < 0.1
            assert gradient["verdict"]["all"] == "passes"
            assert table["image"].loc[task]["verdict"]["all"] == "fails"
            for found in (guided, gradient):
                assert found["value"]["other layers"] == 0


def test_each_task_looks_at_its_own_digit_and_the_controls_do_not(
    data: mtl.Splits, models: list[nn.Module]
) -> None:
    """Of the relevance on either digit, most lies on the task's own; pixels of both count for both."""
    images, masks = data.test.inputs[:64], {task: mask[:64] for task, mask in data.test.masks.items()}
    metrics = ["relevance_mass", "relevance_rank", "pointing_game"]
    for model in models:
        for method in OWN_DIGIT:
            maps = explain.saliency(model, images, method=method)
            frame = explain.evaluate(model, images, maps, metrics=metrics, masks=masks)
            frame["own"] = frame["region"] == frame["task"]
            mean = frame.groupby(["metric", "task", "map", "own"])["value"].mean().unstack("own")
            share = mean[True] / (mean[True] + mean[False])
            for task in ("left", "right"):
                for metric, least in (
                    ("relevance_mass", 0.65),
                    ("relevance_rank", 0.55),
                    ("pointing_game", 0.85),
                ):
                    assert share[metric, task, "given"] > least
                    if metric != "pointing_game":  # 0 or 1 an image, too rough a mean
                        assert abs(share[metric, task, "random"] - 0.5) < 0.03
                        assert abs(share[metric, task, "image"] - 0.5) < 0.03
                assert mean[True]["pointing_game", task, "given"] > 0.7
                assert mean[True]["pointing_game", task, "image"] < 0.65
                if method != "gradient":  # which is not zero where there is no ink
                    assert mean[True]["relevance_mass", task, "given"] > 0.65


def test_maps_of_a_model_of_permuted_labels_are_others(data: mtl.Splits, models: list[nn.Module]) -> None:
    draw = torch.Generator().manual_seed(0)
    targets = {
        task: labels[torch.randperm(len(labels), generator=draw)]
        for task, labels in data.train.targets.items()
    }
    random = trained(data, 0, mtl.TaskData(data.train.inputs, targets), lr=1e-3)  # at 6e-3 its units die
    images = data.test.inputs[:32]

    def mean(method: str) -> pd.Series:
        frame = explain.data_randomisation(models[0], random, images, method=method)
        return frame[["signed", "absolute"]].mean()

    assert abs(mean("gradient")["signed"]) < 0.1
    assert mean("input_x_gradient")["absolute"] > 0.8  # the ink
    assert mean("guided_backprop")["signed"] > 0.25
