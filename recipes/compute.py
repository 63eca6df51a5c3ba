"""One model computed in several ways: what each costs in seconds, memory and energy, and whether its scores suffer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.config import RunOptions, above_zero, at_least, chosen

if TYPE_CHECKING:
    from recipes.runner import Job

QUESTION = (
    "What do memory format, precision, compilation and a second process cost and gain, at the same steps?"
)
BASELINE, REFERENCE = None, "fp32"
TUNING = "none: the same defaults for every variant"
WAYS: dict[str, dict[str, Any]] = {  # options of mtl.fit
    "fp32": {"channels_last": False},
    "channels_last": {},
    "bf16": {"precision": "bf16"},
    "compiled": {"compile": True},
    "two_processes": {},
}
PROCESSES = {"two_processes": 2}


@dataclass(frozen=True)
class Options(RunOptions):
    """fp32: as torch comes; all others add channels_last, and bf16, torch.compile or a second process to it."""

    out: Path = Path("runs/compute")
    """Folder for the run directories and report.html; must be absent or empty."""
    variants: tuple[str, ...] = ()
    """Which ways to compute; empty: all that work on this machine."""
    workers: int = 1
    """Runs at a time, each in its own process; more than one slow each other, and the times mean little."""
    steps: int = 100
    """Training steps of each model."""
    batch_size: int = 64
    """Pairs a step, over all processes."""
    lr: float = 6e-3
    """Peak learning rate of one-cycle AdamW."""
    train: int = 10_000
    """Training pairs."""
    balancer: str = "equal"
    """How the tasks' gradients are balanced."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "steps", "batch_size", "train")
        above_zero(self, "lr")


def variants(options: Options) -> tuple[str, ...]:
    import mtl
    from recipes.doctor import compiler

    chosen("balancer", (options.balancer,), mtl.BALANCERS)
    if options.variants:
        chosen("variants", options.variants, WAYS)
        return options.variants
    compiles = all(finding.ok for finding in compiler(options.out))
    several = options.device == "cpu"  # one GPU is not shared by two processes
    return tuple(
        name for name in WAYS if (name != "compiled" or compiles) and (name not in PROCESSES or several)
    )


def train(job: Job) -> None:
    """One run, by as many processes as its variant asks for."""
    from recipes.ranks import in_processes

    count = PROCESSES.get(job.variant, 1)
    if count > 1:
        in_processes(compute, job, count)
    else:
        compute(job)


def compute(job: Job) -> None:
    """Train in the variant's way, test once, record what it cost."""
    import torch

    import mtl
    from recipes.record import record_fit
    from recipes.runner import run_directory

    options: Options = job.options
    data = mtl.dataset("multimnist", train=options.train)
    with run_directory(job, data, "best mean validation accuracy, checked at each validation") as run:
        with mtl.seeded(job.seed):
            model = mtl.MultiTaskModel(mtl.backbone("cnn", image_size=36), data.tasks).to(options.device)
        result = mtl.fit(
            model,
            data.train,
            data.validation,
            balancer=options.balancer,
            steps=options.steps,
            batch_size=options.batch_size,
            lr=options.lr,
            validate_every=max(1, options.steps // 4),
            dynamics_every=None,
            log=run.log,
            checkpoints=job.folder / "checkpoints",
            resume=job.resume,
            allow_change=job.allow_change,
            progress=False,
            seed=job.seed,
            **WAYS[job.variant],
        )
        together = mtl.distributed.ranks()
        if together is not None:
            result.peak_memory_mib = float(together.sums(torch.tensor([result.peak_memory_mib]))[0])
        run.finish(summary=record_fit(run, [result], data.test))
