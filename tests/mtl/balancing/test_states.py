"""Methods that keep gradients, over many steps: where they come to rest."""

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
        return {task.name: row @ self.weight for task, row in zip(self.tasks, self.rows, strict=True)}
