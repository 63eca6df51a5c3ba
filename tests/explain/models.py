"""Small models whose maps are known on paper, and one that looks like a real one."""

import torch
from torch import Tensor, nn


class Heads(nn.Module):
    """A convolutional trunk with dropout and batch norm, and three heads; counts its forward passes."""

    def __init__(self, wrap: str = "dict") -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
        )  # fmt: skip
        self.heads = nn.ModuleList([nn.Linear(8 * 16, size) for size in (3, 5, 1)])
        self.wrap = wrap
        self.forwards = 0

    def forward(self, x: Tensor) -> object:
        self.forwards += 1
        features = self.trunk(x)
        outputs = [head(features) for head in self.heads]
        return {
            "dict": dict(zip(("a", "b", "c"), outputs, strict=True)),
            "tuple": tuple(outputs),
            "list": outputs,
            "tensor": outputs[0],
        }[self.wrap]


def heads(wrap: str = "dict") -> Heads:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Heads(wrap)
        model(torch.randn(32, 2, 8, 8))  # batch norm has statistics of its own
    return model


class Linear(nn.Module):
    """Two linear tasks with weights that can be read off the map."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(3, 2)
        self.right = nn.Linear(3, 1)
        with torch.no_grad():
            self.left.weight.copy_(torch.tensor([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]]))
            self.right.weight.copy_(torch.tensor([[7.0, 0.0, -1.0]]))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"left": self.left(x), "right": self.right(x)}


class Head(nn.Module):
    """One task of a model, as Captum needs it."""

    def __init__(self, model: nn.Module, task: str) -> None:
        super().__init__()
        self.model, self.task = model, task

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.model(*inputs)[self.task]
