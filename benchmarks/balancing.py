"""A step of every balancer against TorchJD, LibMTL's formulas and the bare passes: ``python -m benchmarks.balancing``.

All sides run interleaved in one process, round after round, and the table shows medians over the rounds as
ratios to the floor: T plain backward passes through the trunk, with the heads passed once, and nothing else (one by one
or by vmap, whichever is faster here). ``--solvers`` times the solvers alone on a Gramian.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import platform
import sys
import types
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

import mtl
from benchmarks.measure import interleaved, peak_bytes
from mtl.balancing.gramian import gramian
from mtl.balancing.method import Given, Size
from mtl.balancing.registry import build

CASES = {
    "mlp-8": ("mlp", 8), "mlp-40": ("mlp", 40), "cnn-2": ("cnn", 2), "cnn-10": ("cnn", 10),
    "resnet18-3": ("resnet18", 3),
}  # fmt: skip
# ours to TorchJD's, where TorchJD has it
PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "upgrad": ("UPGrad", {}), "dualproj": ("DualProj", {}), "mgda": ("MGDA", {}), "pcgrad": ("PCGrad", {}),
    "gradvac": ("GradVac", {}), "cagrad": ("CAGrad", {"c": 0.5}), "imtl_g": ("IMTLG", {}),
    "nash_mtl": ("NashMTL", {"n_tasks": 0}), "aligned_mtl": ("AlignedMTL", {}),
    "fairgrad": ("FairGrad", {"alpha": 1.0}),
    "config": ("ConFIG", {}), "graddrop": ("GradDrop", {}), "trimmed_mean": ("TrimmedMean", {"trim_number": 1}),
    "krum": ("Krum", {"n_byzantine": 0}),
}  # fmt: skip
LIBMTL: dict[str, tuple[str, dict[str, Any]]] = {
    "pcgrad": ("PCGrad", {}), "mgda": ("MGDA", {"mgda_gn": "none"}), "gradvac": ("GradVac", {"beta": 0.5}),
}  # fmt: skip


class Setting:
    """A model, a batch, and one training step's losses."""

    def __init__(self, kind: str, tasks: int, device: torch.device) -> None:
        torch.manual_seed(0)
        heads = [mtl.Classification(f"task{i}", classes=10) for i in range(tasks)]
        if kind == "mlp":
            trunk, x = mtl.backbone("mlp", in_features=784, hidden=(512, 512, 256)), torch.randn(128, 784)
        elif kind == "cnn":
            trunk, x = mtl.backbone("cnn", in_channels=1, image_size=36), torch.randn(64, 1, 36, 36)
        else:
            trunk, x = mtl.backbone("timm/resnet18"), torch.randn(8, 3, 96, 96)
        self.model = mtl.MultiTaskModel(trunk, heads).to(device)
        self.inputs = x.to(device)
        self.targets = {task.name: torch.randint(0, 10, (len(x),), device=device) for task in heads}
        self.shared = self.model.shared_parameters()
        self.parameters = sum(p.numel() for p in self.shared)

    def losses(self) -> dict[str, Tensor]:
        self.model.zero_grad()
        return self.model.losses(self.model(self.inputs), self.targets)

    def split(self) -> tuple[Tensor, list[Tensor]]:
        """The features, and every task's gradient of them, by one pass of the heads."""
        z = self.model.backbone(self.inputs)
        leaves = [z.detach().requires_grad_() for _ in self.model.heads]
        outputs = {
            t.name: head(leaf)
            for t, head, leaf in zip(self.model.tasks, self.model.heads, leaves, strict=True)
        }
        total: Any = sum(self.model.losses(outputs, self.targets).values())
        total.backward()
        return z, [leaf.grad for leaf in leaves if leaf.grad is not None]


def floor_loop(setting: Setting) -> Callable[[], None]:
    def call() -> None:
        setting.model.zero_grad()
        z, seeds = setting.split()
        for k, seed in enumerate(seeds):
            torch.autograd.grad(z, setting.shared, seed, retain_graph=k + 1 < len(seeds))

    return call


def floor_vmap(setting: Setting) -> Callable[[], None]:
    def call() -> None:
        setting.model.zero_grad()
        z, seeds = setting.split()
        torch.autograd.grad(z, setting.shared, torch.stack(seeds), is_grads_batched=True)

    return call


def plain_sum(setting: Setting) -> Callable[[], None]:
    def call() -> None:
        total: Any = sum(setting.losses().values())
        total.backward()

    return call


def ours(setting: Setting, name: str, **options: Any) -> Callable[[], None]:
    balancer = mtl.Balancer(name, **options)
    return lambda: balancer.backward(setting.losses(), setting.model)


def torchjd(setting: Setting, name: str) -> Callable[[], None]:
    """TorchJD's own way for a multi-task model, its fastest: heads once, then the trunk by `mtl_backward`."""
    from torchjd import aggregation
    from torchjd.autojac import jac_to_grad, mtl_backward

    kind, options = PEERS[name]
    options = {**options, "n_tasks": len(setting.model.heads)} if "n_tasks" in options else options
    aggregator = getattr(aggregation, kind)(**options)

    def call() -> None:
        setting.model.zero_grad()
        z = setting.model.backbone(setting.inputs)
        outputs = {t.name: head(z) for t, head in zip(setting.model.tasks, setting.model.heads, strict=True)}
        losses = list(setting.model.losses(outputs, setting.targets).values())
        mtl_backward(losses, features=z)
        jac_to_grad(setting.shared, aggregator)

    return call


def libmtl(setting: Setting, name: str) -> Callable[[], None]:
    """LibMTL's own weighting (``pip install --no-deps LibMTL``), without its trainer and models, which do not import.

    It asks a model for its shared parameters and for setting their gradients to zero, so that is what it gets.
    """
    kind, options = LIBMTL[name]
    rule = getattr(_libmtl_weighting(), kind)()
    rule.task_num, rule.device, rule.rep_grad = len(setting.model.heads), setting.inputs.device, False
    rule.get_share_params = lambda: setting.shared
    rule.zero_grad_share_params = lambda: [p.grad.zero_() for p in setting.shared if p.grad is not None]

    def call() -> None:
        rule.backward(list(setting.losses().values()), **options)

    return call


def _libmtl_weighting() -> Any:
    """The package ``LibMTL.weighting`` alone: the import of the whole fails with the torchvision of today."""
    if "LibMTL.weighting" in sys.modules:
        return sys.modules["LibMTL.weighting"]
    found = importlib.util.find_spec("LibMTL")
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError("LibMTL is not installed: pip install --no-deps LibMTL")
    package = types.ModuleType("LibMTL")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["LibMTL"] = package
    return importlib.import_module("LibMTL.weighting")


def steps(case: str, methods: list[str], rounds: int, device: torch.device, peers: bool) -> None:
    kind, tasks = CASES[case]
    setting = Setting(kind, tasks, device)
    calls: dict[str, Callable[[], object]] = {
        "plain sum": plain_sum(setting), "floor, loop": floor_loop(setting), "floor, vmap": floor_vmap(setting),
    }  # fmt: skip
    for name in methods:
        calls[name] = ours(setting, name)
        if peers:
            for other, table, build_peer in (("TorchJD", PEERS, torchjd), ("LibMTL", LIBMTL, libmtl)):
                if name in table:
                    with_peer(calls, f"{other} {name}", build_peer, setting, name)
    calls["mgda, features"] = ours(setting, "mgda", level="features")
    calls["upgrad, every 10"] = ours(setting, "upgrad", every=10)
    calls["upgrad, stream"] = ours(setting, "upgrad", stream=True)
    found = interleaved(calls, rounds, device)
    best = min(found["floor, loop"], found["floor, vmap"])
    print(
        f"\n{case}: {tasks} tasks, {setting.parameters:,} shared parameters, {len(setting.inputs)} examples"
    )
    print(f"{'step':20} {'ms':>9} {'to sum':>8} {'to floor':>9} {'to TorchJD':>11} {'to LibMTL':>10}")
    for name, ms in found.items():
        if name.startswith(("TorchJD", "LibMTL")):
            continue
        ratios = [
            f"{ms / found[f'{p} {name}']:.2f}" if f"{p} {name}" in found else ""
            for p in ("TorchJD", "LibMTL")
        ]
        print(
            f"{name:20} {ms:9.1f} {ms / found['plain sum']:8.2f} {ms / best:9.2f} {ratios[0]:>11} {ratios[1]:>10}"
        )


def with_peer(
    calls: dict[str, Callable[[], object]],
    label: str,
    build_peer: Callable[[Setting, str], Callable[[], None]],
    setting: Setting,
    name: str,
) -> None:
    """Add a peer's step, if it is installed and gets through one step here."""
    try:
        call = build_peer(setting, name)
        call()
    except Exception as error:  # whatever it is, the line below says it
        print(f"({label} does not run here: {str(error).splitlines()[0][:80]})")
    else:
        calls[label] = call


def memory(case: str, methods: list[str], device: torch.device) -> None:
    """MiB of tensors that a first step takes beyond the plain sum's."""
    kind, tasks = CASES[case]
    setting = Setting(kind, tasks, device)
    plain_sum(setting)()  # what libraries keep
    plain, rows = peak_bytes(plain_sum(setting)), 4 * tasks * setting.parameters / 2**20
    print(f"\n{case}: memory beyond the plain sum, MiB ([T, P] is {rows:.1f})")
    for name in methods:
        print(f"{name:20} {(peak_bytes(ours(setting, name)) - plain) / 2**20:9.1f}")
    print(f"{'upgrad, stream':20} {(peak_bytes(ours(setting, 'upgrad', stream=True)) - plain) / 2**20:9.1f}")


def solvers(rounds: int, peers: bool) -> None:
    """Milliseconds of the solvers alone, on gradients [T, 200] with log-normal lengths."""
    print("\nsolver alone, ms (in brackets: TorchJD's)")
    print(f"{'method':14} {'T = 2':>18} {'T = 8':>18} {'T = 40':>18}")
    names = [name for name, kind in mtl.BALANCERS.items() if kind.needs != "losses"]
    for name in names:
        cells = []
        for T in (2, 8, 40):
            generator = torch.Generator().manual_seed(0)
            J = torch.randn(T, 200, generator=generator).double()
            J = J * torch.randn(T, 1, generator=generator).double().exp()
            M = gramian(J)
            rule = build(name, {})
            given = Given(
                name, tuple(map(str, range(T))), tuple(range(T)), T, generator, torch.ones(T).double(), M, J
            )
            state = rule.init(Size(T, 200))
            calls: dict[str, Callable[[], object]] = {"ours": lambda r=rule, g=given, s=state: r.solve(g, s)}  # type: ignore[misc]
            if peers and name in PEERS:
                from torchjd import aggregation

                kind, options = PEERS[name]
                options = {**options, "n_tasks": T} if "n_tasks" in options else options
                try:
                    weighting = getattr(aggregation, kind)(**options).gramian_weighting
                    weighting(M)
                    calls["theirs"] = lambda w=weighting, m=M: w(m)  # type: ignore[misc]
                except (
                    Exception
                ):  # no weights from a Gramian, an optional solver that is missing, too few tasks
                    pass
            found = interleaved(calls, rounds, torch.device("cpu"))
            cells.append(
                f"{found['ours']:.2f} ({found['theirs']:.2f})"
                if "theirs" in found
                else f"{found['ours']:.2f}"
            )
        print(f"{name:14} {cells[0]:>18} {cells[1]:>18} {cells[2]:>18}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--methods", nargs="*", default=["upgrad", "mgda", "pcgrad", "nash_mtl", "cagrad", "config"],
                        help="names of mtl.BALANCERS, or 'all'")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", action="store_true", help="and what a step takes beyond the plain sum's")
    parser.add_argument("--solvers", action="store_true", help="the solvers alone")
    options = parser.parse_args()
    try:
        peer = version("torchjd")
    except PackageNotFoundError:
        peer = ""
    gpu = torch.cuda.get_device_name() if options.device.startswith("cuda") else ""
    print(f"{platform.machine()} {gpu}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
          f"torchjd {peer or 'not installed'}; medians of {options.rounds} interleaved rounds")  # fmt: skip
    if options.solvers:
        solvers(5 * options.rounds, bool(peer))
        return
    methods = list(mtl.BALANCERS) if options.methods == ["all"] else options.methods
    for case in options.cases:
        steps(case, methods, options.rounds, torch.device(options.device), bool(peer))
        if options.memory:
            memory(case, methods, torch.device(options.device))


if __name__ == "__main__":
    main()
