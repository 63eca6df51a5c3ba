"""A resumed training is the uninterrupted one, bit for bit on a CPU, whenever it was ended."""

import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler

import mtl
from mtl.training.checkpoint import load_state, save_checkpoint
from tests.mtl.resumed import (
    PRECISIONS,
    STEPS,
    CutError,
    contents,
    cut_at,
    fit,
    jitter,
    model,
    same,
    table,
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before, handler = torch.get_num_threads(), signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    signal.signal(signal.SIGINT, handler)


def fail() -> None:
    raise CutError


def crash(folder: Path, step: int, balancer: str = "equal", **changes: Any) -> None:
    """A session that ends with an exception in its step ``step``; the checkpoint is of an earlier one."""
    with pytest.raises(CutError):
        fit(folder, balancer, augment=cut_at(step, fail), **changes)


@pytest.mark.parametrize("how", PRECISIONS, ids=str)
@pytest.mark.parametrize("balancer", mtl.BALANCERS)
def test_every_balancer_goes_on_as_if_nothing_had_happened(
    balancer: str, how: dict[str, Any], tmp_path: Path
) -> None:
    """Ended by an error in the second epoch, by Ctrl-C in the third: neither is at the end of an epoch."""
    whole_run = contents(fit(None, balancer, **how))
    crash(tmp_path, 10, balancer, **how)
    assert load_state(tmp_path / "last")["step"] == 7
    with pytest.raises(mtl.Interrupted):
        fit(tmp_path, balancer, augment=cut_at(11, lambda: signal.raise_signal(signal.SIGINT)), **how)
    assert load_state(tmp_path / "last")["step"] == 18
    result = fit(tmp_path, balancer, **how)
    assert same(contents(result), whole_run)
    assert len(result.records) == len(
        {(r["step"], r["split"], r["task"], r["metric"]) for r in result.records}
    )


def test_the_comparison_can_fail() -> None:
    assert not same(contents(fit(None)), contents(fit(None, seed=4)))
    assert not same(torch.tensor([1.0]), torch.tensor([1.0 + 1e-7]))


def test_a_finished_training_gives_its_result_at_once(tmp_path: Path) -> None:
    first = fit(tmp_path)
    written, logged = stamps(tmp_path), list[mtl.Record]()
    again = fit(tmp_path, augment=cut_at(1, fail), log=logged.extend)
    assert same(contents(again), contents(first))
    assert logged == first.records
    assert (again.train_s, again.step_s) == (first.train_s, first.step_s)
    assert stamps(tmp_path) == written


def stamps(folder: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in folder.rglob("*.*")}


def test_a_validation_that_a_signal_cuts_short_is_made_up_for(tmp_path: Path) -> None:
    """A cluster's warning leaves no time for a long validation; the training goes on with it."""

    def terminate(_: mtl.MultiTaskModel, step: int) -> list[mtl.Record]:
        if step == 14:
            torch.rand(3)  # what an observer draws is drawn again
            signal.raise_signal(signal.SIGTERM)
            raise AssertionError("the signal ends this at once")
        return []

    with pytest.raises(mtl.Interrupted) as stop:
        fit(tmp_path, observe=terminate)
    assert stop.value.signal is signal.SIGTERM
    assert load_state(tmp_path / "last")["validated"] == 7
    assert same(contents(fit(tmp_path)), contents(fit(None)))


class Pairs(torch.utils.data.Dataset):
    """Examples that tell when they are read."""

    def __init__(self, data: mtl.TaskData) -> None:
        self.data, self.read = data, list[int]()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        self.read.append(row)
        noise = 0.1 * torch.rand(3)  # from the stream `train`, as transforms draw
        return self.data.inputs[row] + noise, {name: t[row] for name, t in self.data.targets.items()}


def a_loader(data: Pairs, workers: int = 0) -> DataLoader:
    return DataLoader(data, batch_size=16, shuffle=True, num_workers=workers)


def a_loader_with_generators(data: Pairs) -> DataLoader:
    draw, own = torch.Generator().manual_seed(5), torch.Generator().manual_seed(6)
    return DataLoader(data, batch_size=16, sampler=RandomSampler(data, True, generator=draw), generator=own)


KINDS: dict[str, Callable[[Pairs], Any]] = {
    "dataset": lambda data: data,
    "loader": a_loader,
    "loader with generators": a_loader_with_generators,
    "loader with workers": lambda data: a_loader(data, workers=1),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", [17, 21])  # in an epoch, and at the end of one
def test_every_kind_of_data_goes_on_with_the_next_batch(kind: str, cut: int, tmp_path: Path) -> None:
    def trained(folder: Path | None, end: int = -1) -> tuple[mtl.FitResult, Pairs]:
        data = Pairs(table(100, 0))
        augment = cut_at(end, lambda: signal.raise_signal(signal.SIGINT))
        how: dict[str, Any] = {
            "steps": 28,
            "batch_size": 16,
            "lr": 0.02,
            "augment": augment,
            "progress": False,
        }
        resume = folder is not None
        return mtl.fit(model(), KINDS[kind](data), checkpoints=folder, resume=resume, **how), data

    expected, _ = trained(None)
    with pytest.raises(mtl.Interrupted):
        trained(tmp_path, cut)
    result, data = trained(tmp_path)
    assert same(contents(result), contents(expected))
    if kind == "dataset":
        left = 28 - cut
        assert len(data.read) == (left // 7) * 100 + (
            left % 7 and (left % 7 - 1) * 16 + 4
        )  # none of it twice


def test_only_what_is_allowed_may_differ(tmp_path: Path) -> None:
    crash(tmp_path, 10)
    message = (
        r"cannot resume .*last: optimizer.lr was 0.02, is 0.03, seed was 3, is 4; give what it was started with, or "
        r"train into another folder$"
    )
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, lr=0.03, seed=4)
    for changes, message in (
        ({"balancer": "upgrad"}, "balancer.name was 'equal', is 'upgrad'"),
        ({"balancer": mtl.Balancer("equal", match_norm=True)}, "balancer.match_norm was False, is True"),
        ({"batch_size": 32}, r"batch_size was 16, is 32.*allow_change=\['steps', 'batch_size'"),
        ({"schedule": "cosine"}, "schedule was 'one_cycle', is 'cosine'"),
        ({"optimizer": "sgd"}, "optimizer.name was 'AdamW', is 'SGD'"),
        ({"select": "last"}, "select was 'loss', is 'last'"),
        ({"augment": None}, "augment was 'jitter', is None"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(tmp_path, **changes)
    with pytest.raises(ValueError, match=r"train.length was 100, is 90, train.sha256 was"):
        mtl.fit(model(), table(90, 0), table(40, 1), steps=STEPS, checkpoints=tmp_path, resume=True)
    with pytest.raises(ValueError, match=r"no change 'lr'; .*known: steps"):
        fit(tmp_path, lr=0.03, allow_change=("lr",))
    longer = fit(tmp_path, lr=0.03, epochs=5, allow_change=("optimizer", "steps"))
    assert longer.steps == 35
    assert load_state(tmp_path / "last")["asked"]["optimizer"]["lr"] == 0.03
    assert fit(tmp_path, lr=0.03, epochs=5).steps == 35
    with pytest.raises(ValueError, match="it has done 35 steps, more than the 7 asked for"):
        fit(tmp_path, lr=0.03, epochs=1, allow_change=("steps",))


def test_tied_weights_come_back_tied(tmp_path: Path) -> None:
    def tied() -> mtl.MultiTaskModel:
        m = model()
        m.heads[2].weight = m.heads[1].weight
        return m

    def trained(**options: Any) -> mtl.FitResult:
        return mtl.fit(
            tied(), table(100, 0), table(40, 1), epochs=2, batch_size=16, progress=False, **options
        )

    with pytest.raises(CutError):
        trained(checkpoints=tmp_path, augment=cut_at(9, fail))
    expected = trained(augment=jitter)
    result = trained(checkpoints=tmp_path, augment=jitter, resume=True)
    assert result.model.heads[2].weight is result.model.heads[1].weight
    assert same(contents(result), contents(expected))


def test_states_that_no_checkpoint_can_hold(tmp_path: Path) -> None:
    class Steps:
        def step(self) -> None:
            pass

    class Strange(torch.optim.SGD):
        def state_dict(self) -> dict[str, Any]:
            return {**super().state_dict(), "self": self}

    with pytest.raises(TypeError, match=r"the schedule is a .*Steps without state_dict\(\)"):
        fit(tmp_path, schedule=Steps())
    assert fit(None, schedule=Steps()).steps == STEPS
    with pytest.raises(TypeError, match=r"the state_dict of the optimizer\['self'\] is a .*Strange"):
        fit(tmp_path, optimizer=lambda parameters: Strange(parameters, lr=0.01))
    with pytest.raises(ValueError, match="resume=True needs checkpoints="):
        fit(None, resume=True)


@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_a_set_of_files_is_never_mixed(moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the first, between the two and after both renames of a replacement."""
    folder, m = tmp_path / "last", model()
    save_checkpoint(folder, m, {"step": 1})
    renamed, rename = [], Path.rename

    def killed(self: Path, target: Path) -> Path:
        if len(renamed) == ["before", "between", "after"].index(moment):
            raise KeyboardInterrupt
        renamed.append(target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", killed)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: fail())  # a kill in the clean-up
    with pytest.raises((KeyboardInterrupt, OSError, CutError)):
        save_checkpoint(folder, m, {"step": 2})
    monkeypatch.undo()
    assert load_state(folder)["step"] == (1 if moment == "before" else 2)
    save_checkpoint(folder, m, {"step": 3})
    assert load_state(folder)["step"] == 3
    assert [file.name for file in tmp_path.iterdir()] == ["last"]


def test_a_kill_between_last_and_best_is_mended(tmp_path: Path) -> None:
    crash(tmp_path, 8)
    shutil.copytree(tmp_path / "best", tmp_path / "kept")
    crash(tmp_path, 8)  # in the third epoch
    if load_state(tmp_path / "last")["best"]["step"] == 14:  # the second validation was better
        shutil.rmtree(tmp_path / "best")
        (tmp_path / "kept").rename(tmp_path / "best")
    assert same(contents(fit(tmp_path)), contents(fit(None)))


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


DAMAGES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "torn weights": ("last/model.safetensors", cut_short, r"last/model.safetensors is damaged"),
    "torn state": ("last/state.pt", cut_short, r"last/state.pt is damaged"),
    "no state": ("last/state.pt", Path.unlink, r"last is incomplete: state.pt is missing"),
    "no weights": (
        "last/model.safetensors",
        Path.unlink,
        r"last is incomplete: model.safetensors is missing",
    ),
    "torn best": ("best/model.safetensors", cut_short, r"best/model.safetensors is damaged"),
    "no best": ("best/model.safetensors", Path.unlink, r"best must hold the weights of step 7"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(damage: str, tmp_path: Path) -> None:
    name, harm, message = DAMAGES[damage]
    with pytest.raises(mtl.Interrupted):
        fit(tmp_path, augment=cut_at(10, lambda: signal.raise_signal(signal.SIGINT)))
    harm(tmp_path / name)
    with pytest.raises(ValueError, match=message):
        fit(tmp_path)


def test_the_best_checkpoint_can_take_the_place_of_a_damaged_last(tmp_path: Path) -> None:
    crash(tmp_path, 10)
    shutil.rmtree(tmp_path / "last")
    shutil.copytree(tmp_path / "best", tmp_path / "last")
    assert same(contents(fit(tmp_path)), contents(fit(None)))


def test_a_signal_in_the_last_step(tmp_path: Path) -> None:
    with pytest.raises(mtl.Interrupted, match=f"after {STEPS} steps"):
        fit(tmp_path, augment=cut_at(STEPS, lambda: signal.raise_signal(signal.SIGTERM)))
    assert same(contents(fit(tmp_path, augment=cut_at(1, fail))), contents(fit(None)))


def test_files_of_two_steps_are_refused(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path / str(step), model(), {"step": step})
    shutil.copy(tmp_path / "1" / "state.pt", tmp_path / "2" / "state.pt")
    with pytest.raises(ValueError, match=r"state.pt is of step 1, model.safetensors of step 2"):
        load_state(tmp_path / "2")


@contextmanager
def no_room_above(size: int) -> Iterator[None]:
    """A limit on the size of files fails a write in the middle, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("limit", "file"), [(100, "model.safetensors"), (6000, "state.pt")])
def test_a_full_disk_leaves_the_checkpoint_of_before(limit: int, file: str, tmp_path: Path) -> None:
    crash(tmp_path, 10)
    before = {kept: kept.read_bytes() for kept in tmp_path.rglob("*.*") if kept.is_file()}
    message = (
        f"cannot write the checkpoint {tmp_path / 'last.new' / file}: .*; the checkpoint of before is intact"
    )
    with no_room_above(limit), pytest.raises(OSError, match=message):
        fit(tmp_path)
    assert {kept: kept.read_bytes() for kept in tmp_path.rglob("*.*") if kept.is_file()} == before
    assert same(contents(fit(tmp_path)), contents(fit(None)))


def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        OSError, match=r"cannot write the checkpoint .*file/checkpoints/last.new: .*Not a directory"
    ):
        fit(tmp_path / "file" / "checkpoints")
