"""Every mistake in a call of `evaluate` is one line that names it."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import explain
from tests.explain.models import Heads, heads


@pytest.fixture
def model() -> Heads:
    return heads()


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.randn(3, 2, 8, 8, generator=generator)


def test_mistakes_are_named(model: Heads, images: Tensor) -> None:
    maps = explain.saliency(model, images)

    def fails(message: str, kind: type[Exception] = ValueError, **changes: Any) -> None:
        arguments: dict[str, Any] = {
            "model": model,
            "inputs": images,
            "maps": maps,
            "metrics": "deletion",
        } | changes
        with pytest.raises(kind, match=re.escape(message)):
            explain.evaluate(
                arguments.pop("model"), arguments.pop("inputs"), arguments.pop("maps"), **arguments
            )

    fails("no metric 'deletions'; did you mean 'deletion'?", metrics="deletions")
    fails("no option of metric 'deletion' 'step'; did you mean 'steps'?", options={"deletion": {"step": 3}})
    fails("no metric to give options to 'road'; known: deletion", options={"road": {}})
    fails("deletion: steps must be an integer >= 1, got 0", options={"deletion": {"steps": 0}})
    fails("no score of deletion 'logit'; known: probability, own", options={"deletion": {"score": "logit"}})
    fails(
        "fractions must lie in 0..1, got (0.0,)",
        metrics="sensitivity_n",
        options={"sensitivity_n": {"fractions": (0.0,)}},
    )
    fails(
        "sensitivity_n: an option has a wrong type",
        TypeError,
        metrics="sensitivity_n",
        options={"sensitivity_n": {"fractions": 0.5}},
    )
    fails(
        "samples must be an integer >= 2, got 1", metrics="infidelity", options={"infidelity": {"samples": 1}}
    )
    fails(
        "no perturbation of infidelity 'blur'",
        metrics="infidelity",
        options={"infidelity": {"perturbation": "blur"}},
    )
    fails(
        "groups must be an integer >= 2, got 1",
        metrics="monotonicity",
        options={"monotonicity": {"groups": 1}},
    )
    fails(
        "road: fractions must lie between 0 and 1, got (1.0,)",
        metrics="road",
        options={"road": {"fractions": (1.0,)}},
    )
    fails("no order of road 'most'", metrics="road", options={"road": {"order": "most"}})
    fails("no control 'gradient'; known: random, image, edges", controls=["gradient"])
    fails("no task 'd'; known: a, b, c", maps={"d": maps["a"]})
    fails("no task 'd'; known: a, b, c", maps=maps | {"d": maps["a"]})
    fails("maps is one map and the model has the tasks ['a', 'b', 'c']: give task=", maps=maps["a"])
    fails("no map of task 'd'", task="d")
    fails("maps is empty", maps={})
    fails("maps must be {task: map like the inputs} or one map, got int", TypeError, maps=3)
    fails(
        "the map of task 'a' must be like the inputs, [3, 2, 8, 8], got [2, 2, 8, 8]",
        maps={"a": maps["a"][:2]},
    )
    fails(
        "the map of task 'a' must be floating point, got torch.int64", TypeError, maps={"a": maps["a"].long()}
    )
    hurt = maps["a"].clone()
    hurt[1, 0, 0, 0] = torch.nan
    fails("the map of task 'a' holds NaN or infinite values in 1 examples, first example 1", maps={"a": hurt})
    fails("model must be an nn.Module, got function", TypeError, model=lambda x: x)
    fails("batch_size must be an integer >= 1, got 0", batch_size=0)
    fails("seed must be an integer >= 0, got -1", seed=-1)
    fails("evaluate: baseline must be a number, a name or a tensor, got NoneType", TypeError, baseline=None)
    fails("evaluate: baseline must be finite, got nan", baseline=float("nan"))
    fails("no baseline of evaluate 'blurred'; did you mean 'blur'?", baseline="blurred")
    fails("evaluate: baseline must be a number", baseline=torch.zeros(3))
    fails("feature ids for these inputs must be", features=torch.arange(3))
    fails("target classes must be in 0..2, got 7..7", target={"a": 7})
    fails("['max_sensitivity'] explain again: give method=", metrics="max_sensitivity")
    fails("the method gives another map of task 'a'", metrics="max_sensitivity", method="input_x_gradient")
    fails("localisation needs masks", metrics="localisation")
    flat = torch.randn(3, 8)
    fails(
        "road needs images [B, C, H, W], got [3, 8]",
        model=nn.Linear(8, 2),
        inputs=flat,
        maps=flat,
        metrics="road",
    )
    fails("edges needs an image", model=nn.Linear(8, 2), inputs=flat, maps=flat, controls=["edges"])
    ids = torch.arange(128).reshape(2, 8, 8)
    fails("road needs features that hold all channels of a pixel", metrics="road", features=ids)
