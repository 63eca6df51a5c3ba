"""The model is left as it was, and every mistake is one clear line."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import explain
from tests.explain.models import Heads, heads


@pytest.fixture
def model() -> Heads:
    return heads().train()


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.randn(3, 2, 8, 8, generator=generator)


def state(model: nn.Module, images: Tensor) -> dict[str, Any]:
    return {
        "modes": [m.training for m in model.modules()],
        "hooks": [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for m in model.modules()
        ],
        "attributes": [sorted(vars(m)) for m in model.modules()],
        "requires": [p.requires_grad for p in model.parameters()] + [images.requires_grad],
        "grads": [None if p.grad is None else p.grad.clone().tolist() for p in model.parameters()]
        + [images.grad],
        "values": [v.tolist() for v in model.state_dict().values()] + [images.tolist()],
        "rng": (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()),  # noqa: NPY002
        "grad_mode": torch.is_grad_enabled(),
    }


@pytest.mark.parametrize("method", explain.METHODS)
@pytest.mark.parametrize("grad", [True, False])
def test_everything_is_as_before(model: Heads, images: Tensor, method: str, grad: bool) -> None:
    model.trunk[1].eval()  # one frozen module in a model in train mode stays so
    next(model.parameters()).requires_grad_(False)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    with torch.set_grad_enabled(grad):
        before = state(model, images)
        explain.saliency(model, images, method=method)
        assert state(model, images) == before


class Fails(nn.Module):
    """A layer that raises in the n-th forward pass."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            raise KeyError("from inside the model")
        return x


@pytest.mark.parametrize("method", explain.METHODS)
def test_everything_is_as_before_after_an_exception(model: Heads, images: Tensor, method: str) -> None:
    """In the first, the second and a later layer of the first pass, and in a later pass where there is one."""
    for place in (0, 3, 7):
        for at in (1, 2):
            broken = heads().train()
            broken.trunk.insert(place, Fails(at))
            before = state(broken, images)
            before["attributes"] = None
            try:
                explain.saliency(broken, images, method=method)
            except KeyError:
                pass
            else:
                assert at == 2  # a method of one pass
            after = state(broken, images)
            after["attributes"] = None
            assert after == before


def test_eval_mode_inside(model: Heads, images: Tensor) -> None:
    """Dropout and batch statistics would make a map depend on chance and on the other images."""
    one = explain.saliency(model, images[:1])["a"]
    torch.testing.assert_close(explain.saliency(model, images)["a"][:1], one)


def test_inside_inference_mode_and_autocast(model: Heads, images: Tensor) -> None:
    expected = explain.saliency(model, images)["a"]
    with torch.inference_mode():
        torch.testing.assert_close(explain.saliency(model, images.clone())["a"], expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(explain.saliency(model, images)["a"], expected)


def test_the_same_seed_gives_the_same_bytes(model: Heads, images: Tensor) -> None:
    for method in ("smoothgrad", "random"):
        one, two, other = (explain.saliency(model, images, "a", method=method, seed=s) for s in (1, 1, 2))
        assert torch.equal(one, two)
        assert not torch.equal(one, other)


def dense(output: Tensor) -> Tensor:
    return output


WRONG: dict[str, tuple[Callable[[Heads, Tensor], Any], str]] = {
    "method": (lambda m, x: explain.saliency(m, x, method="gradent"), "did you mean 'gradient'"),
    "option": (lambda m, x: explain.saliency(m, x, method="grad_cam", layr="x"), "did you mean 'layer'"),
    "task": (lambda m, x: explain.saliency(m, x, "aa"), "no task 'aa'; did you mean 'a'"),
    "task in target": (lambda m, x: explain.saliency(m, x, target={"d": 1}), "no task 'd'"),
    "class too high": (lambda m, x: explain.saliency(m, x, "a", target=3), "'a': target classes must be in 0..2"),
    "class -1": (lambda m, x: explain.saliency(m, x, "a", target=[0, -1, 0]), "got -1..0"),
    "labels too many": (lambda m, x: explain.saliency(m, x, "a", target=[0] * 4), r"\[B\] = \[3\], got \[4\]"),
    "float labels": (lambda m, x: explain.saliency(m, x, "a", target=[0.0] * 3), "must be an integer"),
    "bool labels": (lambda m, x: explain.saliency(m, x, "a", target=torch.ones(3).bool()), "must be an integer"),
    "words": (lambda m, x: explain.saliency(m, x, "a", target="predcted"), "did you mean 'predicted'"),
    "nonsense": (lambda m, x: explain.saliency(m, x, "a", target=object()), "target must be 'predicted', a class"),
    "class of one value": (lambda m, x: explain.saliency(m, x, "c", target=0), "takes no class target"),
    "callable shape": (lambda m, x: explain.saliency(m, x, "a", target=dense), r"must give \[B\] = \[3\]"),
    "detached": (lambda m, x: explain.saliency(m, x, "a", target=lambda o: o.detach()[:, 0]), "differentiable"),
    "integer inputs": (lambda m, x: explain.saliency(m, x.byte()), "must be floating point, got torch.uint8"),
    "no tensor": (lambda m, x: explain.saliency(m, "x"), "must be a tensor"),
    "empty": (lambda m, x: explain.saliency(m, x[:0]), "at least one example"),
    "NaN": (lambda m, x: explain.saliency(m, x.index_fill(0, torch.tensor([1]), torch.nan)), "first example 1"),
    "wrong shape": (lambda m, x: explain.saliency(m, x[:, :1]), r"cannot take inputs \[3, 1, 8, 8\]"),
    "batch size": (lambda m, x: explain.saliency(m, x, batch_size=0), "batch_size must be an integer >= 1"),
    "seed": (lambda m, x: explain.saliency(m, x, seed=-1), "seed must be"),
    "no module": (lambda m, x: explain.saliency(m.forward, x), "must be an nn.Module"),
    "samples": (lambda m, x: explain.saliency(m, x, method="smoothgrad", samples=0), "samples must be >= 1"),
    "option's type": (lambda m, x: explain.saliency(m, x, method="smoothgrad", samples="many"), "wrong type"),
    "window": (lambda m, x: explain.saliency(m, x, method="occlusion", window=9), "larger than the input"),
    "gaps": (lambda m, x: explain.saliency(m, x, method="occlusion", window=2, stride=3), "leaves gaps"),
    "steps": (lambda m, x: explain.saliency(m, x, method="integrated_gradients", steps=0), "1 <= steps"),
    "baseline": (
        lambda m, x: explain.saliency(m, x, method="integrated_gradients", baseline=x[:2]), "baseline must be"
    ),
    "layer": (lambda m, x: explain.saliency(m, x, method="grad_cam", layer="trunk.55"), "did you mean 'trunk.5'"),
    "foreign layer": (
        lambda m, x: explain.saliency(m, x, method="grad_cam", layer=nn.Conv2d(1, 1, 1)), "not a part of the model"
    ),
    "flat layer": (lambda m, x: explain.saliency(m, x, method="grad_cam", layer="trunk.7"), r"expected \[B, C, H, W\]"),
    "flat head": (
        lambda m, x: explain.saliency(m, x, method="grad_cam", layer="heads.0"), r"expected \[B, C, H, W\]"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_named(model: Heads, images: Tensor, case: str) -> None:
    call, message = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        call(model, images)
    assert "\n" not in str(caught.value)


def test_a_model_whose_output_is_no_tensor() -> None:
    class Words(nn.Module):
        def forward(self, x: Tensor) -> str:
            return "seven"

    with pytest.raises(TypeError, match="got str"):
        explain.saliency(Words(), torch.ones(1, 2))


def test_scores_pooled_over_the_batch_are_refused() -> None:
    class Pooled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(0)

    with pytest.raises(ValueError, match=r"gives \[2\] for 3 examples"):
        explain.saliency(Pooled(), torch.ones(3, 2))


def test_an_incomplete_integral_is_refused_and_a_refined_one_is_complete() -> None:
    """A step at 1e-3 of the way is missed by few points; what is returned adds up."""

    class Steep(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(200 * (x - 0.5)).sum(1) + x.sum(1)

    x = torch.tensor([[1.0, 0.9], [0.3, 0.2]])
    with pytest.raises(ValueError, match=r"misses its sum by up to .* after 4 steps"):
        explain.saliency(Steep(), x, method="integrated_gradients", steps=4, max_steps=4)
    found = explain.saliency(Steep(), x, method="integrated_gradients", steps=4)
    change = Steep()(x) - Steep()(torch.zeros_like(x))
    assert ((found.sum(1) - change).abs() <= 0.01 * found.abs().sum(1) + 1e-5).all()
