"""Attribution metrics of several tasks against Quantus, one call a task: ``python -m benchmarks.attribution_metrics``.

Both sides score the same maps of the article's CNN, with as many perturbed forward passes, interleaved in one process;
medians over the rounds. Needs Quantus (``pip install quantus``). Their definitions differ in part (what a curve is
reduced to, which noise), so that times compare and values need not.
"""

from __future__ import annotations

import argparse
import platform
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

import explain
from benchmarks.attribution import TARGET, Setting
from benchmarks.measure import interleaved

STEPS = 27  # 1296 pixels in equal parts, as Quantus wants them


def peers(fraction: int) -> dict[str, tuple[Any, dict[str, Any]]]:
    """{our metric: (Quantus's, our options)}, at equal work: ``fraction`` pixels a step."""
    import quantus

    quiet: dict[str, Any] = {"disable_warnings": True, "display_progressbar": False}
    shares = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    return {
        "pixel_flipping": (quantus.PixelFlipping(features_in_step=fraction, **quiet), {"steps": STEPS}),
        "monotonicity": (quantus.Monotonicity(features_in_step=fraction, **quiet), {"groups": STEPS}),
        "sensitivity_n": (
            quantus.FaithfulnessCorrelation(nr_runs=100, subset_size=130, **quiet),
            {"fractions": (0.1,), "samples": 100},
        ),
        "infidelity": (  # nine patches of 12 x 12, ten times: 90 passes
            quantus.Infidelity(n_perturb_samples=10, perturb_patch_sizes=[12], **quiet),
            {"samples": 90},
        ),
        "road": (
            quantus.ROAD(percentages=[int(100 * share) for share in shares], **quiet),
            {"fractions": shares, "order": "morf"},
        ),
        "relevance_mass": (quantus.RelevanceMassAccuracy(**quiet), {}),
        "relevance_rank": (quantus.RelevanceRankAccuracy(**quiet), {}),
        "pointing_game": (quantus.PointingGame(**quiet), {}),
        "gini": (quantus.Sparseness(**quiet), {}),
        "entropy": (quantus.Complexity(**quiet), {}),
        "completeness": (quantus.Completeness(**quiet), {}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if not find_spec("quantus"):
        sys.exit("this benchmark compares with Quantus: pip install quantus")
    warnings.simplefilter("ignore")  # the peer's own
    setting = Setting(options.tasks, options.images)
    side = setting.images.shape[-1]
    maps = explain.saliency(setting.model, setting.images, method="input_x_gradient", target=TARGET)
    masks = {task: torch.rand(options.images, side, side) > 0.7 for task in maps}
    x, y = setting.images.numpy(), np.full(options.images, TARGET)
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
          f"quantus {version('quantus')}; {options.tasks} tasks, {options.images} images")  # fmt: skip
    print(f"{'metric':18} {'quantus ms':>11} {'ours ms':>9} {'ratio':>6}")
    for name, (metric, own) in peers(side * side // STEPS).items():

        def theirs(metric: Any = metric) -> object:
            return [
                metric(
                    model=head, x_batch=x, y_batch=y, a_batch=maps[task].numpy(), device="cpu",
                    s_batch=masks[task][:, None].numpy(), batch_size=options.images,
                )
                for task, head in setting.heads.items()
            ]  # fmt: skip

        def ours(name: str = name, own: dict[str, Any] = own) -> object:
            return explain.evaluate(
                setting.model, setting.images, maps, metrics=name, masks=masks, target=TARGET, controls=(),
                options={name: own},
            )  # fmt: skip

        sides: dict[str, Callable[[], object]] = {"theirs": theirs, "ours": ours}
        times = interleaved(sides, options.rounds, torch.device("cpu"))
        print(
            f"{name:18} {times['theirs']:11.1f} {times['ours']:9.1f} {times['ours'] / times['theirs']:6.2f}"
        )


if __name__ == "__main__":
    main()
