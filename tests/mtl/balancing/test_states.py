"""Methods that keep gradients, over many steps: where they come to rest."""

import pytest
import torch

import mtl
from tests.mtl.balancing.scenarios import run


def test_moco_with_fixed_gradients_comes_to_mgdas_weights() -> None:
    """Small steps on an unchanging problem: the projected descent of MGDA's."""
    model, balancer = Fixed(), mtl.Balancer("moco", gamma=0.05, gamma_decay=0.0)
    for _ in range(3000):
        model.weight.grad = None
        balancer.backward(model.losses(), model)
    expected = mtl.combine(Fixed.rows, "mgda")
    torch.testing.assert_close(model.weight.grad, expected, rtol=1e-3, atol=1e-4)


def test_sdmgrad_pulled_hard_is_the_plain_sum() -> None:
    J = torch.from_numpy(run(seed=3)[0].J)
    torch.testing.assert_close(mtl.combine(J, "sdmgrad", pull=1e9), J.sum(dim=0), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", [name for name, rule in mtl.BALANCERS.items() if rule.keeps_gradients])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_kept_as_they_come_also_while_a_task_is_absent(name: str, dtype: torch.dtype) -> None:
    """What is kept of gradients, [T, P], has their dtype; numbers by task are float64."""
    model, balancer = Fixed().to(dtype), mtl.Balancer(name)
    for present in ("ab", "abc", "bc"):
        balancer.backward({task: model.losses()[task] + 2.0 for task in present}, model)
        kept = balancer.state_dict()["state"].values()
        assert {(tensor.dim(), tensor.dtype) for tensor in kept} == {(2, dtype), (1, torch.float64)}


def test_sdmgrad_settles_with_short_steps_and_swings_with_those_of_its_authors() -> None:
    """Three gradients: an iteration more changes nothing with lr=0.5, and the whole direction with lr=5."""
    J = torch.from_numpy(run(seed=3)[0].J)
    for lr, least, most in ((0.5, 0.0, 1e-4), (5.0, 0.1, 10.0)):
        found, longer = (mtl.combine(J, "sdmgrad", lr=lr, iterations=count) for count in (100, 101))
        assert least <= float((found - longer).norm() / found.norm()) <= most


class Fixed(torch.nn.Module):
    """Three linear losses: the same gradients in every step."""

    tasks = (mtl.Regression("a"), mtl.Regression("b"), mtl.Regression("c"))
    rows = torch.tensor([[1.0, 0.5, 0.0], [-0.5, 1.0, 0.3], [0.2, 0.1, 2.0]])

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))

    def shared_parameters(self) -> list[torch.nn.Parameter]:
        return [self.weight]

    def losses(self) -> dict[str, torch.Tensor]:
        return {
            task.name: row @ self.weight
            for task, row in zip(self.tasks, self.rows.to(self.weight), strict=True)
        }
