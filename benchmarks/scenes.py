"""How fast scenes are rendered on one core: ``python -m benchmarks.scenes``.

Wall time tells what a user waits, CPU time what a machine that is busy otherwise would need: the two are the same where
nothing else runs. Medians over rounds after one that is not counted.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from mtl.data.scenes import render


def rate(images: int, size: int, rounds: int) -> tuple[float, float]:
    """Pictures a second by the clock, and by this process's CPU time."""
    clock, processor = [], []
    for number in range(rounds + 1):
        indices = range(number * images, (number + 1) * images)
        start = time.perf_counter(), time.process_time()
        render(indices, part="benchmark", image_size=size)
        end = time.perf_counter(), time.process_time()
        if number:
            clock.append(end[0] - start[0])
            processor.append(end[1] - start[1])
    return images / statistics.median(clock), images / statistics.median(processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| size | pictures a second | a second of CPU time |\n|---|---|---|")
    for size in options.sizes:
        clock, processor = rate(options.images, size, options.rounds)
        print(f"| {size} x {size} | {clock:.0f} | {processor:.0f} |")


if __name__ == "__main__":
    main()
