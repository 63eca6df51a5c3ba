"""The inside of `mtl.fit`: one object holds everything a run carries from step to step."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from tqdm import tqdm

from mtl.balancing import Balancer
from mtl.conflict import Gathering
from mtl.distributed import is_first, ranks
from mtl.inputs import channels_last
from mtl.model import MultiTaskModel
from mtl.training.again import losses_again, random_state, set_random_state
from mtl.training.batches import Batch, Data, batches, to_device
from mtl.training.checkpoint import save_checkpoint
from mtl.training.evaluate import evaluate
from mtl.training.interrupts import Signals, Stopped
from mtl.training.meter import Meter
from mtl.training.micro import Part, add_up, micro_batches
from mtl.training.place import Place, walk
from mtl.training.precision import Precision
from mtl.training.result import FitResult, Record, rows
from mtl.training.selection import Selection
from mtl.training.state import state_of
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
    recovery_minutes: float | None
    channels_last: bool
    precision: Precision
    clip: float | None
    accumulate: int
    data_workers: int
    seed: int
    asked: dict[str, Any]

    def __post_init__(self) -> None:
        self.device = next(self.model.parameters()).device
        self.shake = generator(self.seed, own_stream("augment"))
        self.best: dict[str, Tensor] | None = None
        self.window: dict[str, list[Tensor]] = {task.name: [] for task in self.model.tasks}
        self.place: Place | None = None  # in the data, after the last step done
        self.validated = 0  # the step of the last validation
        self.saved_at = time.monotonic()
        self.signals = Signals()

    def run(self, bar: tqdm[Any]) -> None:
        """All steps that are left, with a validation every ``validate_every`` steps and after the last."""
        self.model.train()
        with self.signals.holding():
            self._pause(bar)  # a validation that was due when a resumed run was stopped
            left = self.steps - self.result.steps
            for place, batch in islice(self._stream(), left):
                step = self.result.steps + 1
                with self.meter.step():
                    self.step(step, batch)
                self.place, self.result.steps = place, step
                bar.update()
                self._pause(bar)
            self.signals.obey()

    def step(self, step: int, batch: Batch) -> None:
        """One forward (one a micro-batch), the balancer's backward, one update, unless fp16 gradients overflowed."""
        inputs, targets = to_device(batch, self.device)
        if self.augment is not None:
            inputs = self.augment(inputs, self.shake)
        if self.channels_last:
            inputs = channels_last(inputs)
        parts = micro_batches((inputs, targets), self.accumulate, self.model.tasks)
        self.optimizer.zero_grad(set_to_none=True)
        drawn = random_state(self.device) if self.balancer.wants_losses_after_step else None
        undo = None if self.precision.scaler is None else self.balancer.undo()
        measured = self.dynamics_every and (step - 1) % self.dynamics_every == 0
        gathering = Gathering(self.model) if measured else None
        try:
            losses = self.gradients(parts, gathering)
            updated = self.precision.update(self.optimizer, self.clip)
        except ValueError as error:  # a loss or a gradient that is not finite
            raise ValueError(f"step {step}: {error}") from error
        if updated:
            self.schedule.step()
            if drawn is not None:
                self.balancer.after_step(losses_again(self.model, parts, self.precision, drawn))
        elif undo is not None:
            undo()
        if gathering is not None:
            last = self.balancer.last if updated else None
            self.result.dynamics.record(step, list(self.window), losses, gathering.conflict(), last)
        for name, loss in losses.items():
            self.window[name].append(loss)

    def gradients(self, parts: Sequence[Part], gathering: Gathering | None) -> dict[str, Tensor]:
        """The balanced gradients of a batch in ``.grad``; gives its losses."""
        total: dict[str, Tensor] = {}
        for part in parts:
            outputs = self.precision.forward(self.model, part.inputs)
            losses = part.shared(self.model.losses(outputs, part.targets))
            if gathering is not None:
                gathering.add(losses, self.precision.scale)
            balance = self.balancer.backward if part is parts[-1] else self.balancer.accumulate
            balance(losses, self.model, scaler=self.precision.scaler)
            add_up(total, losses)
        return total

    def validate(self, step: int, epoch: int) -> dict[str, dict[str, float]]:
        """Scores, records, checkpoints and the selection after ``step``."""
        train = {name: {"loss": float(torch.stack(w).mean())} for name, w in self.window.items() if w}
        scores, own = self._look(step)
        self.window = {name: [] for name in self.window}
        records = [*rows(train, step, epoch, "train"), *rows(scores, step, epoch, "validation"), *own]
        self.result.records.extend(records)
        if self.log is not None:
            self.log(records)
        self.validated = step
        improves = self.selection.improves(scores)
        if improves:
            self.best, self.result.best_step = copy.deepcopy(self.model.state_dict()), step
        self.save("last", *["best"] * improves)
        return scores

    def save(self, *kinds: str) -> None:
        """Checkpoints of the last step done; ``last`` first, from which `restored` can mend ``best``."""
        self.saved_at = time.monotonic()
        if self.checkpoints is not None:
            state = state_of(self)
            for kind in kinds:
                save_checkpoint(self.checkpoints / kind, self.model, state)

    def _look(self, step: int) -> tuple[dict[str, dict[str, float]], list[Record]]:
        """Validation scores, and what the observer sees; where a signal cuts this short, as if nothing had begun."""
        while True:
            drawn = random_state(self.device)
            try:
                with (
                    self.signals.at_once() if ranks() is None else nullcontext()
                ):  # processes stop between steps
                    scores = {} if self.validation is None else evaluate(self.model, self.validation)
                    return scores, self.observe(self.model, step) if self.observe is not None else []
            except Stopped:
                set_random_state(drawn, self.device)
                self._stop()

    def _stop(self) -> None:
        """Obey a signal, of this process or of another, with a checkpoint first."""
        self.save("last")
        self.signals.obey()
        if ranks() is not None:
            raise KeyboardInterrupt

    def _pause(self, bar: tqdm[Any]) -> None:
        """Between two steps: a signal, the validation that is due, or a checkpoint in good time."""
        group, held = ranks(), self.signals.held is not None
        if held if group is None else bool(group.sums(torch.tensor([held]))[0]):
            self._stop()
        step, late = self.result.steps, time.monotonic() - self.saved_at
        if step > self.validated and (step % self.validate_every == 0 or step == self.steps):
            assert self.place is not None
            scores = self.validate(step, self.place.epoch)
            if bar.disable and is_first():
                logger.info("step %d of %d: %s", step, self.steps, _in_words(scores))
        elif step and self.recovery_minutes is not None and late >= 60 * self.recovery_minutes:
            self.save("last")

    def _stream(self) -> Iterator[tuple[Place, Batch]]:
        """Batches without end, each with the place after it."""
        order, pin = generator(self.seed, "order"), self.device.type == "cuda"

        def one_pass(skip: int) -> Iterator[Batch]:
            return batches(self.train, self.batch_size, order, skip=skip, workers=self.data_workers, pin=pin)

        return walk(one_pass, self.train, order, after=self.place)


def _in_words(scores: dict[str, dict[str, float]]) -> str:
    return ", ".join(f"{task} {next(iter(s))} {next(iter(s.values())):.4g}" for task, s in scores.items())
