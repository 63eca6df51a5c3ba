"""Two losses in the plane, with known Pareto sets: where does each way of balancing end?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.config import RunOptions, UsageError, above_zero, at_least, chosen

if TYPE_CHECKING:
    from recipes.runner import Job

QUESTION = (
    "From where does each way of balancing two losses reach their Pareto set, and where on it does it end?"
)
BASELINE, REFERENCE = None, "equal"
TUNING = "none: the same step size for every variant"
NEAR = 0.1  # a way that ends this close to the Pareto set has reached it
ALL = (
    "equal", "famo", "stch", "mgda", "pcgrad", "gradvac", "cagrad", "imtl_g", "nash_mtl",
    "aligned_mtl", "upgrad", "dualproj", "config", "graddrop",
)  # fmt: skip


@dataclass(frozen=True)
class Options(RunOptions):
    """The two-loss problem of CAGrad, Nash-MTL and FAMO, and two quadratics, from several starts each."""

    out: Path = Path("runs/balancers_toy")
    """Folder for the run directories and report.html; must be absent or empty."""
    variants: tuple[str, ...] = ALL
    """Names of balancers; all 32 are possible where losses allow it (see mtl.BALANCERS)."""
    seeds: tuple[int, ...] = (0,)
    """One run each; only methods that draw differ between seeds."""
    problems: tuple[str, ...] = ("valley", "quadratic", "scaled")
    """valley: from the papers; quadratic: two bowls; scaled: one of them a hundred times as steep."""
    steps: int = 2000
    """Adam steps from each start."""
    lr: float = 0.2
    """Adam's step size."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "steps")
        above_zero(self, "lr")
        chosen("variants", self.variants)
        chosen("problems", self.problems, ("valley", "quadratic", "scaled"))


def variants(options: Options) -> tuple[str, ...]:
    import mtl

    chosen("variants", options.variants, mtl.BALANCERS)
    for name in options.variants:
        if "valley" in options.problems and name in NEED_POSITIVE:
            raise UsageError(
                f"'{name}' needs losses above zero, and those of valley are not; add --problems scaled"
            )
    return options.variants


NEED_POSITIVE = (
    "scale_invariant",
    "geometric_mean",
    "db_mtl",
    "gradnorm",
    "dwa",
    "cosmos",
    "imtl_l",
    "uncertainty",
)


def train(job: Job) -> None:
    """One run: every problem from every start; the distance to the Pareto set over the steps, and the ways."""
    import time

    import torch

    import mtl
    from mtl.data.toy import PROBLEMS
    from recipes.runner import run_directory

    options: Options = job.options
    problems = [PROBLEMS[name] for name in options.problems]
    with run_directory(job, named(problems), "the last step") as run:
        paths, test, began, every = {}, {}, time.perf_counter(), max(1, options.steps // 100)
        for problem in problems:
            ways = torch.stack([walk(job, problem, start, every) for start in problem.starts])  # [S, K, 2]
            gaps = problem.distance(ways)
            for k in range(0, gaps.shape[1], 5):
                row = {problem.name: {"distance": float(gaps[:, k].mean())}}
                run.log(mtl.rows(row, max(1, k * every), epoch=0, split="train"))
            final = gaps[:, -1]
            test[problem.name] = {
                "distance": float(final.mean()),
                "reached": float((final <= NEAR).double().mean()),
            }
            paths[problem.name] = {"points": ways.numpy(), **plane(problem)}
        seconds = time.perf_counter() - began
        run.log(mtl.rows(test, options.steps, epoch=0, split="test"))
        run.save_paths(paths)
        steps = options.steps * sum(len(problem.starts) for problem in problems)
        run.cost(
            train_s=seconds, step_s=seconds / steps, steps=options.steps, parameters=2, peak_memory_mib=0.0
        )
        run.finish(summary={"test": test, "selection": "the last step"})


def walk(job: Job, problem: Any, start: tuple[float, float], every: int) -> Any:
    """The points [K, 2] on the way from ``start``, one each ``every`` steps, with the last."""
    import torch

    import mtl

    class Point(torch.nn.Module):
        """Two numbers, both shared by both losses."""

        tasks = (mtl.Regression("first"), mtl.Regression("second"))

        def __init__(self) -> None:
            super().__init__()
            self.place = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))

        def shared_parameters(self) -> list[torch.nn.Parameter]:
            return [self.place]

    options: Options = job.options
    model, balancer = Point(), mtl.Balancer(job.variant, seed=job.seed, **settings(job.variant))
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    one_each = {"first": 1, "second": 1}
    points = [model.place.detach().clone()]
    for step in range(1, options.steps + 1):
        optimizer.zero_grad()
        first, second = problem.losses(model.place)
        balancer.backward(mtl.Losses({"first": first, "second": second}, one_each), model)
        optimizer.step()
        if balancer.wants_losses_after_step:
            with torch.no_grad():
                first, second = problem.losses(model.place)
            balancer.after_step(mtl.Losses({"first": first, "second": second}, one_each))
        if step % every == 0 or step == options.steps:
            points.append(model.place.detach().clone())
    return torch.stack(points)


def settings(variant: str) -> dict[str, Any]:
    """The options without which a method cannot run here: valley's losses go down to -20."""
    if variant in ("famo", "stch"):
        return {"ideal": [-21.0, -21.0]}
    return {}


def plane(problem: Any) -> dict[str, Any]:
    """The contours of the sum of both losses, each divided by its spread, and the Pareto set."""
    import torch

    left, right, bottom, top = problem.corners
    x, y = torch.linspace(left, right, 60).double(), torch.linspace(bottom, top, 60).double()
    losses = problem.losses(torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1))  # [60, 60, 2]
    surface = (losses / losses.flatten(0, 1).std(dim=0)).sum(dim=-1)
    parts = {"front": problem.pareto(), "x": x, "y": y, "surface": surface}
    return {name: part.numpy() for name, part in parts.items()}


def named(problems: list[Any]) -> Any:
    """The problems as a run directory names its data: each is judged by the mean distance to its Pareto set."""
    import hashlib

    from recipes.runner import Number, Stated, StatedData

    judged = (Number("distance", "length", False), Number("reached", "fraction", True))
    digest = hashlib.sha256(" ".join(problem.name for problem in problems).encode()).hexdigest()
    tasks = tuple(Stated(problem.name, judged, kind="plane", loss_unit="loss") for problem in problems)
    return StatedData("plane", tasks, lambda: digest)
