"""The inside of `mtl.fit`: one object holds everything a run carries from step to step."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from tqdm import tqdm

from mtl.balancing import Balancer
from mtl.distributed import is_first, joined_values
from mtl.inputs import apply, channels_last
from mtl.model import MultiTaskModel
from mtl.training.again import losses_again, random_state
from mtl.training.batches import Batch, Data, batches, to_device
from mtl.training.checkpoint import save_checkpoint
from mtl.training.evaluate import evaluate
from mtl.training.interrupts import interrupt_afterwards
from mtl.training.meter import Meter
from mtl.training.result import FitResult, Record, rows
from mtl.training.selection import Selection
from mtl.training.streams import generator, own_stream

logger = logging.getLogger("mtl")
Augment = Callable[[Any, torch.Generator], Any]  # a tensor, or {name: tensor} where the data has several


@dataclass(eq=False)
class Loop:
    """A training run: `run` goes through the steps; everything it changes is an attribute here."""

    model: MultiTaskModel
    train: Data
    validation: Data | None
    balancer: Balancer
    optimizer: Optimizer
    schedule: Any
    selection: Selection
    result: FitResult
    meter: Meter
    steps: int
    batch_size: int
    validate_every: int
    dynamics_every: int | None
    augment: Augment | None
    observe: Callable[[MultiTaskModel, int], list[Record]] | None
    log: Callable[[list[Record]], None] | None
    checkpoints: Path | None
    channels_last: bool
    seed: int

    def __post_init__(self) -> None:
        self.device = next(self.model.parameters()).device
        self.shake = generator(self.seed, own_stream("augment"))
        self.best: dict[str, Tensor] | None = None
        self.window: dict[str, list[Tensor]] = {task.name: [] for task in self.model.tasks}

    def run(self, bar: tqdm[Any]) -> None:
        """All steps, with a validation every ``validate_every`` steps and after the last."""
        self.model.train()
        for step, (epoch, batch) in enumerate(self._stream(), start=1):
            with self.meter.step():
                self.step(step, batch)
            self.result.steps = step
            bar.update()
            if step % self.validate_every == 0 or step == self.steps:
                scores = self.validate(step, epoch)
                if bar.disable and is_first():
                    logger.info("step %d of %d: %s", step, self.steps, _in_words(scores))
            if step == self.steps:
                return

    def step(self, step: int, batch: Batch) -> None:
        """One forward, the balancer's backward, one update."""
        inputs, targets = to_device(batch, self.device)
        if self.augment is not None:
            inputs = self.augment(inputs, self.shake)
        if self.channels_last:
            inputs = channels_last(inputs)
        self.optimizer.zero_grad(set_to_none=True)
        asks = self.balancer.wants_losses_after_step
        drawn = random_state(self.device) if asks else None
        losses = self.model.losses(apply(self.model, inputs), targets)
        try:
            if self.dynamics_every and (step - 1) % self.dynamics_every == 0:
                self.result.dynamics.measure(step, losses, self.model, self.balancer)
            else:
                self.balancer.backward(losses, self.model)
        except ValueError as error:  # a loss that is not finite: the balancer names the task
            raise ValueError(f"step {step}: {error}") from error
        self.optimizer.step()
        self.schedule.step()
        if drawn is not None:
            self.balancer.after_step(losses_again(self.model, inputs, targets, drawn))
        for name, loss in joined_values(losses).items():
            self.window[name].append(loss)

    def validate(self, step: int, epoch: int) -> dict[str, dict[str, float]]:
        """Scores, records, checkpoints and the selection after ``step``."""
        train = {name: {"loss": float(torch.stack(w).mean())} for name, w in self.window.items() if w}
        self.window = {name: [] for name in self.window}
        scores = {} if self.validation is None else evaluate(self.model, self.validation)
        records = [*rows(train, step, epoch, "train"), *rows(scores, step, epoch, "validation")]
        if self.observe is not None:
            records += self.observe(self.model, step)
        self.result.records.extend(records)
        if self.log is not None:
            self.log(records)
        with interrupt_afterwards():  # or the best weights here and those on disk could be of different steps
            improves = self.selection.improves(scores)
            if improves:
                self.best, self.result.best_step = copy.deepcopy(self.model.state_dict()), step
            if self.checkpoints is not None:
                for kind in ["last"] + ["best"] * improves:
                    save_checkpoint(self.checkpoints / kind, self.model, self.optimizer, step)
        return scores

    def _stream(self) -> Iterator[tuple[int, Batch]]:
        """Batches without end, each with its epoch (1-based)."""
        order = generator(self.seed, "order")
        epoch = 0
        while True:
            epoch += 1
            empty = True
            for batch in batches(self.train, self.batch_size, order):
                empty = False
                yield epoch, batch
            if empty:
                raise ValueError("the training data gives no batch")


def _in_words(scores: dict[str, dict[str, float]]) -> str:
    return ", ".join(f"{task} {next(iter(s))} {next(iter(s.values())):.4g}" for task, s in scores.items())
