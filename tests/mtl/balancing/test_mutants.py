"""Every formula with a sign, a comparison, an index, an axis or a number changed is noticed by a case or a probe."""

import itertools
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import mtl
from mtl.balancing import adam, methods, solvers
from mtl.balancing.method import Method
from tests.mtl.balancing.equivalent import EQUIVALENT, ROUNDING
from tests.mtl.balancing.mutate import Mutant, at_most, functions, load, mutants
from tests.mtl.balancing.probes import PROBES
from tests.mtl.balancing.scenarios import CASES, expected, gap, outcome

CLOSE = 1e-5
LIMIT_S = 60.0  # for one mutant; without a loop that does not end it takes a second or less
METHODS = {
    file.stem: import_module(f"{methods.__name__}.{file.stem}")
    for file in sorted(Path(methods.__path__[0]).glob("*.py"))
    if file.stem not in ("__init__", "own")
}
MODULES = {**METHODS, "solvers": solvers, "adam": adam}
SOURCES = {name: Path(str(module.__file__)).read_text(encoding="utf-8") for name, module in MODULES.items()}
PARTS = [(name, part) for name, source in SOURCES.items() for part in functions(source)]
# no operator, comparison, index or number in them: other files have their formula
WITHOUT = {"equal", "static", "imtl_l"}


def made(name: str, part: str) -> list[Mutant]:
    return list(mutants(SOURCES[name], str(MODULES[name].__file__), part))


def holds(name: str, kind: type[Method]) -> bool:
    """Whether the method answers in every case what its reference does."""
    for number, (options, steps) in enumerate(CASES[name]):
        if not gap(outcome(kind(**options), steps), expected(name, number), steps) <= CLOSE:
            return False
    return True


def survives(name: str, changed: ModuleType, patch: pytest.MonkeyPatch) -> bool:
    """Whether no probe and no case of the methods that use the file sees a difference to the original."""
    users: Iterable[str] = [name]
    if name in METHODS:
        kinds = {name: getattr(changed, mtl.BALANCERS[name].__name__)}
    else:
        users = [user for user, module in METHODS.items() if _replace(module, MODULES[name], changed, patch)]
        kinds = {user: mtl.BALANCERS[user] for user in users}
    try:
        with at_most(LIMIT_S):
            for probe in PROBES.get(name, []):
                probe(changed)
            return all(holds(user, kinds[user]) for user in users)
    except Exception:  # whatever it raises, it is noticed
        return False


def _replace(user: ModuleType, original: ModuleType, changed: ModuleType, patch: pytest.MonkeyPatch) -> bool:
    """Give ``user`` the changed functions in place of those it has from the original; whether there are any."""
    own = [
        name
        for name, value in vars(user).items()
        if value is vars(original).get(name) and getattr(value, "__module__", "") == original.__name__
    ]
    for name in own:
        patch.setattr(user, name, getattr(changed, name))
    return bool(own)


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_mutants_are_noticed(name: str, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    left = []
    for mutant in made(name, part):
        with monkeypatch.context() as patch:
            if survives(name, load(mutant, MODULES[name]), patch):
                left.append(mutant.label)
    known = {key: why for key, why in EQUIVALENT.get(name, {}).items() if key.startswith(f"{part}: ")}
    either = {key for key, why in known.items() if why == ROUNDING}
    assert sorted(set(left) - either) == sorted(set(known) - either)


@pytest.mark.parametrize("name", MODULES)
def test_a_file_without_a_change_goes_unnoticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    same = Mutant("", compile(SOURCES[name], str(MODULES[name].__file__), "exec"))
    assert survives(name, load(same, MODULES[name]), monkeypatch)


def test_every_file_has_mutants_and_every_exception_its_function() -> None:
    assert {
        name for name in MODULES if not any(made(name, part) for own, part in PARTS if own == name)
    } == WITHOUT
    assert set(PROBES) <= set(MODULES)
    assert {(name, key.split(":")[0]) for name, known in EQUIVALENT.items() for key in known} <= set(PARTS)
    assert all(reason for known in EQUIVALENT.values() for reason in known.values())


def test_the_kinds_of_changes() -> None:
    source = '''
def f(x, y, n=3):
    """One + one."""
    check_number("f", 1 + 1)
    if n < 2:
        raise ValueError(f"{n + 1}")
    return -x.T + min(x, y)[:, None] * x.sum(dim=0).clamp(max=5e-7)
'''
    assert [mutant.label.removeprefix("f: ") for mutant in mutants(source, "f.py", "f")] == [
        "if n > 2:",
        "if n < 3:",
        "return -x.T - min(x, y)[:, None] * x.sum(dim=0).clamp(max=5e-07)",
        "return x.T + min(x, y)[:, None] * x.sum(dim=0).clamp(max=5e-07)",
        "return -x + min(x, y)[:, None] * x.sum(dim=0).clamp(max=5e-07)",
        "return -x.T + min(x, y)[:, None] / x.sum(dim=0).clamp(max=5e-07)",
        "return -x.T + min(x, y)[None, :] * x.sum(dim=0).clamp(max=5e-07)",
        "return -x.T + max(x, y)[:, None] * x.sum(dim=0).clamp(max=5e-07)",
        "return -x.T + min(x, y)[:, None] * x.mean(dim=0).clamp(max=5e-07)",
        "return -x.T + min(x, y)[:, None] * x.sum(dim=1).clamp(max=5e-07)",
        "return -x.T + min(x, y)[:, None] * x.sum(dim=0).clamp(min=5e-07)",
    ]


def test_a_loop_without_an_end_is_stopped() -> None:
    with pytest.raises(TimeoutError), at_most(0.05):
        sum(1 for _ in itertools.count())
