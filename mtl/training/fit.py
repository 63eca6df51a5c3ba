"""The public entry to training: `fit` checks what it is given and runs the loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from tqdm import tqdm

from mtl.balancing import Balancer
from mtl.data.task_data import TaskData, check_targets
from mtl.distributed import is_first
from mtl.model import MultiTaskModel
from mtl.training.batches import Data, batch_count
from mtl.training.loop import Augment, Loop
from mtl.training.meter import Meter, parameter_count
from mtl.training.optimisation import make_optimizer, make_schedule
from mtl.training.result import FitResult, Interrupted, Record
from mtl.training.selection import Selection
from mtl.training.streams import own_stream, seeded
from mtl.training.together import together


def fit(
    model: MultiTaskModel,
    train: Data,
    validation: Data | None = None,
    *,
    balancer: str | Balancer = "equal",
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 64,
    optimizer: str | Optimizer | Callable[..., Optimizer] = "adamw",
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    schedule: Any = "one_cycle",
    select: str = "auto",
    validate_every: int | None = None,
    dynamics_every: int | None = 50,
    augment: Augment | None = None,
    observe: Callable[[MultiTaskModel, int], list[Record]] | None = None,
    log: Callable[[list[Record]], None] | None = None,
    checkpoints: Path | None = None,
    channels_last: bool = True,
    progress: bool | None = None,
    seed: int = 0,
) -> FitResult:
    """Train ``model`` on the device its parameters are on.

    Args:
        train, validation: `mtl.TaskData`, a map-style Dataset of (inputs, {task: target}), or a DataLoader. Inputs
            are a tensor, or {name: tensor}, which the model gets as ``model(**inputs)``.
        balancer: a name in `mtl.BALANCERS`, or a `mtl.Balancer` with options of your own.
        epochs, steps: the length of training; give one of them (default: one epoch).
        batch_size: examples a step, unless ``train`` is a DataLoader.
        optimizer: a name in `mtl.OPTIMIZERS` (with ``lr``, ``weight_decay``), a factory, or an object.
        schedule: a name in `mtl.SCHEDULES`, a factory ``(optimizer, steps)``, or an object; stepped every step.
            ``one_cycle`` peaks at ``lr``.
        select: which checkpoint is kept: ``"metric"`` (best mean over tasks of the primary metric; only where all
            tasks share it), ``"loss"`` (lowest sum of validation losses), ``"last"``, or ``"auto"``: metric where
            all tasks share it, else loss; last without validation data.
        validate_every: steps between validations; None: at the end of each epoch. Always after the last step.
        dynamics_every: steps between measurements of the tasks' gradients (T extra backwards each); None: never.
        augment: ``(inputs, generator) -> inputs`` on whole training batches (a tensor, or {name: tensor}).
        observe: called at each validation with the model and the step; gives records of your own.
        log: called with each list of new records as they come.
        checkpoints: a folder for ``best/`` and ``last/``, written at each validation.
        channels_last: memory format of 4-D weights and images; about twice as fast on a CPU, the same numbers up
            to rounding. The model keeps the format.
        progress: a progress bar; None: where standard error is a terminal. Without one, a line is logged
            (logger ``mtl``) at each validation.
        seed: of the named streams ``order``, ``balancer``, ``augment`` and ``train`` (dropout). The caller
            initialises the model: ``with mtl.seeded(seed): model = ...``.

    Returns:
        `FitResult`, its model in eval mode with the selected weights.

    Raises:
        ValueError: options out of range, labels that do not fit, or a loss that is NaN or infinite: the
            message names the task and the step.
        Interrupted: on Ctrl-C; a KeyboardInterrupt with the result so far.

    Among several processes (`mtl.distributed.start`, torchrun) every one calls this with the same arguments. They start
    from the first one's weights, share each batch, validate in shares, and get the same result; the first alone logs
    and writes.

    >>> import mtl
    >>> data = mtl.dataset("diabetes")
    >>> with mtl.seeded(0):
    ...     model = mtl.MultiTaskModel(mtl.backbone("identity", in_features=10), data.tasks)
    >>> result = fit(model, data.train, data.validation, steps=20, optimizer="sgd", lr=0.05, schedule="constant")
    >>> result.steps, result.parameters, result.selection
    (20, 11, 'lowest sum of validation losses')
    """
    counts = {
        "epochs": epochs,
        "steps": steps,
        "batch_size": batch_size,
        "validate_every": validate_every,
        "dynamics_every": dynamics_every,
    }
    for option, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"fit: {option} must be >= 1, got {count}")
    total = _total_steps(train, epochs, steps, batch_size)
    for name, split in (("train", train), ("validation", validation)):
        if isinstance(split, TaskData):
            check_targets(split, model.tasks, name)
    selection = Selection(select, model.tasks, has_validation=validation is not None)
    if channels_last:
        model.to(memory_format=torch.channels_last)  # 4-D weights only
    adapt = make_optimizer(optimizer, model, lr, weight_decay)
    loop = Loop(
        model=model,
        train=train,
        validation=validation,
        balancer=Balancer(balancer, seed=seed) if isinstance(balancer, str) else balancer,
        optimizer=adapt,
        schedule=make_schedule(schedule, adapt, total),
        selection=selection,
        result=FitResult(model, selection.rule, parameter_count(model)),
        meter=Meter(next(model.parameters()).device),
        steps=total,
        batch_size=batch_size,
        validate_every=validate_every or batch_count(train, batch_size),
        # one task, or no shared parameter: nothing to compare
        dynamics_every=dynamics_every if len(model.tasks) > 1 and model.shared_parameters() else None,
        augment=augment,
        observe=observe,
        log=log,
        checkpoints=checkpoints,
        channels_last=channels_last,
        seed=seed,
    )
    hidden = (None if progress is None else not progress) if is_first() else True
    own = seeded(seed, own_stream("train"))
    with own, together(loop), tqdm(total=total, disable=hidden, unit="step", leave=False) as bar:
        try:
            loop.run(bar)
        except KeyboardInterrupt as interrupt:
            loop.result.interrupted = True
            raise Interrupted(_finish(loop)) from interrupt
    return _finish(loop)


def _finish(loop: Loop) -> FitResult:
    """The result with the selected weights in the model, and the cost."""
    result = loop.result
    if loop.best is not None:
        loop.model.load_state_dict(loop.best)
    loop.model.eval()
    result.train_s, result.step_s = loop.meter.train_s, loop.meter.step_s
    result.peak_memory_mib = loop.meter.peak_memory_mib()
    return result


def _total_steps(train: Data, epochs: int | None, steps: int | None, batch_size: int) -> int:
    if epochs is not None and steps is not None:
        raise ValueError(f"give epochs or steps, not both (got {epochs} and {steps})")
    return steps if steps is not None else (epochs or 1) * batch_count(train, batch_size)
