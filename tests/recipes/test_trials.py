"""The queue of trials: real journal files and SQLite files, and workers that are gone."""

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

optuna = pytest.importorskip("optuna")

from recipes.config import UsageError  # noqa: E402
from recipes.sweep.left import left_behind  # noqa: E402
from recipes.sweep.storage import Pulse, connect  # noqa: E402
from recipes.sweep.trials import MOST_KILLS, Queue, Slot, agree  # noqa: E402
from reports.sessions import host, now  # noqa: E402

SPACE = {"lr": optuna.distributions.FloatDistribution(0.0, 1.0)}


def queue(url: str, slots: list[Slot]) -> Queue:
    storage = connect(url)
    study = optuna.create_study(storage=storage, study_name="s", load_if_exists=True)
    return Queue(study, storage, slots, {"trials": len(slots)})


@pytest.fixture(params=["journal", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{tmp_path}/a.journal" if request.param == "journal" else f"sqlite:///{tmp_path}/a.db"


def states(one: Queue) -> list[str]:
    return [trial.state.name for trial in one.now()]


def work(url: str, slots: int, done: Any) -> None:
    """A process that does what waits, without running anything."""
    mine = queue(url, [Slot()] * slots)
    mine.fill()
    while mine.open():
        for waiting in mine.waiting():
            trial = mine.claim(waiting, f"worker:{os.getpid()}")
            if trial is not None:
                mine.tell(trial.number, "COMPLETE", [trial.suggest_float("lr", 0, 1)])
                done.put(trial.user_attrs["slot"])


def test_three_processes_do_every_slot_once(tmp_path: Path) -> None:
    """They fill the queue at the same moment too: an attempt that was enqueued twice is run once."""
    url, context = f"{tmp_path}/a.journal", multiprocessing.get_context("fork")
    done = context.Queue()
    processes = [context.Process(target=work, args=(url, 30, done)) for _ in range(3)]
    for process in processes:
        process.start()
    slots = sorted(done.get(timeout=60) for _ in range(30))
    for process in processes:
        process.join(timeout=60)
    assert slots == list(range(30))
    assert done.empty()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert states(queue(url, [Slot()] * 30)) == ["COMPLETE"] * 30


def test_a_lost_trial_comes_again_with_its_parameters(url: str) -> None:
    mine = queue(url, [Slot(), Slot()])
    mine.fill()
    mine.fill()  # nothing to add
    trial = mine.claim(mine.waiting()[0], "elsewhere:1:1:x")
    lr = trial.suggest_float("lr", 0, 1)
    other = queue(url, [Slot(), Slot()])
    lines = other.recover(lambda worker: worker.startswith("elsewhere"), lambda _: None)
    assert lines == ["trial 0: its worker is gone; it is enqueued again"]
    assert other.recover(lambda _: True, lambda _: None) == []  # once
    assert not mine.tell(trial.number, "COMPLETE", [1.0])  # too late: another had taken it over
    again = other.claim(other.waiting()[0], "me")
    assert again.user_attrs["slot"] == 0
    assert again.user_attrs["attempt"] == 2
    assert again.suggest_float("lr", 0, 1) == lr
    other.tell(again.number, "COMPLETE", [lr])
    assert states(other) == ["COMPLETE", "WAITING"]
    assert len(other.study.trials) == 3


def test_a_run_that_was_done_before_its_worker_died_counts(url: str) -> None:
    mine = queue(url, [Slot()])
    mine.fill()
    mine.claim(mine.waiting()[0], "elsewhere:1:1:x")
    assert mine.recover(lambda _: True, lambda _: [0.5]) == [
        "trial 0: its worker is gone; its run was done, and counts"
    ]
    assert mine.now()[0].values == [0.5]
    assert not mine.open()


@pytest.mark.parametrize("cut", ["before the mark", "after the end"])
def test_a_recovery_that_was_cut_off_is_finished_by_the_next(tmp_path: Path, cut: str) -> None:
    """A kill between the steps of a recovery loses nothing and does nothing twice."""
    mine = queue(f"{tmp_path}/a.journal", [Slot({"lr": 0.25})])
    mine.fill()
    trial = mine.claim(mine.waiting()[0], "elsewhere:1:1:x")
    trial.set_user_attr("lost", True)
    trial.set_user_attr("killed", True)
    if cut == "after the end":
        mine.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    assert mine.open()
    mine.recover(lambda _: True, lambda _: None)
    assert states(mine) == ["WAITING"]
    assert mine.claim(mine.waiting()[0], "me").suggest_float("lr", 0, 1) == 0.25
    assert len(mine.study.trials) == 2


def test_a_trial_that_kills_its_workers_fails_in_the_end(tmp_path: Path) -> None:
    mine = queue(f"{tmp_path}/a.journal", [Slot()])
    mine.fill()
    for _ in range(MOST_KILLS):
        trial = mine.claim(mine.waiting()[0], "me")
        mine.lose(trial.number, "killed by signal 9", killed=True)
    assert not mine.open()
    assert states(mine) == ["FAIL"]
    assert mine.now()[0].user_attrs["why"] == "killed by signal 9"


def test_an_interrupted_trial_may_come_again_any_number_of_times(tmp_path: Path) -> None:
    mine = queue(f"{tmp_path}/a.journal", [Slot()])
    mine.fill()
    for _ in range(MOST_KILLS + 1):
        mine.lose(mine.claim(mine.waiting()[0], "me").number, "interrupted", killed=False)
    assert states(mine) == ["WAITING"]


def test_of_two_enqueued_at_the_same_moment_one_is_run(tmp_path: Path) -> None:
    first, second = (queue(f"{tmp_path}/a.journal", [Slot()]) for _ in range(2))
    first.fill()
    second._enqueue(0, {}, attempt=1, kills=0)
    assert len(first.study.trials) == 2
    assert [trial.number for trial in first.waiting()] == [0]
    assert [trial.number for trial in second.waiting()] == [0]
    first.tell(first.claim(first.waiting()[0], "me").number, "COMPLETE", [0.0])
    assert not second.open()


def test_who_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here by the process, elsewhere by a count of beats that stands still on this machine's clock."""
    study = queue(f"{tmp_path}/a.journal", []).study
    clock = [0.0]
    monkeypatch.setattr("recipes.sweep.storage.time.monotonic", lambda: clock[0])
    me = Pulse(study, lost_after=100)
    process = multiprocessing.get_context("fork").Process(target=signal.pause)
    process.start()
    alive = Pulse(study, lost_after=100).me.split(":")
    field = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
    neighbour = ":".join([alive[0], str(process.pid), field, "x"])
    assert not me.gone(me.me, {})
    assert not me.gone(neighbour, {})
    process.kill()
    process.join()
    assert me.gone(neighbour, {})
    assert me.gone(
        ":".join([alive[0], str(os.getpid()), "123", "x"]), {}
    )  # its number was given to another process
    far = "far:1:2:x"
    beats = {f"beat {far}": 1}
    assert not me.gone(far, beats)
    clock[0] = 90.0
    assert not me.gone(far, {f"beat {far}": 2})
    clock[0] = 180.0
    assert not me.gone(far, {f"beat {far}": 2})
    clock[0] = 191.0
    assert me.gone(far, {f"beat {far}": 2})


@pytest.mark.parametrize(
    ("status", "pid", "worker", "left"),
    [
        ("interrupted", "gone", "far:1:2:x", "resumable"),  # it told its end
        ("running", "gone", "here", "resumable"),  # it was killed
        ("running", "gone", "far:1:2:x", "nothing"),  # it may still write, elsewhere
        ("running", "mine", "here", "alive"),
        ("failed", "gone", "here", "nothing"),
        ("done", "gone", "here", "nothing"),
        ("", "gone", "here", "nothing"),
    ],
)
def test_what_a_lost_trial_leaves_behind(
    tmp_path: Path, status: str, pid: str, worker: str, left: str
) -> None:
    """As the next attempt sees it, through the storage."""
    mine = queue(f"{tmp_path}/a.journal", [Slot({"lr": 0.5})])
    me = Pulse(mine.study, lost_after=100).me if worker == "here" else worker
    mine.fill()
    assert left_behind(mine.waiting()[0], tmp_path) == "nothing"  # the first attempt
    trial = mine.claim(mine.waiting()[0], me)
    trial.set_user_attr("folder", "trials/a")
    run = tmp_path / "trials" / "a" / "run.json"
    run.parent.mkdir(parents=True)
    info = {"pid": os.getpid() if pid == "mine" else 2**22 + 1, "host": host(), "start": now()}
    run.write_text(json.dumps({**info, "status": status}) if status else "{torn")
    mine.lose(trial.number, "killed", killed=True)
    assert left_behind(mine.waiting()[0], tmp_path) == left


def test_beats_are_written_and_read(tmp_path: Path) -> None:
    me = Pulse(queue(f"{tmp_path}/a.journal", []).study, lost_after=100)
    me.beat()
    me.beat()  # not yet again
    assert me.beats() == {f"beat {me.me}": 1}


def test_a_torn_last_line_of_a_journal_is_cut_off(tmp_path: Path) -> None:
    """A full disk, or a kill in the middle of a write; Optuna itself would refuse the file for ever."""
    url = f"{tmp_path}/a.journal"
    queue(url, [Slot()] * 2).fill()
    with Path(url).open("ab") as stream:
        stream.write(b'{"op_code": 4, "wor')
    again = queue(url, [Slot()] * 2)
    again.fill()
    assert states(again) == ["WAITING"] * 2


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("{tmp}/a.log", "--storage must be FILE.journal or a database URL"),
        ("{tmp}/file/a.journal", "cannot be reached: File exists"),
        ("sqlite:///{tmp}/no/a.db", "cannot be reached: unable to open database file"),
        ("postgresql://me:secret@127.0.0.1:1/x", "postgresql://me@127.0.0.1:1/x"),
        ("nonsense://", "nonsense:// "),
        ("{tmp}/text.journal", "is not a journal of a sweep, or was damaged"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line(tmp_path: Path, url: str, words: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "text.journal").write_text("hello\nworld\n")
    with pytest.raises(UsageError) as error:
        connect(url.format(tmp=tmp_path))
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_other_settings_are_refused_with_what_differs() -> None:
    with pytest.raises(UsageError, match=r"trials: 3 there, 4 here\); give the same, or another --storage"):
        agree({"trials": 3, "top": 1}, {"trials": 4, "top": 1}, "a.journal")
