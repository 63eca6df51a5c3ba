"""Randomisation of parameters, of the class and of the data; the verdict in words."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

import explain
from explain.methods import METHODS
from explain.methods.gradients import input_gradients
from explain.metrics.cascade import randomise
from explain.sanity_checks import _judged
from explain.scorer import Scorer
from tests.explain.models import Linear, heads
from tests.explain.test_guards import Fails, state

METRICS = ["parameter_randomisation", "random_logit"]


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.randn(4, 2, 8, 8, generator=generator)


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """A method that mixes the tasks, which the check of other tasks' layers must catch."""

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        maps = input_gradients(scorer, inputs)
        return [sum(maps[1:], start=maps[0]) for _ in maps]


@dataclass(frozen=True, kw_only=True)
class FirstLayer:
    """A method that looks at the first convolution's weights only."""

    layer: nn.Module

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        scorer(inputs)
        assert self.layer in list(scorer.model.modules())  # of the copy, where the model is one
        return [inputs * self.layer.weight.detach().mean(dim=(0, 2, 3))[:, None, None] for _ in scorer.tasks]


@pytest.fixture(autouse=True)
def _methods() -> Iterator[None]:
    METHODS["mixed"], METHODS["first_layer"] = Mixed, FirstLayer
    yield
    del METHODS["mixed"], METHODS["first_layer"]


def values(frame: pd.DataFrame) -> Tensor:
    return torch.tensor(frame["value"].to_numpy())


def test_the_cascade_against_a_slow_reference(images: Tensor) -> None:
    """By hand: randomise, explain each task alone, correlate with scipy; the untouched model is not in the mean."""
    model, order = heads().eval(), [["heads.0", "heads.1", "heads.2"], ["trunk.4"], ["trunk.1"], ["trunk.0"]]
    maps = explain.saliency(model, images)
    classes = {task: out.argmax(1) for task, out in model(images).items() if out.shape[1] > 1}
    twin, expected = copy.deepcopy(model), {(task, b): [] for task in maps for b in range(4)}
    for names in order:
        randomise(twin, names, seed=3)
        for task in maps:
            again = explain.saliency(twin, images, task, target=classes)
            for b in range(4):
                pair = maps[task][b].flatten(), again[b].flatten()
                expected[task, b].append(scipy.stats.spearmanr(*pair).statistic)
    frame = explain.evaluate(
        model, images, maps, metrics="parameter_randomisation", method="gradient", seed=3, controls=()
    )
    for row in frame.itertuples():
        assert row.value == pytest.approx(sum(expected[row.task, row.example]) / 4, abs=1e-6)
    curve = explain.randomisation_curve(model, images, seed=3)
    for row in curve.itertuples():
        assert row.signed == pytest.approx(expected[row.task, row.example][row.step - 1], abs=1e-6)
    assert curve.groupby("task")["layers"].unique().map(list)["b"] == [
        "heads.1",
        "trunk.4",
        "trunk.1",
        "trunk.0",
    ]


def test_controls_do_not_change_and_a_gradient_does(images: Tensor) -> None:
    model = heads()
    maps = explain.saliency(model, images)
    frame = explain.evaluate(
        model, images, maps, metrics=METRICS, method="gradient", controls=("random", "image", "edges")
    )
    of = frame.groupby(["metric", "map"])["value"]
    for metric in METRICS:
        for control in ("random", "image", "edges"):
            assert of.mean()[metric, control] == pytest.approx(1)
        assert abs(of.mean()[metric, "given"]) < 0.5
    assert (frame["higher_is_better"] == False).all()  # noqa: E712


def test_absolute_values_of_input_times_gradient_stay_alike(images: Tensor) -> None:
    model, ink = heads(), images * (torch.rand_like(images) < 0.2)
    maps = explain.saliency(model, ink, method="input_x_gradient")

    def mean(**options: object) -> float:
        frame = explain.evaluate(
            model, ink, maps, metrics="parameter_randomisation", method="input_x_gradient", controls=(),
            options={"parameter_randomisation": options},
        )  # fmt: skip
        return float(frame["value"].mean())

    assert abs(mean()) < 0.3
    assert mean(absolute=True) > 0.8
    assert mean(similarity="cosine", absolute=True) < mean(absolute=True)
    assert mean(draws=2) != mean()
    assert mean(order="bottom_up") != mean()


def test_the_order_bottom_up_starts_at_the_input(images: Tensor) -> None:
    curve = explain.randomisation_curve(heads(), images, order="bottom_up")
    assert curve[curve["task"] == "a"].groupby("step")["layers"].first().tolist() == [
        "trunk.0", "trunk.1", "trunk.4", "heads.0",
    ]  # fmt: skip
    few = explain.randomisation_curve(heads(), images, steps=2)
    assert few[few["task"] == "a"].groupby("step")["layers"].first().tolist() == [
        "heads.0", "trunk.4, trunk.1, trunk.0",
    ]  # fmt: skip


def test_another_tasks_head_changes_nothing(images: Tensor) -> None:
    for method, verdict in (("gradient", "passes"), ("grad_cam", "passes"), ("mixed", "fails")):
        table = explain.sanity(heads(), images, method=method, draws=1)
        other = table[table["check"] == "other layers"]
        assert (other["verdict"] == verdict).all()
        assert (other["value"] == 0).all() == (verdict == "passes")
    assert table["words"].iloc[-1].endswith("depends on layers that the task does not use")


def test_a_task_explained_alone_has_the_same_score(images: Tensor) -> None:
    model = heads()
    maps = explain.saliency(model, images)
    given = {"metrics": METRICS, "method": "gradient", "controls": ()}
    whole = explain.evaluate(model, images, maps, **given)
    alone = explain.evaluate(model, images, {"b": maps["b"]}, **given)
    torch.testing.assert_close(values(alone), values(whole[whole["task"] == "b"]), rtol=1e-5, atol=1e-6)


def test_an_option_that_is_a_layer_is_that_of_the_copy(images: Tensor) -> None:
    model = heads()
    table = explain.sanity(
        model,
        images,
        method="first_layer",
        method_options={"layer": model.trunk[0]},
        draws=1,
        similarity="cosine",
    )
    found = table[table["task"] == "a"].set_index("check")["value"]
    assert found["last layer"] == pytest.approx(1)
    assert found["all layers"] < 0.999
    by_name = explain.randomisation_curve(
        model, images, method="grad_cam", method_options={"layer": "trunk.4"}
    )
    by_module = explain.randomisation_curve(
        model, images, method="grad_cam", method_options={"layer": model.trunk[4]}
    )
    pd.testing.assert_frame_equal(by_name, by_module)


@pytest.mark.parametrize("method", ["gradient", "smoothgrad"])
def test_numbers_do_not_depend_on_batches_or_other_examples(images: Tensor, method: str) -> None:
    model = heads()
    maps = explain.saliency(model, images, method=method)
    given = {"metrics": METRICS, "method": method, "controls": ()}
    whole = explain.evaluate(model, images, maps, **given)
    for size in (1, 3):
        again = explain.evaluate(model, images, maps, batch_size=size, **given)
        torch.testing.assert_close(values(again), values(whole), rtol=1e-4, atol=1e-5, equal_nan=True)
    few = explain.evaluate(model, images[:2], {task: m[:2] for task, m in maps.items()}, **given)
    torch.testing.assert_close(
        values(few), values(whole[whole["example"] < 2]), rtol=1e-4, atol=1e-5, equal_nan=True
    )


def test_everything_is_as_before_also_after_an_exception(images: Tensor) -> None:
    for at in (None, 1, 2, 3, 4, 6, 8):  # which forward pass of the model or of a copy fails
        model = heads().train()
        model.trunk[1].eval()
        model.trunk[0].weight.requires_grad_(False)
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        if at is not None:
            model.trunk.insert(3, Fails(at))
        before = state(model, images)
        before["attributes"] = None
        try:
            explain.sanity(model, images, draws=1)
            assert at is None or at > 3  # a copy counts for itself
        except KeyError:
            assert at is not None
        assert state(model, images) | {"attributes": None} == before


def test_random_logit_in_closed_form(generator: torch.Generator) -> None:
    """Of two classes the other one is drawn: the cosine of the two rows of weights. One value has no other class."""
    x = torch.randn(3, 3, generator=generator)
    frame = explain.evaluate(
        Linear(), x, explain.saliency(Linear(), x), metrics="random_logit", method="gradient", controls=(),
        options={"random_logit": {"similarity": "cosine"}},
    )  # fmt: skip
    by_task = frame.groupby("task")["value"]
    assert by_task.apply(list)["left"] == pytest.approx([(4 - 10 - 18) / (14 * 77) ** 0.5] * 3)
    assert by_task.get_group("right").isna().all()


def test_random_logit_draws_every_other_class_and_never_the_explained_one() -> None:
    """With the unit vectors as weights, a map is the class that it explains."""
    model = nn.Linear(4, 4, bias=False)
    model.weight.data.copy_(torch.eye(4))
    x = torch.eye(4).repeat(25, 1)
    explained: list[int] = []

    @dataclass(frozen=True, kw_only=True)
    class Spy:
        def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
            maps = input_gradients(scorer, inputs)
            explained.extend(maps[0].argmax(1).tolist())
            return maps

    METHODS["spy"] = Spy
    try:
        maps = explain.saliency(model, x, method="spy")
        explain.evaluate(model, x, maps, metrics="random_logit", method="spy", controls=())
    finally:
        del METHODS["spy"]
    pairs = set(zip(x.argmax(1).tolist(), explained[-100:], strict=True))
    assert pairs == {(one, other) for one in range(4) for other in range(4) if one != other}


def test_data_randomisation_in_closed_form(generator: torch.Generator) -> None:
    """Linear models: the cosine of the weights of the class that the first model predicts."""
    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    x = torch.randn(5, 3, generator=generator)
    frame = explain.data_randomisation(one, other, x, similarity="cosine")
    classes = one(x).argmax(1)
    a, b = one.weight.detach()[classes], other.weight.detach()[classes]
    assert frame["signed"].tolist() == pytest.approx(torch.cosine_similarity(a, b).tolist(), abs=1e-6)
    assert frame["absolute"].tolist() == pytest.approx(
        torch.cosine_similarity(a.abs(), b.abs()).tolist(), abs=1e-6
    )
    with pytest.raises(ValueError, match="got the same one twice"):
        explain.data_randomisation(one, one, x)
    with pytest.raises(
        ValueError, match=r"must give the same outputs, .*\{'output': \[2\]\} and \{'output': \[3\]\}"
    ):
        explain.data_randomisation(one, nn.Linear(3, 3), x)
    with pytest.raises(ValueError, match="randomised_model cannot take the inputs"):
        explain.data_randomisation(one, nn.Linear(4, 2), x)
    with pytest.raises(TypeError, match=r"randomised_model must be an nn\.Module, got int"):
        explain.data_randomisation(one, 1, x)  # type: ignore[arg-type]


def test_the_verdict_in_words() -> None:
    nan = float("nan")

    def words(
        last: float, every: float, other: float, mixed: float, absolute: float = 0.0
    ) -> tuple[str, str]:
        checks = {
            "last layer": (last, 0.0),
            "all layers": (every, absolute),
            "another class": (other, nan),
            "other layers": (mixed, nan),
        }
        row = _judged("a", checks)[-1]
        assert row["check"] == "all"
        return row["verdict"], row["words"]

    assert words(0.5, -0.9, nan, 0.0)[0] == "passes"
    assert "its signs alone" not in words(0, 0, 0, 0)[1]
    assert words(0, 0, 0, 0, absolute=0.99)[1].endswith(
        "by its signs alone: its absolute value stays alike (0.99), and shows the input"
    )
    assert words(0.6, 0, 0, 0) == ("in doubt", "keeps much of itself when the task's last layer is random")
    assert words(0.6, 0, 0.9, 0) == ("fails", "is the same whatever the class")
    assert words(0, 0, 0, 1e-9) == ("fails", "depends on layers that the task does not use")
    assert words(0.9, 0.9, 0, 0)[1].count(";") == 1
    assert words(nan, nan, nan, nan) == ("not defined", "")


def test_several_inputs_and_a_deep_model(generator: torch.Generator) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.text = nn.Linear(9, 32), nn.Linear(5, 32)
            self.last = nn.Linear(32, 3)

        def forward(self, image: Tensor, text: Tensor) -> Tensor:
            return self.last((self.image(image.flatten(1)) + self.text(text)).relu())

    inputs = (torch.randn(3, 1, 3, 3, generator=generator), torch.randn(3, 5, generator=generator))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Two()
    curve = explain.randomisation_curve(model, inputs)
    assert curve.groupby("step")["layers"].first().tolist() == ["last", "text", "image"]
    assert curve["signed"].notna().all()


def test_mistakes_are_named(images: Tensor) -> None:
    model = heads()
    for call, match in (
        (lambda: explain.sanity(model, images, method="gradent"), "did you mean 'gradient'"),
        (
            lambda: explain.sanity(model, images, method_options={"x": 1}),
            "no option of method 'gradient' 'x'",
        ),
        (lambda: explain.sanity(model, images, similarity="spearmann"), "did you mean 'spearman'"),
        (lambda: explain.sanity(model, images, draws=0), "draws must be an integer >= 1, got 0"),
        (lambda: explain.sanity(model, images, steps=0), "steps must be an integer >= 1, got 0"),
        (lambda: explain.sanity(model, images, seed=-1), "seed must be an integer >= 0"),
        (lambda: explain.sanity(model, images, batch_size=0), "batch_size must be an integer >= 1"),
        (lambda: explain.sanity(model, images, target={"d": 1}), "no task 'd'"),
        (lambda: explain.randomisation_curve(model, images, order="down"), "no order 'down'"),
        (
            lambda: explain.sanity(nn.Flatten(), images, target=0),
            r"scores of \['output'\] depend on no parameter",
        ),
    ):
        with pytest.raises(ValueError, match=match):
            call()
    with pytest.raises(TypeError, match=r"model must be an nn\.Module, got int"):
        explain.sanity(1, images)  # type: ignore[arg-type]


def test_a_map_that_its_method_refuses_for_the_random_model_is_named(images: Tensor) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Refuses:
        def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
            if not bool((scorer.model.trunk[4].weight == weight).all()):
                raise ValueError("refuses: the map does not add up")
            return input_gradients(scorer, inputs)

    model = heads()
    weight = model.trunk[4].weight.detach().clone()
    METHODS["refuses"] = Refuses
    try:
        with pytest.raises(
            ValueError, match=r"random weights in heads.0, .*, trunk.4: refuses: the map does not"
        ):
            explain.randomisation_curve(model, images, method="refuses")
    finally:
        del METHODS["refuses"]
