"""Which runs a condition keeps, and what is said where it cannot be understood."""

from pathlib import Path

import pytest

from reports.filters import condition, fields_of, selected
from reports.reading import Run, read_runs
from tests.reports.make import write_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    root = tmp_path_factory.mktemp("runs")
    for experiment, variants in (("digits", ("equal", "upgrad", "lr=0.1")), ("faces", ("equal", "mgda"))):
        for variant in variants:
            for seed in (2, 10):
                config = {
                    "lr": 0.1 if seed == 2 else "1e-3",
                    "net": {"depth": 3, "deep": seed > 2},
                    "note": None,
                }
                config["methods"] = ["gradient", "lrp"] if variant == "equal" else ["gradient"]
                write_run(
                    root / experiment, variant, seed, {"left": {"accuracy": 0.5}}, maps=False, config=config,
                    experiment={"name": experiment},
                )  # fmt: skip
    return read_runs(root)


def kept(runs: list[Run], *where: str) -> set[tuple[str, str, int]]:
    return {(str(run.info["experiment"]["name"])[0], run.variant, run.seed) for run in selected(runs, where)}


@pytest.mark.parametrize(("where", "count"), [
    ("variant=equal", 4), ("variant=equal,upgrad", 6), ("variant!=equal", 6), ("variant!=equal,mgda", 4),
    ("variant=*grad", 2), ("variant=[em]*", 6), ("variant=lr=0.1", 2), ("variant == equal ", 4),
    ("seed=2", 5), ("seed=2.0", 5), ("seed<10", 5), ("seed<=10", 10), ("seed>2", 5), ("seed>=11,", 0), ("seed!=2", 5),
    ("experiment=digits", 6), ("status=done", 10), ("task=left", 10), ("task!=left", 0), ("folder=faces", 4),
    ("folder=*/digits", 6), ("run=equal--s2", 2), ("config.lr=0.1", 5), ("config.lr=0.001", 5), ("config.lr<0.01", 5),
    ("config.net.depth=3", 10), ("config.net.deep=true", 5), ("config.net.deep=True", 5), ("config.note=null", 10),
    ("config.methods=lrp", 4), ("config.methods!=lrp", 6), ("cost.steps=2", 10), ("data.toy=sha256:*", 10),
    ("start>=2020-01-01", 10), ("start<2020", 0), ("wall_s<1e6", 10),
])  # fmt: skip
def test_each_condition_keeps_what_it_says(runs: list[Run], where: str, count: int) -> None:
    if "11" in where or count == 0:
        with pytest.raises(ValueError, match=r"leaves none of 10 runs|compares numbers"):
            selected(runs, where)
    else:
        assert len(selected(runs, where)) == count


def test_all_conditions_must_hold_and_the_order_stays(runs: list[Run]) -> None:
    assert kept(runs, "variant=equal", "seed<3", "experiment=faces") == {("f", "equal", 2)}
    assert selected(runs, ()) == runs
    assert selected(runs, "seed>=0") == runs


def test_a_field_that_some_runs_lack_is_equal_to_nothing(runs: list[Run]) -> None:
    extra = Run(runs[0].path, {**runs[0].info, "host": "node7"})
    others = [Run(run.path, {k: v for k, v in run.info.items() if k != "host"}) for run in runs[1:]]
    assert selected([extra, *others], "host=node7") == [extra]
    assert selected([extra, *others], "host!=node7") == others


@pytest.mark.parametrize(("where", "told"), [
    (["vairant=equal"], "no field 'vairant'; did you mean 'variant'? known: experiment, variant, seed"),
    (["config.ler=1"], "did you mean 'config.lr'?"),
    (["nothing"], "'nothing' is no condition: write FIELD=VALUE"),
    (["=equal"], "is no condition"),
    ([""], "is no condition"),
    (["seed<three"], "< compares numbers, got 'three'"),
    (["seed<1,2"], "< compares numbers, got '1,2'"),
    (["seed=7"], "'seed=7' leaves none of 10 runs; seed: 2, 10"),
    (["variant=equal", "variant=mgda"], "'variant=mgda' leaves none of 4 runs; variant: equal"),
    (["variant=Equal"], "variant: equal, lr=0.1, mgda, upgrad"),
])  # fmt: skip
def test_what_cannot_be_chosen_is_one_clear_line(runs: list[Run], where: list[str], told: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the words are compared below
        selected(runs, where)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_every_field_can_be_asked_for_by_its_own_value(runs: list[Run], tmp_path: Path) -> None:
    """Whatever a run holds, ``field=value`` finds it: the fields are no list that can go stale."""
    run = runs[0]
    for name, value in fields_of(run).items():
        for one in value if isinstance(value, list) else [value]:
            if "," not in str(one):
                told = "null" if one is None else str(one)
                assert condition(f"{name}={told}").holds(fields_of(run)), name
