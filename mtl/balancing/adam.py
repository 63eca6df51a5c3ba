"""Adam on a few numbers, one a task: what methods with learned weights step with."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mtl.balancing.method import PerTask, Size


class Adam(NamedTuple):
    """The averages of Adam (Kingma and Ba 2015; betas 0.9 and 0.999), with a count of steps for each task.

    >>> step, after = Adam.start(Size(tasks=2)).step(torch.tensor([3.0, -0.1], dtype=torch.float64))
    >>> step   # the first step is the sign
    tensor([ 1.0000, -1.0000], dtype=torch.float64)
    """

    first: PerTask
    second: PerTask
    steps: PerTask

    @classmethod
    def start(cls, size: Size) -> Adam:
        return cls(*(torch.zeros(size.tasks, dtype=torch.float64) for _ in range(3)))

    def step(self, gradient: Tensor, where: Tensor | None = None) -> tuple[Tensor, Adam]:
        """The step [T] to subtract (times a learning rate) and the averages after it; only tasks ``where`` move."""
        steps = self.steps + 1
        first = 0.9 * self.first + 0.1 * gradient
        second = 0.999 * self.second + 0.001 * gradient**2
        step = (first / (1 - 0.9**steps)) / ((second / (1 - 0.999**steps)).sqrt() + 1e-8)
        if where is None:
            return step, Adam(first, second, steps)
        kept = [torch.where(where, new, old) for new, old in zip((first, second, steps), self, strict=True)]
        return torch.where(where, step, 0.0), Adam(*kept)
