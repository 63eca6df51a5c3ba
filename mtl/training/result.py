"""What a run gives: records in long form, the chosen weights, the gradients' dynamics, the cost."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from mtl.model import MultiTaskModel
from mtl.training.dynamics import Dynamics


class Record(TypedDict):
    """One number of a run; fractions in 0..1."""

    step: int
    epoch: int
    split: str
    task: str
    metric: str
    value: float


def rows(scores: Mapping[str, Mapping[str, float]], step: int, epoch: int, split: str) -> list[Record]:
    """Scores {task: {metric: value}} as records.

    >>> rows({"left": {"accuracy": 0.5}}, step=10, epoch=1, split="test")[0]["value"]
    0.5
    """
    return [
        Record(step=step, epoch=epoch, split=split, task=task, metric=metric, value=value)
        for task, metrics in scores.items()
        for metric, value in metrics.items()
    ]


@dataclass(eq=False)
class FitResult:
    """What `mtl.fit` gives.

    Attributes:
        model: the model in eval mode, holding the selected checkpoint's weights.
        selection: the rule by which that checkpoint was chosen, in words.
        parameters: trainable parameters.
        records: every record, in order.
        dynamics: losses, weights, gradient norms and cosines at logged steps.
        best_step: the step of the selected checkpoint (1-based).
        steps: training steps done.
        skipped_steps: those of them without an update, as fp16 gradients overflowed.
        epochs: passes over the training data begun.
        train_s, step_s: seconds in training steps (validation is not in it), and the median step's.
        peak_memory_mib: see `mtl.training.meter.Meter`.
        energy_j: joules of the training steps; NaN where no counter can be read, see `mtl.training.energy.Energy`.
        interrupted: True where Ctrl-C or SIGTERM ended it early.
    """

    model: MultiTaskModel
    selection: str
    parameters: int
    records: list[Record] = field(default_factory=list)
    dynamics: Dynamics = field(default_factory=Dynamics)
    best_step: int = 0
    steps: int = 0
    skipped_steps: int = 0
    train_s: float = 0.0
    step_s: float = float("nan")
    peak_memory_mib: float = float("nan")
    energy_j: float = float("nan")
    interrupted: bool = False


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM during `mtl.fit`.

    Attributes:
        result: the run so far, its model with the best weights so far.
        signal: which of the two it was.
    """

    def __init__(self, result: FitResult, number: signal.Signals = signal.SIGINT) -> None:
        super().__init__(f"training interrupted after {result.steps} steps")
        self.result, self.signal = result, number
