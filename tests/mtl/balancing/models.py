"""Small models that the tests balance."""

import torch

import mtl


class Two(torch.nn.Module):
    """Two tasks on three numbers."""

    tasks = (mtl.Regression("a"), mtl.Regression("b"))

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))

    def shared_parameters(self) -> list[torch.nn.Parameter]:
        return [self.weight]
