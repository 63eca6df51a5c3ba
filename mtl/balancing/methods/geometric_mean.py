"""The geometric mean of the losses."""

from dataclasses import dataclass
from typing import ClassVar

from mtl.balancing.method import Answer, Given, Method, Needs, check_losses


@dataclass(frozen=True, kw_only=True)
class GeometricMean(Method):
    """Minimise T (prod_t L_t)^(1/T): weights GM / L_t, where GM is the geometric mean of the losses.

    The factor T is this project's: equal losses then have weights of one. The mean is taken over logarithms, which
    neither over- nor underflow. A loss that is not above zero is refused. Source: Chennupati et al. 2019.
    Cost: one backward pass.

    >>> import torch
    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 2.0], [0.0, 3.0]]), "geometric_mean", losses=[1.0, 4.0])
    tensor([2.0000, 5.5000])
    """

    name: ClassVar[str] = "geometric_mean"
    needs: ClassVar[Needs] = "losses"

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        check_losses(given, zero=False)
        logs = given.losses.log()
        return Answer(weights=(logs.mean() - logs).exp()), state
