"""What the tests of class activation maps share."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from explain.inputs import lay_out
from explain.methods.cam_layer import LayerOutput, found
from explain.scorer import Scorer


def total(output: Tensor) -> Tensor:
    return output.flatten(1)[:, 1]


def scorer_of(model: nn.Module, inputs: Any, task: str | None = None) -> tuple[Scorer, Tensor]:
    layout, joined = lay_out(inputs)
    return Scorer(model.eval(), layout, task, total, "logit", slice(0, len(joined)), len(joined)), joined


def chosen(model: nn.Module, inputs: Any, task: str | None = None, place: int = 0) -> LayerOutput:
    scorer, joined = scorer_of(model, inputs, task)
    return found("grad_cam", scorer, joined, place)


def made(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().eval()
        for parameter in model.parameters():  # some heads begin at zero, and then no layer matters
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1)
    return model
