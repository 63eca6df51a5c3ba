"""Attribution of several tasks against the peers, one call a task: ``python -m benchmarks.attribution``.

All sides run interleaved in one process, round after round; the table shows medians. Captum stands once with its
default settings and once with the best of several (micro-batches, perturbations per pass; for occlusion also one pass
for all tasks, which it can do). pytorch-grad-cam and Quantus take part where they are installed. ``--memory`` adds the
peak of the tensors that a call makes.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from captum import attr
from torch import Tensor, nn
from torch.nn import functional as F

import explain
import mtl
from benchmarks.measure import interleaved, peak_bytes

TARGET = 3  # the class that is explained, for every task
Maps = dict[str, Tensor]
Call = Callable[[], Maps]


class Head(nn.Module):
    """One task of a multi-task model, as the peers need it; ``task`` None: all tasks' class `TARGET` as [B, K]."""

    def __init__(self, model: mtl.MultiTaskModel, task: str | None) -> None:
        super().__init__()
        self.model, self.task = model, task

    def forward(self, x: Tensor) -> Tensor:
        outputs = self.model(x)
        if self.task is None:
            return torch.stack([output[:, TARGET] for output in outputs.values()], dim=1)
        output: Tensor = outputs[self.task]
        return output


class Setting:
    """The article's CNN with its heads, and images."""

    def __init__(self, tasks: int, images: int) -> None:
        torch.manual_seed(0)
        names = [mtl.Classification(f"task{i}", classes=10) for i in range(tasks)]
        self.model = mtl.MultiTaskModel(mtl.backbone("cnn", in_channels=1, image_size=36), names).eval()
        self.heads = {task.name: Head(self.model, task.name).eval() for task in names}
        self.images = torch.rand(images, 1, 36, 36)
        self.layer = [m for m in self.model.modules() if isinstance(m, nn.Conv2d)][-1]
        self.layer_name = next(n for n, m in self.model.named_modules() if m is self.layer)

    def each(self, call: Callable[[Head, Tensor], Tensor]) -> Call:
        """A peer's call for every task, one after another."""
        return lambda: {
            name: call(head, self.images.clone().requires_grad_()).detach()
            for name, head in self.heads.items()
        }

    def ours(self, method: str, **options: Any) -> Call:
        return lambda: explain.saliency(self.model, self.images, method=method, target=TARGET, **options)


def captum(setting: Setting) -> dict[str, tuple[dict[str, Call], Call]]:
    """{method: (Captum's calls, by setting, the first with its defaults; ours)}."""

    def ig(head: Head, x: Tensor, size: int | None) -> Tensor:
        module = attr.IntegratedGradients(head)
        return module.attribute(x, target=TARGET, n_steps=50, internal_batch_size=size)

    def smooth(head: Head, x: Tensor, size: int | None) -> Tensor:
        module = attr.NoiseTunnel(attr.Saliency(head))
        return module.attribute(
            x, target=TARGET, nt_samples=20, stdevs=0.15, nt_samples_batch_size=size, abs=False
        )

    def occlusion(head: Head, x: Tensor, per_pass: int) -> Tensor:
        module = attr.Occlusion(head)
        target = None if head.task is None else TARGET
        return module.attribute(
            x.detach(), (1, 5, 5), (1, 2, 2), target=target, perturbations_per_eval=per_pass
        )

    def together(call: Callable[[Head, Tensor], Tensor]) -> Call:
        def run() -> Maps:
            maps = call(Head(setting.model, None), setting.images)
            parts = maps.reshape(len(setting.images), len(setting.heads), *setting.images.shape[1:]).unbind(1)
            return dict(zip(setting.heads, parts, strict=True))

        return run

    def cam(head: Head, x: Tensor) -> Tensor:
        found = attr.LayerGradCam(head, setting.layer).attribute(x, target=TARGET)
        return F.interpolate(found.detach(), size=x.shape[2:], mode="bilinear")

    return {
        "gradient": (
            {"default": setting.each(lambda h, x: attr.Saliency(h).attribute(x, target=TARGET, abs=False))},
            setting.ours("gradient"),
        ),
        "integrated_gradients": (
            {
                "default": setting.each(lambda h, x: ig(h, x, None)),
                **{f"{n} rows": setting.each(lambda h, x, n=n: ig(h, x, n)) for n in (64, 256)},  # type: ignore[misc]
            },
            setting.ours("integrated_gradients", steps=50, tolerance=float("inf")),
        ),
        "smoothgrad": (
            {
                "default": setting.each(lambda h, x: smooth(h, x, None)),
                **{f"{n} samples": setting.each(lambda h, x, n=n: smooth(h, x, n)) for n in (1, 4)},  # type: ignore[misc]
            },
            setting.ours("smoothgrad", samples=20),
        ),
        "occlusion": (
            {
                "default": setting.each(lambda h, x: occlusion(h, x, 1)),
                "all tasks": together(lambda h, x: occlusion(h, x, 1)),
                "all tasks, 4 windows": together(lambda h, x: occlusion(h, x, 4)),
            },
            setting.ours("occlusion", window=5, stride=2),
        ),
        "grad_cam": ({"default": setting.each(cam)}, setting.ours("grad_cam", layer=setting.layer_name)),
    }


def grad_cam_library(setting: Setting) -> dict[str, tuple[dict[str, Call], Call]]:
    """The same for pytorch-grad-cam; it makes maps of its own scale, so that only times compare."""
    from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    classes = {
        "grad_cam": GradCAM, "grad_cam_plus_plus": GradCAMPlusPlus, "hirescam": HiResCAM, "layercam": LayerCAM,
        "eigencam": EigenCAM, "score_cam": ScoreCAM,
    }  # fmt: skip

    def theirs(kind: Any, head: Head, x: Tensor) -> Tensor:
        with kind(model=head, target_layers=[setting.layer]) as module:
            targets = [ClassifierOutputTarget(TARGET)] * len(x)
            return torch.as_tensor(module(input_tensor=x.detach(), targets=targets))

    return {
        name: (
            {"default": setting.each(lambda h, x, k=kind: theirs(k, h, x))},  # type: ignore[misc]
            setting.ours(name, layer=setting.layer_name),
        )
        for name, kind in classes.items()
    }


def compare(title: str, sides: dict[str, tuple[dict[str, Call], Call]], rounds: int, memory: bool) -> None:
    print(f"\n{title}\n{'method':22} {'default ms':>10} {'best ms':>9} {'ours ms':>9} {'to default':>10} "
          f"{'to best':>8} {'difference':>11}  best setting")  # fmt: skip
    for method, (theirs, ours) in sides.items():
        count = 2 if method in ("occlusion", "score_cam") else rounds
        times = interleaved({**theirs, "ours": ours}, count, torch.device("cpu"))
        best = min(theirs, key=lambda name: times[name])
        found, expected = ours(), theirs["default"]()
        same = method not in ("smoothgrad", "score_cam") and all(
            found[t].shape == expected[t].shape for t in found
        )
        gap = (
            f"{max(float((found[t] - expected[t]).abs().max()) for t in found):11.1e}" if same else f"{'':11}"
        )
        print(f"{method:22} {times['default']:10.1f} {times[best]:9.1f} {times['ours']:9.1f} "
              f"{times['ours'] / times['default']:10.2f} {times['ours'] / times[best]:8.2f} {gap}  {best}")  # fmt: skip
        if memory:
            peaks = {name: peak_bytes(call) / 2**20 for name, call in {**theirs, "ours": ours}.items()}
            print("    peak MiB: " + ", ".join(f"{name} {peak:.0f}" for name, peak in peaks.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--only", choices=("captum", "grad-cam", "quantus"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # the peers' own
    setting = Setting(options.tasks, options.images)
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; "
          f"{options.tasks} tasks, {options.images} images of 36 x 36")  # fmt: skip
    if options.only in (None, "captum"):
        compare(f"captum {version('captum')}", captum(setting), options.rounds, options.memory)
    if options.only in (None, "grad-cam") and importlib.util.find_spec("pytorch_grad_cam"):
        title = f"pytorch-grad-cam {version('grad-cam')}"
        compare(title, grad_cam_library(setting), options.rounds, options.memory)


if __name__ == "__main__":
    main()
