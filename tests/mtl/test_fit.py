"""The training loop: reproducible, honest about its rule, and gentle when it is stopped."""

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import mtl
from mtl.training.interrupts import Signals
from mtl.training.selection import Selection

TASKS = (mtl.Classification("sign", classes=2), mtl.Regression("sum"))


def table(rows: int, seed: int = 0) -> mtl.TaskData:
    """Three numbers a row; the sign of the first, and the sum of all."""
    inputs = torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed))
    return mtl.TaskData(inputs, {"sign": (inputs[:, 0] > 0).long(), "sum": inputs.sum(dim=1)})


def model(seed: int = 0, dropout: float = 0.0) -> mtl.MultiTaskModel:
    with mtl.seeded(seed):
        return mtl.MultiTaskModel(mtl.backbone("mlp", in_features=3, hidden=(8,), dropout=dropout), TASKS)


def weights(m: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in m.parameters()])


@pytest.mark.parametrize("balancer", ["equal", "uncertainty", "pcgrad", "upgrad"])
def test_learns_and_is_reproducible(balancer: str) -> None:
    state = torch.random.get_rng_state()
    results = [
        mtl.fit(model(dropout=0.1), table(256), table(64, 1), steps=150, lr=0.02, balancer=balancer, seed=3)
        for _ in range(2)
    ]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(weights(results[0].model), weights(results[1].model))
    scores = mtl.evaluate(results[0].model, table(200, 2))
    assert scores["sign"]["accuracy"] > 0.9
    assert scores["sum"]["r2"] > 0.8


def test_equals_a_loop_written_by_hand() -> None:
    """Same batches, same optimizer: the loop adds nothing of its own."""
    data, by_hand = table(40), model()
    result = mtl.fit(
        model(), data, steps=1, batch_size=40, optimizer="sgd", lr=0.1, weight_decay=0.0, schedule="constant"
    )
    losses = by_hand.losses(by_hand(data.inputs), data.targets)
    sum(losses.values()).backward()
    with torch.no_grad():
        for p in by_hand.parameters():
            p -= 0.1 * p.grad
    torch.testing.assert_close(weights(result.model), weights(by_hand), rtol=1e-6, atol=1e-7)


def test_measuring_the_gradients_changes_nothing() -> None:
    plain = mtl.fit(model(), table(64), steps=8, dynamics_every=None, balancer="pcgrad")
    measured = mtl.fit(model(), table(64), steps=8, dynamics_every=2, balancer="pcgrad")
    assert torch.equal(weights(plain.model), weights(measured.model))
    arrays = measured.dynamics.arrays()
    assert list(arrays["step"]) == [1, 3, 5, 7]
    assert arrays["cosines"].shape == (4, 2, 2)


def test_streams_are_independent() -> None:
    """More draws in one stream (dropout) leave the data order as it was."""
    seen: dict[float, list[torch.Tensor]] = {0.0: [], 0.5: []}
    for rate, batches in seen.items():

        def keep(
            inputs: torch.Tensor, _: torch.Generator, batches: list[torch.Tensor] = batches
        ) -> torch.Tensor:
            batches.append(inputs.clone())
            return inputs

        mtl.fit(model(dropout=rate), table(64), steps=6, batch_size=16, augment=keep)
    assert all(torch.equal(a, b) for a, b in zip(*seen.values(), strict=True))
    assert not torch.equal(seen[0.0][0], seen[0.0][1])


def test_every_epoch_sees_every_row_once() -> None:
    rows: list[torch.Tensor] = []

    def keep(inputs: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        rows.append(inputs[:, 0])
        return inputs

    data = table(10)
    mtl.fit(model(), data, epochs=2, batch_size=4, augment=keep)
    assert [len(r) for r in rows] == [4, 4, 2, 4, 4, 2]
    for epoch in (rows[:3], rows[3:]):
        assert torch.equal(torch.cat(epoch).sort().values, data.inputs[:, 0].sort().values)


def test_the_selected_weights_are_those_of_the_best_validation() -> None:
    """A learning rate that destroys the model after a good start: best is kept, last is not."""
    good = mtl.fit(model(), table(256), table(64, 1), steps=60, lr=0.02, validate_every=20)
    assert good.selection == "lowest sum of validation losses"
    sums: dict[int, float] = {}
    for row in good.records:
        if row["split"] == "validation" and row["metric"] == "loss":
            sums[row["step"]] = sums.get(row["step"], 0.0) + row["value"]
    assert good.best_step == min(sums, key=lambda step: sums[step])
    again = mtl.evaluate(good.model, table(64, 1))
    assert sum(s["loss"] for s in again.values()) == pytest.approx(sums[good.best_step])

    wild = lambda optimizer, steps: torch.optim.lr_scheduler.LambdaLR(  # noqa: E731
        optimizer, lambda step: 1.0 if step < 40 else 300.0
    )
    bad = mtl.fit(model(), table(256), table(64, 1), steps=60, lr=0.02, validate_every=20, schedule=wild)
    assert bad.best_step == 40
    assert sum(s["loss"] for s in mtl.evaluate(bad.model, table(64, 1)).values()) < 2


def test_selection_rules() -> None:
    accuracy = [mtl.Classification("a", classes=2), mtl.Classification("b", classes=3)]
    selection = Selection("auto", accuracy, has_validation=True)
    assert selection.rule == "best mean over tasks of the validation accuracy"
    scores = [
        {"a": {"accuracy": a}, "b": {"accuracy": b}}
        for a, b in [(0.5, 0.5), (0.9, 0.2), (0.4, 0.6), (0.1, 1)]
    ]
    assert [selection.improves(s) for s in scores] == [True, True, False, False]
    rmse = Selection("metric", [mtl.Regression("r")], has_validation=True)
    assert [rmse.improves({"r": {"rmse": v}}) for v in (2.0, 3.0, 1.0)] == [True, False, True]
    assert Selection("auto", TASKS, has_validation=False).rule == "the last step"
    with pytest.raises(ValueError, match="needs tasks that share their primary metric"):
        Selection("metric", TASKS, has_validation=True)
    with pytest.raises(ValueError, match="needs validation data"):
        Selection("loss", TASKS, has_validation=False)
    with pytest.raises(ValueError, match="did you mean 'metric'"):
        Selection("metrics", TASKS, has_validation=True)


def test_a_validation_loss_that_is_not_finite_is_never_the_best() -> None:
    selection = Selection("loss", TASKS[:1], has_validation=True)
    assert [selection.improves({"sign": {"loss": v}}) for v in (math.nan, 5.0, math.nan)] == [
        False,
        True,
        False,
    ]


def test_a_task_without_labels_in_some_batches() -> None:
    data = table(32)
    half = mtl.TaskData(
        data.inputs,
        {"sign": data.targets["sign"], "sum": data.targets["sum"].where(torch.arange(32) < 8, math.nan)},
    )
    result = mtl.fit(model(), half, half, steps=16, batch_size=4, balancer="upgrad", dynamics_every=1)
    assert result.steps == 16
    losses = result.dynamics.arrays()["losses"]
    assert bool((losses[:, 1] != losses[:, 1]).any())  # NaN where the task took no part
    assert bool((losses[:, 0] == losses[:, 0]).all())


def test_data_sets_and_loaders_of_torch() -> None:
    class Pairs(torch.utils.data.Dataset):
        def __init__(self, data: mtl.TaskData) -> None:
            self.data = data

        def __len__(self) -> int:
            return len(self.data)

        def __getitem__(self, row: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            return self.data.inputs[row], {name: t[row] for name, t in self.data.targets.items()}

    in_memory = mtl.fit(model(), table(20), table(8, 1), steps=3, batch_size=20)
    mapped = mtl.fit(model(), Pairs(table(20)), Pairs(table(8, 1)), steps=3, batch_size=20)
    loaded = mtl.fit(
        model(), DataLoader(Pairs(table(20)), batch_size=20), DataLoader(Pairs(table(8, 1))), steps=3
    )
    torch.testing.assert_close(weights(in_memory.model), weights(mapped.model))
    torch.testing.assert_close(weights(in_memory.model), weights(loaded.model))
    with pytest.raises(TypeError, match=r"a batch must be \(inputs, \{task: targets\}\), got"):
        mtl.fit(model(), TensorDataset(torch.zeros(4, 3)), steps=1)
    with pytest.raises(TypeError, match="TaskData, a map-style Dataset or a DataLoader, got int"):
        mtl.fit(model(), 3, steps=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 1, "steps": 1}, "epochs or steps, not both"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
        ({"optimizer": "adamm"}, "no optimizer 'adamm'; did you mean 'adam'"),
        ({"schedule": "one-cycle"}, "no schedule 'one-cycle'; did you mean 'one_cycle'"),
        ({"balancer": "upgrd"}, "no balancer 'upgrd'; did you mean 'upgrad'"),
        ({"lr": 0.0}, "lr must be > 0"),
        ({"validate_every": 0}, "validate_every must be >= 1"),
        ({"dynamics_every": -1}, "dynamics_every must be >= 1"),
        ({"optimizer": torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)}, "does not hold all trainable"),
        ({"seed": -1}, "seed must be >= 0"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mtl.fit(model(), table(8), **options)


def test_labels_out_of_range_are_found_before_training() -> None:
    data = table(8)
    wrong = mtl.TaskData(data.inputs, {**data.targets, "sign": torch.full((8,), 2)})
    with pytest.raises(ValueError, match=r"validation data: task 'sign': class targets must be in 0\.\.1"):
        mtl.fit(model(), data, wrong, steps=1)


def test_a_loss_that_is_not_finite_names_task_and_step() -> None:
    data = table(8)
    far = mtl.TaskData(data.inputs, {**data.targets, "sum": torch.full((8,), 1e30)})
    with pytest.raises(ValueError, match=r"step 1: .*'sum'"):
        mtl.fit(model(), far, steps=3)


def test_checkpoints_hold_the_weights(tmp_path: Path) -> None:
    result = mtl.fit(
        model(), table(64), table(16, 1), steps=20, validate_every=5, checkpoints=tmp_path, lr=0.02
    )
    fresh = model(seed=9)
    mtl.load_weights(tmp_path / "best", fresh)
    assert torch.equal(weights(fresh), weights(result.model))
    state = torch.load(tmp_path / "last" / "state.pt", weights_only=True)
    assert state["step"] == 20
    assert not list(tmp_path.rglob("*.tmp"))
    with pytest.raises(ValueError, match=r"model.safetensors is missing"):
        mtl.load_weights(tmp_path / "none", fresh)
    (tmp_path / "best" / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match="does not fit this model or is damaged"):
        mtl.load_weights(tmp_path / "best", fresh)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT as Python has it, also where the tests run in the background and a shell made them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_it_suits(number: signal.Signals) -> None:
    """One that fell between the best weights in memory and their file left the two of different steps."""
    done = []
    signals, before = Signals(), signal.getsignal(number)

    def work() -> None:
        with signals.holding():
            os.kill(os.getpid(), number)
            time.sleep(0.05)
            done.append("written")
            signals.obey()

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["written"]
    assert signal.getsignal(number) is before


@pytest.mark.usefixtures("interruptible")
def test_a_handler_of_before_is_asked() -> None:
    """Someone who deals with the signal himself (a cluster's launcher) keeps the run."""
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    try:
        signals = Signals()
        with signals.holding():
            signal.raise_signal(signal.SIGTERM)
            assert not seen
            signals.obey()
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_leaves_a_usable_run(tmp_path: Path) -> None:
    """A real SIGINT in the middle of training."""
    m = model()
    started = threading.Event()

    def observe(_: mtl.MultiTaskModel, __: int) -> list[mtl.Record]:
        started.set()
        return []

    def interrupt() -> None:
        started.wait(timeout=30)
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(mtl.Interrupted, match=r"interrupted after \d+ steps") as stop:
        mtl.fit(
            m,
            table(64),
            table(16, 1),
            steps=10_000_000,
            validate_every=10,
            checkpoints=tmp_path,
            observe=observe,
        )
    result = stop.value.result
    assert result.interrupted
    assert 0 < result.best_step <= result.steps
    fresh = model(seed=9)
    mtl.load_weights(tmp_path / "best", fresh)
    assert torch.equal(weights(fresh), weights(m))


def test_records_reach_the_log_as_they_come() -> None:
    logged: list[mtl.Record] = []
    result = mtl.fit(model(), table(64), table(16, 1), steps=10, validate_every=5, log=logged.extend)
    assert logged == result.records
    assert {(r["step"], r["split"]) for r in logged} == {
        (s, n) for s in (5, 10) for n in ("train", "validation")
    }


def test_evaluate_leaves_modes_as_they_were() -> None:
    m = model(dropout=0.5)
    m.train()
    m.backbone[1].eval()
    mtl.evaluate(m, table(8))
    assert m.training
    assert not m.backbone[1].training


def test_channels_last_gives_the_same_numbers() -> None:
    data = mtl.dataset("multimnist", train=64, validation=32, test=32)

    def fitted(channels_last: bool) -> torch.Tensor:
        with mtl.seeded(0):
            m = mtl.MultiTaskModel(mtl.backbone("cnn", image_size=36), data.tasks)
        return weights(mtl.fit(m, data.train, steps=2, channels_last=channels_last).model)

    torch.testing.assert_close(fitted(True), fitted(False), rtol=1e-3, atol=2e-5)
