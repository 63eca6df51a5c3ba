"""TCAV against closed forms and against Captum; its control, its statistics, its mistakes."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from captum._utils.models.linear_model import model as captum_models
from captum.concept import TCAV, Concept
from captum.concept._utils.classifier import Classifier
from sklearn.base import BaseEstimator
from sklearn.linear_model import SGDClassifier
from torch import Tensor, nn

import explain
from explain.concepts import holm
from tests.explain.models import Heads, heads
from tests.explain.test_guards import state


class Curved(nn.Module):
    """Two tasks on units x: x0² rises towards unit 0 where x0 > 0; the other falls towards it everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.units = nn.Identity()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        units = self.units(x)
        return {"square": units[:, 0] ** 2 + 0.01 * units[:, 1], "down": -units[:, 0] + 0.01 * units[:, 1]}


@pytest.fixture
def noise(generator: torch.Generator) -> Tensor:
    return torch.randn(400, 6, generator=generator)


def moved(noise: Tensor, unit: int, by: float) -> Tensor:
    return noise + by * torch.eye(6)[unit]


# ---- closed forms


def test_closed_form(noise: Tensor) -> None:
    """The share of inputs with x0 > 0 for the square, none for the other; and the sign of the concept matters."""
    x = noise[:50]
    concepts = {"right": moved(noise[50:110], 0, 9.0), "left": moved(noise[50:110], 0, -9.0)}
    table = explain.tcav(Curved(), x, concepts, "units", random=noise[110:]).set_index(["task", "concept"])
    share = float((x[:, 0] > 0).double().mean())
    assert table.loc[("square", "right"), "score"] == pytest.approx(share, abs=0.03)
    assert table.loc[("square", "left"), "score"] == pytest.approx(1 - share, abs=0.03)
    assert table.loc[("down", "right"), "score"] == 0
    assert table.loc[("down", "left"), "score"] == 1
    assert (table["accuracy"] > 0.99).all()
    assert table["random_accuracy"].between(0.35, 0.65).all()
    assert table.loc[("down", "right"), "cosine"] == pytest.approx(-1, abs=0.05)
    assert (table["examples"] == 60).all()


# ---- Captum


class Fixed(BaseEstimator):
    """A classifier that knows its normal."""

    def __init__(self, normal: tuple[float, ...] = ()) -> None:
        self.normal = normal

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        self.coef_ = np.array([self.normal])

    def predict(self, x: np.ndarray) -> np.ndarray:
        return (x @ self.coef_[0] > 0).astype(int)


class CaptumFixed(Classifier):
    def __init__(self, normal: Tensor) -> None:
        self.normal = normal

    def train_and_eval(self, dataloader: Any, **options: Any) -> dict[str, Any]:
        return {"accs": torch.tensor(1.0)}

    def weights(self) -> Tensor:
        return torch.stack([self.normal, -self.normal])

    def classes(self) -> list[int]:
        return [0, 1]


class One(nn.Module):
    def __init__(self, model: Heads, task: str) -> None:
        super().__init__()
        self.model, self.task = model, task

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)[self.task]  # type: ignore[index]


@pytest.mark.parametrize("task", ["a", "b"])
def test_equal_to_captum_for_the_same_direction(
    generator: torch.Generator, tmp_path: Path, task: str
) -> None:
    model = heads()
    x, concept, other = (torch.randn(n, 2, 8, 8, generator=generator) for n in (30, 8, 16))
    normal = torch.randn(6 * 64, generator=generator)
    found = explain.tcav(
        model, x, {"c": concept}, "trunk.2", random=other, target={task: 1}, runs=2,
        classifier=Fixed(tuple(normal.tolist())),
    ).set_index("task")  # fmt: skip
    engine = TCAV(
        One(model.eval(), task), "model.trunk.2", classifier=CaptumFixed(normal), save_path=str(tmp_path)
    )
    sides = [Concept(0, "c", [concept]), Concept(1, "r", [other])]
    expected = engine.interpret(x, [sides], target=1)["0-1"]["model.trunk.2"]["sign_count"]
    assert 0 < float(expected[0]) < 1
    assert found.loc[task, "score"] == pytest.approx(float(expected[0]))


def test_the_direction_is_captums(noise: Tensor) -> None:
    """Its classifier on the same examples, with the same kind of loss, finds nearly the same normal."""
    concept, other = moved(noise[:100], 2, 3.0), noise[100:200]
    torch.manual_seed(0)
    theirs = captum_models.SkLearnSGDClassifier(alpha=0.01, max_iter=1000, tol=1e-3, random_state=0)
    rows = torch.utils.data.TensorDataset(
        torch.cat([concept, other]), torch.cat([torch.ones(100), torch.zeros(100)])
    )
    with warnings.catch_warnings():  # of Captum's own making
        warnings.simplefilter("ignore", UserWarning)
        theirs.fit(torch.utils.data.DataLoader(rows, batch_size=200))
    expected = theirs.representation().detach().numpy().reshape(-1)
    for classifier in (None, SGDClassifier(alpha=0.01)):
        found = explain.tcav(
            Linear6(tuple(expected.tolist())), noise[200:210], {"c": concept}, "units", random=noise[100:300],
            classifier=classifier, runs=4,
        )  # fmt: skip
        assert float(found["cosine"].iloc[0]) > 0.95  # the gradient of that model is Captum's normal


class Linear6(nn.Module):
    def __init__(self, weight: tuple[float, ...]) -> None:
        super().__init__()
        self.units = nn.Identity()
        self.weight = torch.tensor(weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.units(x) @ self.weight


# ---- statistics


def test_a_concept_that_is_none(noise: Tensor) -> None:
    """Drawn like the random examples: accuracy of chance, and over 6 draws hardly any false alarms after both tests."""
    alarms = 0
    for draw in range(6):
        order = torch.randperm(400, generator=torch.Generator().manual_seed(draw))
        table = explain.tcav(
            Curved(), noise[:50], {"none": noise[order[:40]]}, "units", "square", random=noise[order[40:200]],
            runs=20, seed=draw,
        )  # fmt: skip
        alarms += int(((table["p_corrected"] < 0.05) & (table["p_rank"] < 0.05)).any())
        assert 0.3 < float(table["accuracy"].iloc[0]) < 0.7
    assert alarms <= 1


def test_parallel_gradients_make_the_t_test_too_sure(noise: Tensor) -> None:
    """One gradient for all inputs: a random direction scores 0 or 1 too, which only the rank says."""
    table = explain.tcav(
        Curved(), noise[:50], {"up": moved(noise[50:90], 0, -9.0)}, "units", "down", random=noise[90:300]
    ).iloc[0]
    assert table["score"] == 1
    assert table["random_sd"] > 0.3
    assert table["p_value"] < 0.05 < table["p_rank"]


def test_holms_correction() -> None:
    """Holm 1979: the smallest times n, the next times n - 1, never falling, at most 1."""
    given = np.array([0.2, 0.001, np.nan, 0.02, 0.9])
    np.testing.assert_allclose(holm(given), [0.4, 0.004, np.nan, 0.06, 0.9])


def test_the_correction_is_over_all_rows(noise: Tensor) -> None:
    concepts = {name: moved(noise[50:90], i, 9.0) for i, name in enumerate(("x", "y", "z"))}
    table = explain.tcav(Curved(), noise[:50], concepts, "units", random=noise[90:300])
    assert len(table) == 6
    np.testing.assert_allclose(table["p_corrected"], holm(table["p_value"].to_numpy()))
    alone = explain.tcav(Curved(), noise[:50], {"y": concepts["y"]}, "units", "square", random=noise[90:300])
    row = table[(table["concept"] == "y") & (table["task"] == "square")].iloc[0]
    pd.testing.assert_series_equal(
        alone.iloc[0].drop("p_corrected"), row.drop("p_corrected"), check_names=False
    )


def test_inputs_without_a_gradient_do_not_count(noise: Tensor) -> None:
    class Dead(Curved):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            units = self.units(x)
            return {"some": units[:, 0].relu(), "none": (units[:, 0] * 0).relu()}

    x = noise[:50]
    table = explain.tcav(Dead(), x, {"c": moved(noise[50:90], 0, 9.0)}, "units", random=noise[90:300])
    some, none = table.set_index("task").loc["some"], table.set_index("task").loc["none"]
    assert some["score"] == 1  # those with x0 < 0 neither rise nor fall
    assert none[["score", "cosine", "p_value", "p_rank"]].isna().all()


# ---- batching, state, mistakes


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.randn(40, 2, 8, 8, generator=generator)


def test_batching_and_seed(images: Tensor) -> None:
    def call(**options: Any) -> pd.DataFrame:
        return explain.tcav(
            heads(), images[:6], {"c": images[6:16]}, "trunk.5", random=images[16:], runs=4, **options
        )

    pd.testing.assert_frame_equal(call(), call(batch_size=5), rtol=1e-4)
    pd.testing.assert_frame_equal(call(seed=3), call(seed=3))
    assert not call(seed=3)["cosine"].equals(call(seed=4)["cosine"])
    by_module = heads()
    table = explain.tcav(
        by_module, images[:6], {"c": images[6:16]}, by_module.trunk[5], "b", random=images[16:], runs=4
    )
    assert table["layer"].tolist() == ["trunk.5"]
    assert table["task"].tolist() == ["b"]


def test_everything_is_as_before(images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing on disk either."""
    monkeypatch.chdir(tmp_path)
    model = heads().train()
    before = state(model, images)
    explain.tcav(model, images[:6], {"c": images[6:16]}, "trunk.2", random=images[16:], runs=2)
    with pytest.raises(KeyError, match="mine"):
        explain.tcav(
            model, images[:6], {"c": images[6:16]}, "trunk.2", random=images[16:], classifier=Broken()
        )
    assert state(model, images) == before
    assert not list(tmp_path.iterdir())


class Broken(Fixed):
    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        raise KeyError("mine")


def test_examples_of_another_shape(noise: Tensor) -> None:
    """Units takes any width; a direction in seven units says nothing of six."""
    wide = torch.cat([noise, noise], 1)[:, :7]
    for inputs, concept, random in ((noise, wide, noise), (wide, noise, noise), (noise, noise, wide)):
        with pytest.raises(ValueError, match="must have one shape"):
            explain.tcav(Curved(), inputs[:5], {"c": concept[:20]}, "units", random=random[20:60])


def call(x: Tensor, **changes: Any) -> Any:
    given = {
        "model": heads(), "inputs": x[:4], "concepts": {"c": x[4:14]}, "layer": "trunk.5", "random": x[14:], "runs": 2
    }  # fmt: skip
    return explain.tcav(**(given | changes))


WRONG: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "few": (lambda x: call(x, concepts={"c": x[:5]}), "concept 'c' needs at least 6 examples, got 5"),
    "few random": (lambda x: call(x, random=x[:11]), "random needs at least 12 examples, got 11"),
    "none": (lambda x: call(x, concepts={}), "at least one, got none"),
    "no names": (lambda x: call(x, concepts=x), "got Tensor"),
    "runs": (lambda x: call(x, runs=1), "runs must be an integer >= 2"),
    "seed": (lambda x: call(x, seed=-1), "seed must be"),
    "layer": (lambda x: call(x, layer="trunk.55"), "did you mean 'trunk.5'"),
    "unused": (lambda x: call(x, layer="heads.0"), "task 'b' does not depend on layer"),
    "shape": (lambda x: call(x, concepts={"c": x[:10, :, :6, :6]}), "cannot take inputs"),
    "constant": (lambda x: call(x, concepts={"c": x[:10] * 0}, random=x * 0), "the same activation for all examples"),
    "no direction": (
        lambda x: call(x, classifier=Fixed((0.0,) * 128)), "the classifier found no direction",
    ),
    "target": (lambda x: call(x, target={"a": 9}), "must be in 0..2"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_named(images: Tensor, case: str) -> None:
    wrong, message = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        wrong(images)
    assert "\n" not in str(caught.value)
