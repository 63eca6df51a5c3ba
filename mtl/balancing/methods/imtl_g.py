"""IMTL-G: the combination whose projections on all gradients are equal."""

from dataclasses import dataclass
from typing import ClassVar

from mtl.balancing.method import Answer, Given, Method, Needs
from mtl.balancing.solvers import equal_cosines


@dataclass(frozen=True, kw_only=True)
class IMTLG(Method):
    """d = T sum_t w_t g_t with d · g_t / |g_t| equal for all t and sum(w) = 1.

    A closed form: w_t is proportional to b_t / |g_t| with C b = 1, C the cosines between the gradients.
    Weights may be negative, and where their sum before scaling is not positive (very different lengths) the
    paper's rule would ascend: the direction is then zero, as for opposed gradients. A zero gradient is left
    out. Along `config`, with another length. The residual is the spread of the projections, where the
    gradients are independent. Source: the gradient balance of Liu et al. 2021, whose weights sum to one.
    The code of Navon et al. 2022 and LibMTL invert a matrix of differences of the gradients, which is
    singular for parallel ones; the former weights the heads too, the latter does this on the losses of
    `imtl_l` (the paper's hybrid). Cost: T backward passes.

    >>> import torch
    >>> from mtl.balancing import combine
    >>> combine(torch.tensor([[1.0, 0.0], [0.0, 3.0]]), "imtl_g")
    tensor([1.5000, 1.5000])
    """

    name: ClassVar[str] = "imtl_g"
    needs: ClassVar[Needs] = "gramian"

    def solve(self, given: Given, state: None) -> tuple[Answer, None]:
        b, lengths, residual = equal_cosines(given.gramian)
        weights = b / lengths
        total = float(weights.sum())
        if total <= 1e-12 * float(weights.abs().sum()):
            return Answer(weights=0 * weights), state
        return Answer(len(given.tasks) * weights / total, None, residual), state
