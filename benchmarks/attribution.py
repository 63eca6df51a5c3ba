"""Saliency of several tasks against Captum called task by task, in one run: ``python benchmarks/attribution.py``.

Prints a table of milliseconds, ratios and the largest difference between the maps; the same model, images, steps and
windows for both sides. Captum runs with the options that its users would give for speed (``internal_batch_size``).
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from captum import attr
from torch import Tensor, nn
from torch.nn import functional as F

import explain
import mtl


class Head(nn.Module):
    """One task of a multi-task model, as Captum needs it."""

    def __init__(self, model: nn.Module, task: str) -> None:
        super().__init__()
        self.model, self.task = model, task

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.model(x)[self.task]
        return output


def captum_call(method: str, model: mtl.MultiTaskModel, images: Tensor, target: int) -> dict[str, Tensor]:
    """Captum's maps, one call a task."""
    maps = {}
    for task in model.tasks:
        head = Head(model, task.name)
        if method == "gradient":
            maps[task.name] = attr.Saliency(head).attribute(images, target=target, abs=False)
        elif method == "integrated_gradients":
            ig = attr.IntegratedGradients(head)
            maps[task.name] = ig.attribute(images, target=target, n_steps=32, internal_batch_size=len(images))
        elif method == "occlusion":
            maps[task.name] = attr.Occlusion(head).attribute(images, (1, 5, 5), (1, 2, 2), target=target)
        else:
            convolution = [m for m in model.modules() if isinstance(m, nn.Conv2d)][-1]
            cam = attr.LayerGradCam(head, convolution).attribute(images, target=target)
            maps[task.name] = F.interpolate(cam.detach(), size=images.shape[2:], mode="bilinear")
    return maps


def our_call(method: str, model: mtl.MultiTaskModel, images: Tensor, target: int) -> dict[str, Tensor]:
    """Our maps of all tasks in one call."""
    convolution = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d)][-1]
    every: dict[str, dict[str, Any]] = {
        "integrated_gradients": {"steps": 32, "tolerance": 1.0},
        "occlusion": {"window": 5, "stride": 2},
        "grad_cam": {"layer": convolution},
    }
    options = every.get(method, {})
    maps: dict[str, Tensor] = explain.saliency(model, images, method=method, target=target, **options)
    return maps


def best_ms(call: Callable[[], object], repeats: int) -> float:
    """The shortest of several runs: what the work costs where nothing disturbs it."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    tasks = [mtl.Classification(f"task{i}", classes=10) for i in range(options.tasks)]
    model = mtl.MultiTaskModel(mtl.backbone("cnn", in_channels=1, image_size=36), tasks).eval()
    images = torch.rand(options.images, 1, 36, 36).requires_grad_()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
          f"captum {version('captum')}; {options.tasks} tasks, {options.images} images")  # fmt: skip
    print(f"{'method':22} {'captum ms':>10} {'ours ms':>10} {'ratio':>6} {'largest difference':>20}")
    for method in ("gradient", "integrated_gradients", "occlusion", "grad_cam"):
        theirs = captum_call(method, model, images, 3)
        ours = our_call(method, model, images.detach(), 3)
        gap = max(float((ours[task] - theirs[task]).detach().abs().max()) for task in ours)
        repeats = 2 if method == "occlusion" else options.repeats
        a = best_ms(lambda m=method: captum_call(m, model, images, 3), repeats)  # type: ignore[misc]
        b = best_ms(lambda m=method: our_call(m, model, images.detach(), 3), repeats)  # type: ignore[misc]
        print(f"{method:22} {a:10.1f} {b:10.1f} {b / a:6.2f} {gap:20.1e}")


if __name__ == "__main__":
    main()
