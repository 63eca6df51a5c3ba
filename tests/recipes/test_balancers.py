"""The two recipes about balancing, small."""

from pathlib import Path

import numpy as np
import pytest

import mtl
import reports
from mtl.data.toy import PROBLEMS
from recipes.__main__ import main


def test_a_way_per_problem_and_start(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    assert (
        main(
            ["balancers_toy", "--out", str(out), "--steps", "300", "--variants", "equal", "nash_mtl", "mgda"]
        )
        == 0
    )
    runs = {run.variant: run for run in reports.read_runs(out)}
    paths = runs["nash_mtl"].paths
    assert set(paths) == {"valley", "quadratic", "scaled"}
    assert paths["valley"]["points"].shape == (7, 101, 2)
    np.testing.assert_allclose(paths["valley"]["points"][:, 0], PROBLEMS["valley"].starts)
    summary = runs["nash_mtl"].summary["test"]
    assert summary["quadratic"]["reached"] == summary["scaled"]["reached"] == 1.0
    assert not runs["nash_mtl"].problems
    charts = {chart.key for chart in reports.load(out / "report.html").every_chart()}
    assert {"ways-equal", "ways-nash_mtl", "ways-mgda"} <= charts


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_pareto_set_is_stationary(name: str) -> None:
    """At each of its points a convex combination of the gradients is zero, to the last digit of the search."""
    torch = pytest.importorskip("torch")
    problem = PROBLEMS[name]
    for point in problem.pareto()[1:-1:20]:
        point = point.clone().requires_grad_()
        losses = problem.losses(point)
        J = torch.stack([torch.autograd.grad(losses[k], point, retain_graph=True)[0] for k in (0, 1)])
        assert mtl.combine(J, "mgda").norm() <= 1e-6 * J.norm()
    assert problem.distance(problem.pareto()[3]) < 1e-12


# of each: a direction of zero means a Pareto-stationary point (two of the ten that claim it, for the sake of time)
STATIONARY = ("upgrad", "aligned_mtl")


@pytest.mark.slow
def test_methods_that_claim_it_reach_the_front_from_all_published_starts(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    command = [
        "balancers_toy", "--out", str(out), "--problems", "valley", "--steps", "1500", "--lr", "0.1",
        "--variants", *STATIONARY,
    ]  # fmt: skip
    assert main(command) == 0
    reached = {run.variant: run.summary["test"]["valley"]["reached"] for run in reports.read_runs(out)}
    assert reached == dict.fromkeys(STATIONARY, 1.0)


def test_the_plain_sum_gets_stuck_where_the_papers_say() -> None:
    """With steps as short as the papers', from three of the starts: Adam oscillates at the bottom of a ravine.

    On `scaled` it ends at the steep loss's own minimum, whatever the start.
    """
    torch = pytest.importorskip("torch")

    def ends(name: str, lr: float, steps: int) -> torch.Tensor:
        places = torch.nn.Parameter(torch.tensor(PROBLEMS[name].starts, dtype=torch.float64))
        optimizer = torch.optim.Adam([places], lr=lr)  # each number by itself, so all starts at once
        for _ in range(steps):
            optimizer.zero_grad()
            PROBLEMS[name].losses(places).sum().backward()
            optimizer.step()
        return places.detach()

    stuck = PROBLEMS["valley"].distance(ends("valley", lr=3e-3, steps=6000)) > 3
    assert [PROBLEMS["valley"].starts[k] for k in stuck.nonzero()] == [(-8.5, 7.5), (-8.5, 5.0), (9.0, 9.0)]
    assert (ends("scaled", lr=0.05, steps=2000) - torch.tensor([1.0, 0.0])).abs().max() < 0.05


def test_the_tuned_sum_is_chosen_by_validation_and_methods_get_the_same_seconds(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    command = [
        "balancers", "--out", str(out), "--steps", "4", "--train", "128", "--seeds", "0",
        "--variants", "tuned_sum", "equal", "upgrad", "--budgets", "steps", "seconds", "--lrs", "1e-3", "6e-3",
        "--shares", "0.4", "0.6",
    ]  # fmt: skip
    assert main(command) == 0
    runs = {run.variant: run for run in reports.read_runs(out)}
    assert set(runs) == {
        f"{name}{suffix}" for name in ("tuned_sum", "equal", "upgrad") for suffix in ("", "@seconds")
    }
    tested = runs["tuned_sum"].summary["test"]["left"]
    assert tested["candidates"] == 4
    assert tested["learning_rate"] in (1e-3, 6e-3)
    assert runs["upgrad@seconds"].info["cost"]["steps"] <= runs["upgrad"].info["cost"]["steps"] == 4
    assert "Mean rank among 6 variants" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("arguments", "message"), [
    (["balancers_toy", "--variants", "mgad"], "did you mean 'mgda'"),
    (["balancers_toy", "--variants", "dwa"], "needs losses above zero"),
    (["balancers_toy", "--problems", "vale"], "did you mean 'valley'"),
    (["balancers", "--variants", "tuned"], "did you mean 'tuned_sum'"),
    (["balancers", "--shares", "1.5"], "shares must be between 0 and 1"),
    (["balancers", "--lrs", "0"], "lrs must be numbers above zero"),
    (["balancers", "--budgets", "hours"], "steps, seconds"),
])  # fmt: skip
def test_mistakes_are_one_line_and_status_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
