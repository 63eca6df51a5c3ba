"""`mtl.fit` among several processes."""

from pathlib import Path

import pytest

from tests.mtl.distributed.processes import together
from tests.mtl.distributed.runs import fitted, looked_at, resumed, written
from tests.mtl.distributed.test_equal import difference


@pytest.mark.parametrize("world", [2, 3])
def test_several_processes_train_as_one_does(world: int) -> None:
    one, ranks = fitted(), together(fitted, world)
    for found in ranks:
        assert {name: d for name in one if not (d := difference(found[name], one[name])) < 1e-6} == {}


def test_the_first_process_writes_and_mistakes_are_told_to_all() -> None:
    first, second = together(written, 2)
    assert first["files"] == ["best", "last"]
    assert second["files"] == []
    assert first["logged"] == first["records"] == second["records"] > 0
    assert second["logged"] == 0
    assert first["classes"] == second["classes"]
    assert "BatchNorm1d" in first["classes"]  # put back
    assert first["steps"] == second["steps"] == 4
    assert first["epochs"] == second["epochs"] == 2
    assert not bool((first["draws"] == second["draws"]).any())
    refused = first["refused"]
    assert set(refused) == set(second["refused"])
    assert "DistributedSampler" in refused["loader"]
    assert "rank 0 has" in refused["seeds"]
    assert "rank 1 has" in refused["models"]
    assert "mtl.Losses" in refused["plain dict"]
    assert "the loss of task 'sum' is nan" in refused["one rank's NaN"]
    assert "'sum'" in refused["no loss on one"]
    assert refused["an error on one"] == "rank 0 stops: another process refuses its losses, and says why"
    assert "no task 'size'" in second["refused"]["an error on one"]
    assert "the balancer's method" in refused["two methods"]
    assert "batch normalisation needs two values" in refused["one row to normalise"]


def test_a_signal_to_one_stops_all_after_the_same_step(tmp_path: Path) -> None:
    """And what is resumed equals the run that was never stopped, bit for bit."""
    whole = together(resumed, 2, False, str(tmp_path / "whole"))
    stopped = together(resumed, 2, True, str(tmp_path / "stopped"))
    for one, other in zip(whole, stopped, strict=True):
        assert difference(one, other) == 0


def test_scores_are_shared_out() -> None:
    """17 rows for one and 16 for the other: nobody looks at all of them."""
    assert together(looked_at, 2) == [[17, 17], [16, 16]]
