"""Max-sensitivity and local Lipschitz: closed forms, a slow reference, fixed targets, shared explanations."""

import pytest
import scipy.stats
import torch
from torch import Tensor, nn

import explain
from explain.metrics.robustness import STREAM, nearby
from tests.explain.models import Heads, heads

BOTH = ["max_sensitivity", "local_lipschitz"]


def scores(model: nn.Module, inputs: object, method: str, **options: object) -> dict[tuple[str, str], Tensor]:
    """{(metric, task): [B]} of the maps that the method gives."""
    maps = explain.saliency(model, inputs, method=method)
    frame = explain.evaluate(
        model, inputs, maps, metrics=BOTH, method=method, controls=(), options=dict.fromkeys(BOTH, options)
    )
    return {key: torch.tensor(part["value"].to_numpy()) for key, part in frame.groupby(["metric", "task"])}


class Square(nn.Module):
    """Half the square of each input, summed: its gradient is the input itself."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"square": x.square().flatten(1).sum(1) / 2, "sum": x.flatten(1).sum(1)}


def test_closed_forms(generator: torch.Generator) -> None:
    """The map of `square` moves as the input does; that of `sum` is constant."""
    x = torch.rand(3, 2, 4, 4, generator=generator, dtype=torch.float64)
    found = scores(Square(), x, "gradient", samples=4, radius=0.1)
    assert found["local_lipschitz", "square"].tolist() == pytest.approx([1, 1, 1])
    moved = [nearby(x, 0.1, 0, 0, STREAM + sample) for sample in range(4)]
    expected = torch.stack([(m - x).flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1) for m in moved]).amax(0)
    torch.testing.assert_close(found["max_sensitivity", "square"], expected)
    assert found["max_sensitivity", "sum"].tolist() == [0, 0, 0]
    assert found["local_lipschitz", "sum"].tolist() == [0, 0, 0]


def test_against_a_slow_reference(generator: torch.Generator) -> None:
    model, x = heads(), torch.randn(3, 2, 8, 8, generator=generator)
    found = scores(model, x, "input_x_gradient", samples=3, radius=0.05)
    classes = {task: out.argmax(1) for task, out in model.eval()(x).items() if out.shape[1] > 1}
    for task in ("a", "b", "c"):
        for b in range(3):
            relative, ratio = 0.0, 0.0
            one = explain.saliency(
                model,
                x[b : b + 1],
                task,
                method="input_x_gradient",
                target={k: c[b : b + 1] for k, c in classes.items()},
            )
            for sample in range(3):
                x2 = nearby(x[b : b + 1], 0.05, 0, b, STREAM + sample)
                other = explain.saliency(
                    model,
                    x2,
                    task,
                    method="input_x_gradient",
                    target={k: c[b : b + 1] for k, c in classes.items()},
                )
                change = float((other - one).norm())
                relative = max(relative, change / float(one.norm()))
                ratio = max(ratio, change / float((x2 - x[b : b + 1]).norm()))
            assert found["max_sensitivity", task][b].item() == pytest.approx(relative, rel=1e-4)
            assert found["local_lipschitz", task][b].item() == pytest.approx(ratio, rel=1e-4)


def test_the_explained_class_stays_that_of_the_clean_input() -> None:
    """A prediction that flips under the noise must not look like an unstable map."""
    x = torch.tensor([[1.0, 0.9999, -1.0]])
    model = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.eye(2, 3))
    flips = [int(model(nearby(x, 0.1, 0, 0, STREAM + s))[0].argmax()) for s in range(10)]
    assert set(flips) == {0, 1}
    assert scores(model, x, "gradient", radius=0.1)["max_sensitivity", "output"].item() == 0


def test_noise_is_uniform_within_each_examples_range(generator: torch.Generator) -> None:
    x = torch.rand(2, 1, 40, 40, generator=generator) * torch.tensor([1.0, 100.0]).reshape(2, 1, 1, 1)
    noise = nearby(x, 0.05, 0, 0, 7) - x
    for b in range(2):
        reach = 0.05 * float(x[b].max() - x[b].min())
        assert float(noise[b].abs().max()) <= reach * 1.001
        scaled = (noise[b].flatten() / reach).double().numpy()
        assert scipy.stats.kstest(scaled, scipy.stats.uniform(-1, 2).cdf).pvalue > 0.01
    alone = nearby(x[1:], 0.05, 0, 1, 7) - x[1:]
    assert torch.equal(alone, noise[1:])


def test_an_input_without_range_and_a_zero_map() -> None:
    x = torch.zeros(1, 2, 4, 4)
    found = scores(Square(), x, "gradient")
    assert found["max_sensitivity", "square"].isnan().all()  # a zero map
    assert found["local_lipschitz", "square"].isnan().all()  # no inputs nearby


def test_numbers_do_not_depend_on_batches_or_other_examples(generator: torch.Generator) -> None:
    model, x = heads(), torch.randn(5, 2, 8, 8, generator=generator)
    maps = explain.saliency(model, x, method="smoothgrad", samples=3)
    given = {"metrics": BOTH, "method": "smoothgrad", "method_options": {"samples": 3}}
    whole = explain.evaluate(model, x, maps, **given)
    for size in (1, 2):
        again = explain.evaluate(model, x, maps, batch_size=size, **given)
        assert again["value"].to_numpy() == pytest.approx(whole["value"].to_numpy(), rel=1e-5, abs=1e-7)
    few = explain.evaluate(model, x[:2], {task: m[:2] for task, m in maps.items()}, **given)
    own = whole[whole["example"] < 2]
    assert few["value"].to_numpy() == pytest.approx(own["value"].to_numpy(), rel=1e-5, abs=1e-7)


def test_both_metrics_and_all_tasks_share_the_explanations(generator: torch.Generator) -> None:
    model, x = heads(), torch.randn(4, 2, 8, 8, generator=generator)
    maps = explain.saliency(model, x)

    def forwards(metrics: list[str], model: Heads = model) -> int:
        before = model.forwards
        explain.evaluate(
            model,
            x,
            maps,
            metrics=metrics,
            method="gradient",
            controls=(),
            options={m: {"samples": 6} for m in metrics},
        )
        return model.forwards - before

    assert forwards(BOTH) == forwards(BOTH[:1]) == 1 + 1 + 6  # targets, the same maps again, samples


def test_several_inputs_move_within_their_own_ranges(generator: torch.Generator) -> None:
    class Two(nn.Module):
        def forward(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
            return {
                "both": image.square().flatten(1).sum(1) + text.square().sum(1),
                "text": text.square().sum(1),
            }

    image = torch.rand(2, 1, 3, 3, generator=generator, dtype=torch.float64) * 1e6
    text = torch.rand(2, 5, generator=generator, dtype=torch.float64)
    found = scores(Two(), (image, text), "gradient")
    assert found["local_lipschitz", "both"].tolist() == pytest.approx([2, 2])
    assert (found["max_sensitivity", "text"] < 0.1).all()  # by a millionfold more, were its range the image's


@pytest.mark.parametrize("metric", BOTH)
def test_mistakes_are_named(metric: str) -> None:
    x = torch.rand(2, 1, 3, 3)
    for options, match in (
        ({"samples": 0}, f"{metric}: samples must be an integer >= 1, got 0"),
        ({"radius": 0.0}, f"{metric}: radius must be a finite fraction > 0"),
        ({"radius": float("nan")}, "radius must be"),
    ):
        with pytest.raises(ValueError, match=match):
            explain.evaluate(
                Square(), x, {"sum": x}, metrics=metric, method="gradient", options={metric: options}
            )
    with pytest.raises(ValueError, match="give method="):
        explain.evaluate(Square(), x, {"sum": x}, metrics=metric)
    with pytest.raises(ValueError, match="gives another map of task 'square'"):
        explain.evaluate(Square(), x, {"square": 2 * x}, metrics=metric, method="gradient")
