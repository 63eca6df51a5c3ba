"""Several inputs into one feature vector: an image and a question, a branch each."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mtl.names import unknown


class Fusion(nn.Module):
    """A branch for each named input; what they give is projected to one width, multiplied, and joined.

    z_k = tanh(W_k branch_k(x_k)); features = relu(W [z_1, ..., z_n, z_1 * ... * z_n]). The product lets one input
    decide what the other means (is the shape that is asked for the one that is there?), the z alone keep what each
    tells by itself. One branch gives relu(W z).

    Args:
        branches: {input name: module that gives [B, F_k], with ``out_features`` = F_k}.
        features: the width of z and of the result.

    Raises:
        ValueError: no branch; at a call, an input that is missing or has no branch.

    Source: the product of projections is that of Kim et al. 2017, "Hadamard product for low-rank bilinear pooling",
    equation 7, without attention.

    >>> import mtl
    >>> branches = {"image": mtl.backbone("identity", in_features=9), "words": mtl.backbone("mlp", in_features=5)}
    >>> both = Fusion(branches, features=16)
    >>> both(image=torch.zeros(2, 3, 3), words=torch.zeros(2, 5)).shape
    torch.Size([2, 16])
    """

    def __init__(self, branches: Mapping[str, nn.Module], features: int = 64) -> None:
        super().__init__()
        if not branches or features < 1:
            raise ValueError(f"Fusion needs a branch and features >= 1, got {list(branches)} and {features}")
        self.branches = nn.ModuleDict(branches)
        self.projections = nn.ModuleDict(
            {name: nn.Linear(int(branch.out_features), features) for name, branch in branches.items()}  # type: ignore[arg-type]
        )
        parts = len(branches) + (len(branches) > 1)
        self.join = nn.Sequential(nn.Linear(parts * features, features), nn.ReLU())
        self.out_features = features

    def forward(self, **inputs: Tensor) -> Tensor:
        """{name: [B, *S]} -> features [B, F]."""
        for name in inputs:
            if name not in self.branches:
                raise unknown("branch for the input", name, self.branches)
        missing = [name for name in self.branches if name not in inputs]
        if missing:
            raise ValueError(f"Fusion needs the inputs {missing}, got {list(inputs)}")
        parts = [
            torch.tanh(self.projections[name](branch(inputs[name]))) for name, branch in self.branches.items()
        ]
        if len(parts) > 1:
            parts.append(torch.stack(parts).prod(dim=0))
        return self.join(torch.cat(parts, dim=1))
