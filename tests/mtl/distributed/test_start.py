"""How processes find each other, and how they end."""

import pytest

from mtl.distributed import start
from tests.mtl.distributed.endings import train_to_the_end, train_until_one_fails
from tests.mtl.distributed.processes import started


@pytest.mark.parametrize("failing", [0, 1])
def test_where_one_process_fails_all_end_and_say_which(failing: int) -> None:
    ends = started(train_until_one_fails, 2, failing)
    line = f"rank {failing} of 2 failed: OSError: the disk is gone"
    assert [end.status for end in ends] == [1, 1]
    assert f"{line}; all ranks end" in ends[failing].err
    other = ends[1 - failing].err.strip().splitlines()[-1]
    assert other in (f"RuntimeError: {line}", "RuntimeError: rank 1 of 2 lost the others: one has ended"), (
        other
    )


def test_processes_join_and_part() -> None:
    ends = started(train_to_the_end, 2)
    assert [(end.status, end.out, end.err) for end in ends] == [(0, "4 steps\n", ""), (0, "", "")]


def test_an_environment_that_is_half_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="torchrun"), start():
        pass
