"""Time and size of a large report: 100 runs that saved 200 maps each, 2,000 of which are shown.

``python -m benchmarks.report [--runs 100] [--maps 2000] [--folder FOLDER]`` makes the runs (kept in FOLDER if given),
builds the report in a process of its own, and opens it in Chromium.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reports import RunWriter
from reports.provenance import hardware, versions

SEEDS, EXAMPLES, SIDE, STEPS = 10, 50, 36, 1000
TASKS, METHODS = ("left", "right"), ("gradient", "grad_cam")

# what a child does: nothing but the build, so that its time and its modules are the report's alone
BUILD = """
import json, resource, sys, time
start = time.perf_counter()
from reports.building import build
build(sys.argv[1], sys.argv[2], max_maps=int(sys.argv[3]))
wall_s = time.perf_counter() - start
peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"wall_s": wall_s, "peak_mib": peak_mib, "torch": "torch" in sys.modules}))
"""


def main() -> int:
    """Print the table; 1 where the build took torch along or more than a minute."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--maps", type=int, default=2000, help="as many as the page may show")
    parser.add_argument(
        "--folder", type=Path, help="where the runs are, or are made; a temporary folder where absent"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "runs"
        if not folder.exists():
            make(folder, options.runs)
        page = Path(temporary) / "report.html"
        built = json.loads(
            subprocess.run(
                [sys.executable, "-c", BUILD, str(folder), str(page), str(options.maps)],
                check=True, capture_output=True, text=True,
            ).stdout
        )  # fmt: skip
        opened = loaded(page)
        own = hardware()
        version = versions()
        rows = {
            "machine": f"{own['cpu']}, {own['cores']} cores",
            "versions": ", ".join(f"{name} {version[name]}" for name in ("python", "numpy", "matplotlib")),
            "runs": str(options.runs),
            "build [s]": f"{built['wall_s']:.1f}",
            "peak memory [MiB]": f"{built['peak_mib']:.0f}",
            "torch imported": "yes" if built["torch"] else "no",
            "page [MB]": f"{page.stat().st_size / 1e6:.1f}",
            **opened,
        }
    print("| what | figure |\n|---|---|")
    print("\n".join(f"| {name} | {value} |" for name, value in rows.items()))
    return int(built["torch"] or built["wall_s"] > 60)


def make(folder: Path, count: int) -> None:
    """Runs of two tasks: ten seeds a variant, curves of a thousand steps, gradients over training, maps."""
    for number in range(count):
        variant, seed = f"variant{number // SEEDS}", number % SEEDS
        write_run(folder, variant, seed, np.random.default_rng(number))


def write_run(folder: Path, variant: str, seed: int, rng: np.random.Generator) -> None:
    T, names = len(TASKS), list(TASKS)
    metrics = [{"name": "accuracy", "unit": "fraction", "higher_is_better": True},
               {"name": "loss", "unit": "nats", "higher_is_better": False, "diagnostic": True}]  # fmt: skip
    tasks = [
        {"name": t, "kind": "classification", "classes": list("0123456789"), "metrics": metrics}
        for t in names
    ]
    experiment = {
        "name": "large", "question": "How long does it take?", "baseline": "variant0", "reference": "variant1"
    }  # fmt: skip
    with RunWriter(
        folder / f"{variant}--s{seed}", experiment=experiment, variant=variant, seed=seed, tasks=tasks,
        config={"steps": STEPS}, command=["python", "-m", "large"], data={"large": "made"}, selection="the last step",
        tuning_budget="none",
    ) as run:  # fmt: skip
        steps = np.arange(1, STEPS + 1)
        rows: list[dict[str, Any]] = []
        for task in names:
            curves = {"accuracy": 1 - np.exp(-steps / 300), "loss": np.exp(-steps / 300)}
            for metric, curve in curves.items():
                values = curve + 0.02 * rng.standard_normal(STEPS)
                at = {"epoch": 1, "task": task, "metric": metric}
                rows += [
                    {"step": int(s), "split": "train", "value": float(v), **at}
                    for s, v in zip(steps, values, strict=True)
                ]
                rows += [
                    {"step": int(s), "split": "validation", "value": float(values[s - 1]), **at}
                    for s in steps[19::20]
                ]
                rows.append({"step": STEPS, "split": "test", "value": float(values[-1]), **at})
        run.log(rows)
        cosine = np.clip(0.3 * rng.standard_normal((STEPS, 1, 1)), -1, 1) * (1 - np.eye(T)) + np.eye(T)
        run.dynamics(
            step=steps.tolist(), tasks=names, groups=["low", "high"], losses=rng.random((STEPS, T)),
            weights=rng.random((STEPS, T)), norms=rng.random((STEPS, T)), cosines=cosine,
            group_cosines=np.stack([cosine, cosine], axis=1),
        )  # fmt: skip
        run.cost(train_s=10.0 + rng.random(), step_s=0.01, steps=STEPS, parameters=1000, peak_memory_mib=100)
        write_maps(run, rng)
        run.finish({})


def write_maps(run: RunWriter, rng: np.random.Generator) -> None:
    shape = (EXAMPLES, SIDE, SIDE)
    inputs = np.random.default_rng(0).random((EXAMPLES, 1, SIDE, SIDE))
    masks = {task: np.zeros(shape, dtype=bool) for task in TASKS}
    masks["left"][:, 8:24, 4:16] = masks["right"][:, 8:24, 20:32] = True
    run.save_examples(inputs=inputs, masks=masks)
    scores = []
    for method in METHODS:
        for task in TASKS:
            maps = rng.standard_normal(shape).cumsum(1).cumsum(2) * np.where(masks[task], 1.0, 0.2)
            labels = rng.integers(0, 10, EXAMPLES)
            run.save_attribution(method, task, maps=maps, prediction=labels, label=labels, details={})
            scores += [
                {"example": i, "task": task, "method": method, "metric": "relevance_mass", "region": region,
                 "map": kind, "value": float(rng.random()), "higher_is_better": region == task}
                for i in range(EXAMPLES) for region in TASKS for kind in ("given", "random", "image")
            ]  # fmt: skip
    run.save_scores(pd.DataFrame(scores))


def loaded(page: Path) -> dict[str, str]:
    """Milliseconds until the page is loaded, with all its parts opened too; empty where there is no browser."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return {}
    if chromium is None:
        return {}
    times, opened = [], []
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(5):
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(page.as_uri())
            times.append(tab.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
            start = time.perf_counter()
            tab.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
            tab.evaluate("document.body.offsetHeight")
            opened.append(1000 * (time.perf_counter() - start))
            pictures = tab.locator("img").count()
            tab.close()
        version = browser.version
        browser.close()
    return {
        "pictures": str(pictures),
        f"loaded in Chromium {version} [ms]": f"{statistics.median(times):.0f}",
        "all groups opened and laid out [ms]": f"{statistics.median(opened):.0f}",
    }


if __name__ == "__main__":
    sys.exit(main())
