"""The public entry to training: `fit` checks what it is given and runs the loop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from tqdm import tqdm

from mtl.balancing import Balancer
from mtl.data.task_data import TaskData, check_targets
from mtl.distributed import is_first
from mtl.model import MultiTaskModel
from mtl.training.asked import of_balancer, of_data, of_optimizer, plain
from mtl.training.batches import Data, batch_count
from mtl.training.compiled import compiled
from mtl.training.loop import Augment, Loop
from mtl.training.meter import Meter, parameter_count
from mtl.training.optimisation import make_optimizer, make_schedule
from mtl.training.precision import Precision
from mtl.training.result import FitResult, Interrupted, Record
from mtl.training.selection import Selection
from mtl.training.state import check_keeps_state
from mtl.training.streams import own_stream, seeded
from mtl.training.together import together, together_restored


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
    resume: bool = False,
    allow_change: Sequence[str] = (),
    recovery_minutes: float | None = 10,
    channels_last: bool = True,
    precision: str = "fp32",
    clip: float | None = None,
    accumulate: int = 1,
    compile: bool = False,
    data_workers: int = 0,
    progress: bool | None = None,
    seed: int = 0,
) -> FitResult:
    """Train ``model`` on the device its parameters are on.

    Args:
        train, validation: `mtl.TaskData`, a map-style Dataset of (inputs, {task: target}), or a DataLoader. Inputs
            are a tensor, or {name: tensor}, which the model gets as ``model(**inputs)``.
        balancer: a name in `mtl.BALANCERS`, or a `mtl.Balancer` with options of your own.
        epochs, steps: the length of training; give one of them (default: one epoch).
        batch_size: examples a step, unless ``train`` is a DataLoader, which keeps its own.
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
        log: called with each list of new records as they come; in a resumed training first with those of before.
        checkpoints: a folder for ``best/`` and ``last/``, written at each validation.
        resume: go on from ``checkpoints/last``, if it is there, as if nothing had happened: on a CPU the result is the
            same bit for bit. A training that was finished gives its result at once.
        allow_change: what a resumed training may do in another way than before, of ``steps``, ``batch_size``,
            ``optimizer`` (with ``lr``, ``weight_decay``), ``schedule``, ``validate_every``, ``dynamics_every``,
            ``augment``, ``data_workers``, ``train`` and ``validation`` (the data). Schedules are walked to the step
            reached; with other training batches the epoch begins again.
        recovery_minutes: ``last/`` is also written between validations, after so many minutes; None: never.
        channels_last: memory format of 4-D weights and images; about twice as fast on a CPU, the same numbers up
            to rounding. The model keeps the format.
        precision: ``"fp32"`` (the parameters' own), ``"bf16"`` or ``"fp16"``: the model's forward pass autocast,
            outputs, losses and update in float32; validation stays in fp32. fp16 scales the losses, and skips steps
            whose gradients overflow: neither schedule nor balancer moves, and ``result.skipped_steps`` counts them.
        clip: the greatest norm of a step's gradient (of all parameters, after balancing); None: as it comes.
        accumulate: micro-batches a step, for the memory of a smaller batch. Each batch is split, the tasks' gradients
            add up before they are balanced, and the result is that of the whole batch, for every balancer and with
            missing labels too. Batch norm sees micro-batches, and dropout draws for each. T backward passes for each,
            also with balancers that need only losses.
        compile: ``torch.compile`` the backbone while training; the first steps take seconds to minutes. The results
            are the same up to rounding, and the model is uncompiled afterwards.
        data_workers: processes that read a training Dataset ahead; 0 reads it between steps. Their random numbers
            follow ``seed``, the same for the same number of workers.
        progress: a progress bar; None: where standard error is a terminal. Without one, a line is logged
            (logger ``mtl``) at each validation.
        seed: of the named streams ``order``, ``balancer``, ``augment`` and ``train`` (dropout). The caller
            initialises the model: ``with mtl.seeded(seed): model = ...``.

    Returns:
        `FitResult`, its model in eval mode with the selected weights.

    Raises:
        ValueError: options out of range, or that this machine cannot do; labels that do not fit; a loss or a
            gradient that is NaN or infinite: the message names the step, and of a loss the task; a checkpoint that
            is damaged or of another training.
        TypeError: an optimizer or a schedule of your own whose state no checkpoint can hold.
        OSError: a checkpoint that cannot be written; the one before is intact.
        Interrupted: on Ctrl-C or SIGTERM, after the step (a validation is cut short) and with a checkpoint; a
            KeyboardInterrupt with the result so far.

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
    _check_counts(
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        validate_every=validate_every,
        dynamics_every=dynamics_every,
        accumulate=accumulate,
    )
    if resume and checkpoints is None:
        raise ValueError("fit: resume=True needs checkpoints=, the folder that holds last/")
    if recovery_minutes is not None and recovery_minutes < 0:
        raise ValueError(f"fit: recovery_minutes must be >= 0, got {recovery_minutes}")
    balance = Balancer(balancer, seed=seed) if isinstance(balancer, str) else balancer
    _check_step(train, batch_size, balance, clip, accumulate, data_workers)
    total = _total_steps(train, epochs, steps, batch_size)
    for name, split in (("train", train), ("validation", validation)):
        if isinstance(split, TaskData):
            check_targets(split, model.tasks, name)
    computed = Precision(precision, model)
    selection = Selection(select, model.tasks, has_validation=validation is not None)
    if channels_last:
        model.to(memory_format=torch.channels_last)  # 4-D weights only
    adapt = make_optimizer(optimizer, model, lr, weight_decay)
    described = of_optimizer(adapt)  # a schedule changes its settings
    each = validate_every or batch_count(train, batch_size)
    planned = make_schedule(schedule, adapt, total)
    asked = {
        "steps": total,
        "batch_size": batch_size,
        "balancer": of_balancer(balance),
        "optimizer": described,
        "schedule": plain(schedule),
        "select": selection.kind,
        "validate_every": each,
        "dynamics_every": dynamics_every,
        "augment": plain(augment),
        "channels_last": channels_last,
        "precision": precision,
        "clip": clip,
        "accumulate": accumulate,
        "compile": compile,
        "data_workers": data_workers,
        "seed": seed,
        "tasks": [task.name for task in model.tasks],
    }
    if checkpoints is not None:
        check_keeps_state(optimizer=adapt, schedule=planned)
        asked |= {"train": of_data(train), "validation": of_data(validation)}
    loop = Loop(
        model=model,
        train=train,
        validation=validation,
        balancer=balance,
        optimizer=adapt,
        schedule=planned,
        selection=selection,
        result=FitResult(model, selection.rule, parameter_count(model)),
        meter=Meter(next(model.parameters()).device),
        steps=total,
        batch_size=batch_size,
        validate_every=each,
        # one task, or no shared parameter: nothing to compare
        dynamics_every=dynamics_every if len(model.tasks) > 1 and model.shared_parameters() else None,
        augment=augment,
        observe=observe,
        log=log,
        checkpoints=checkpoints,
        recovery_minutes=recovery_minutes,
        channels_last=channels_last,
        precision=computed,
        clip=clip,
        accumulate=accumulate,
        data_workers=data_workers,
        seed=seed,
        asked=asked,
    )
    with compiled(model) if compile else nullcontext(), seeded(seed, own_stream("train")):
        _run(loop, checkpoints if resume else None, allow_change, progress)
    return _finish(loop)


def _run(loop: Loop, resumed_from: Path | None, allow_change: Sequence[str], progress: bool | None) -> None:
    """All steps that are left, behind a progress bar; of a resumed training its earlier records are logged first."""
    hidden = (None if progress is None else not progress) if is_first() else True
    with tqdm(total=loop.steps, disable=hidden, unit="step", leave=False) as bar:
        if resumed_from is not None and together_restored(loop, resumed_from, allow_change):
            bar.update(loop.result.steps)
            if loop.log is not None and is_first():
                loop.log(list(loop.result.records))
        try:
            with together(loop):
                loop.run(bar)
        except KeyboardInterrupt as interrupt:
            loop.result.interrupted = True
            raise Interrupted(_finish(loop), loop.signals.last or signal.SIGINT) from interrupt


def _finish(loop: Loop) -> FitResult:
    """The result with the selected weights in the model, and the cost."""
    result = loop.result
    if loop.best is not None:
        loop.model.load_state_dict(loop.best)
    loop.model.eval()
    result.train_s, result.step_s = loop.meter.train_s, loop.meter.step_s
    result.skipped_steps = loop.precision.skipped
    result.peak_memory_mib, result.energy_j = loop.meter.peak_memory_mib(), loop.meter.energy.joules
    return result


def _check_counts(**counts: int | None) -> None:
    for option, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"fit: {option} must be >= 1, got {count}")


def _check_step(
    train: Data, batch_size: int, balancer: Balancer, clip: float | None, accumulate: int, data_workers: int
) -> None:
    """Raise unless these options of a step are in range and fit together."""
    if clip is not None and not 0 < clip < float("inf"):
        raise ValueError(f"fit: clip must be a finite number > 0, or None, got {clip}")
    if data_workers < 0:
        raise ValueError(f"fit: data_workers must be >= 0, got {data_workers}")
    if data_workers and isinstance(train, TaskData | DataLoader):
        why = "is in memory and needs none" if isinstance(train, TaskData) else "has its own num_workers"
        raise ValueError(
            f"fit: data_workers read a Dataset; a {type(train).__name__} {why}; use data_workers=0"
        )
    if accumulate > 1 and not isinstance(train, DataLoader) and batch_size < accumulate:
        raise ValueError(
            f"fit: accumulate={accumulate} micro-batches need a batch_size of at least as many, got {batch_size}"
        )
    if accumulate > 1 and balancer.level == "features":
        raise ValueError(
            "fit: accumulate adds up gradients of parameters, and a balancer with level='features' compares others in "
            "each micro-batch; use level='parameters', or accumulate=1"
        )


def _total_steps(train: Data, epochs: int | None, steps: int | None, batch_size: int) -> int:
    if epochs is not None and steps is not None:
        raise ValueError(f"give epochs or steps, not both (got {epochs} and {steps})")
    return steps if steps is not None else (epochs or 1) * batch_count(train, batch_size)
