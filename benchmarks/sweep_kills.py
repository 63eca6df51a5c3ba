"""A sweep whose workers are killed: is every trial done once, and none lost?

``python benchmarks/sweep_kills.py --trials 200 --workers 2 --every 20``: keeps that many sweep commands of one worker
each on one journal, sends SIGKILL to one of them (or to the process of its trial, in turn) every so many seconds,
starts another in its place, and counts at the end.
"""

from __future__ import annotations

import argparse
import collections
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def command(out: Path, trials: int, steps: int) -> list[str]:
    """A sweep over the step size of the toy recipe."""
    return [
        sys.executable, "-m", "recipes", "sweep", "balancers_toy", "--variants", "equal", "--problems", "quadratic",
        "--steps", str(steps), "--space", str(out.parent / "space.yaml"), "--objective", "min:distance@train",
        "--trials", str(trials), "--sampler", "random", "--fresh-seeds", "1", "--workers", "1", "--out", str(out),
    ]  # fmt: skip


def children(pid: int) -> list[int]:
    """Processes that ``pid`` started (Linux)."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            below = [int(word) for word in (task / "children").read_text().split()]
        except OSError:
            continue
        found += below
    return found


def main() -> int:
    """Run, kill, count; 1 where a trial was lost or done twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=float, default=20.0, help="seconds between two kills")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    out = (given.out or Path(tempfile.mkdtemp())) / "sweep"
    out.parent.mkdir(parents=True, exist_ok=True)
    (out.parent / "space.yaml").write_text("lr: {low: 0.01, high: 1.0, log: true}\n")
    line, log = command(out, given.trials, given.steps), (out.parent / "log.txt").open("ab")
    chance, began, kills = random.Random(0), time.monotonic(), collections.Counter[str]()
    workers = [subprocess.Popen(line, stdout=log, stderr=log) for _ in range(given.workers)]
    last = time.monotonic()
    while any(worker.poll() is None for worker in workers):
        time.sleep(0.5)
        if time.monotonic() - last < given.every:
            continue
        victim = chance.choice([worker for worker in workers if worker.poll() is None] or workers)
        if kills.total() % 2:  # below the worker is the server that forks its trials
            trials = [trial for server in children(victim.pid) for trial in children(server)]
            if not trials:
                continue  # between two; soon again
            os.kill(trials[0], signal.SIGKILL)
            kills["a trial's process"] += 1
        elif victim.poll() is None:
            victim.kill()
            victim.wait()
            kills["a worker"] += 1
            workers[workers.index(victim)] = subprocess.Popen(line, stdout=log, stderr=log)
        last = time.monotonic()
    with (out / "trials.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["stage"] == "search"]
    states = collections.Counter(row["state"] for row in rows)
    finished = [folder for folder in (out / "trials").iterdir() if (folder / "summary.json").exists()]
    again = sum(int(row["attempts"]) > 1 for row in rows)
    twice = len(finished) - states["done"]
    print(f"{time.monotonic() - began:.0f} s; kills: {dict(kills)}; log: {out.parent / 'log.txt'}")
    print(f"trials: {dict(states)} of {given.trials}; begun again {again}; done twice {twice}; "
          f"different step sizes {len({row['lr'] for row in rows})}")  # fmt: skip
    return int(states["done"] != given.trials or twice > 0)


if __name__ == "__main__":
    sys.exit(main())
