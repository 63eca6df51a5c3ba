"""Layers whose gradients need not be written out to be compared and combined: products of two smaller matrices.

The gradient of a linear layer for task t is A' D_t, with A [n, in] what the layer was given and D_t [n, out] the
gradient of what it gave; n counts examples (for a convolution, the places that the kernel is laid on). With
A A' = L L' (Cholesky), the inner products of the tasks' gradients are those of L' D_t [n, out], as exactly; their
weighted sum is A' (sum_t w_t D_t), one product for all tasks. Where n is small against "in", that saves the larger part
of T backward passes, and nearly all of the memory.

A is read from the autograd graph, where the layer's own backward keeps it, so any model will do. What is not found
there as a plain product with a parameter (a weight used twice, cast, compiled or hooked) is left to the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node

from mtl.balancing.gramian import gramian, weighted_sum

_MOVED = 16  # moving a number through memory costs as much as so many multiplications


@dataclass(frozen=True)
class Factor:
    """One such layer of this step's graph.

    Attributes:
        node: where its backward begins.
        weight, bias: its parameters; no bias where it has none, or a frozen one.
        n, out: the size of D_t.
        outputs_first: the weight is [out, in, ...], and not [in, out].
    """

    node: Node
    weight: nn.Parameter
    bias: nn.Parameter | None
    n: int
    out: int
    outputs_first: bool

    @property
    def edge(self) -> GradientEdge:
        return GradientEdge(self.node, 0)

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def flat(self, gradient: Tensor) -> Tensor:
        """A gradient of the layer's output as D_t [n, out]."""
        if gradient.dim() == 4:
            return gradient.permute(0, 2, 3, 1).reshape(self.n, self.out)
        return gradient

    @cached_property
    def source(self) -> Tensor:
        """What the layer was given, as its backward keeps it; to be read before a pass that frees the graph."""
        names = {"AddmmBackward0": "_saved_mat1", "MmBackward0": "_saved_self"}
        found: Tensor = getattr(self.node, names.get(self.node.name(), "_saved_input"))
        return found.detach()

    def given(self) -> Tensor:
        """A [n, in]; of a convolution, the patches under its kernel."""
        x, node, kernel = self.source, self.node, self.weight.shape[2:]
        if x.dim() == 2:
            return x
        stride, padding = node._saved_stride, node._saved_padding  # type: ignore[attr-defined]
        if kernel == (1, 1) and not any(padding):
            patches = x[:, :, :: stride[0], :: stride[1]].flatten(2)
        else:
            patches = nn.functional.unfold(x, kernel, node._saved_dilation, padding, stride)  # type: ignore[attr-defined]
        return patches.transpose(1, 2).reshape(self.n, -1)

    def root(self) -> Tensor:
        """L' [n, n] float64 with A A' = L L'; with a bias, of A and a column of ones."""
        A = self.given().double()
        K = A @ A.T
        if self.bias is not None:
            K += 1
        # what rounding may leave below zero; beyond single precision in any case
        jitter = max(4e-16 * self.n * float(K.diagonal().sum()), torch.finfo(torch.float64).tiny)
        K.diagonal().add_(jitter)
        L, failed = torch.linalg.cholesky_ex(K)
        if bool(failed):
            values, vectors = torch.linalg.eigh(K)
            L = vectors * values.clamp(min=0).sqrt()
        return L.T

    def products(self, signals: Tensor) -> Tensor:
        """Inner products [T, T] float64 of the tasks' gradients, from D [T, n, out]."""
        return gramian((self.root().to(signals) @ signals).flatten(1))

    def direction(self, weights: Tensor, signals: Tensor) -> list[Tensor]:
        """The weighted sum of the tasks' gradients, for each of `parameters`, from D [T, n, out]."""
        D = weighted_sum(weights, signals.flatten(1)).view(self.n, self.out)
        A = self.given().to(D.dtype)
        product = D.T @ A if self.outputs_first else A.T @ D
        found = [product.view(self.weight.shape)]
        return found if self.bias is None else [*found, D.sum(dim=0)]


def find_factors(
    roots: Sequence[GradientEdge], shared: Sequence[nn.Parameter], tasks: int
) -> list[Factor] | None:
    """The layers behind ``roots`` that are cheaper as products, for so many tasks.

    None where the graph has a part that only a plain backward passes (a re-entrant checkpoint).
    """
    found = all_factors(roots, shared)
    return None if found is None else [factor for factor in found if _pays(factor, tasks)]


def all_factors(roots: Sequence[GradientEdge], shared: Sequence[nn.Parameter]) -> list[Factor] | None:
    """The layers behind ``roots`` that can be had as products; None as `find_factors` says."""
    own, uses = {id(p) for p in shared}, incoming([root.node for root in roots])
    if any(node.name() == "CheckpointFunctionBackward" for node in uses):
        return None
    found = (_factor(node, own, uses) for node in uses if node.name() in _PLACES)
    return [factor for factor in found if factor is not None]


def incoming(roots: Sequence[Node]) -> dict[Node, int]:
    """How many edges lead to each node of the graph behind ``roots``, them included, from within it."""
    counts = dict.fromkeys(roots, 0)
    waiting = list(counts)
    while waiting:
        for following, _ in waiting.pop().next_functions:
            if following is None:
                continue
            if following not in counts:
                counts[following] = 0
                waiting.append(following)
            counts[following] += 1
    return counts


# of each kind of node: where its weight and its bias are among what follows
_PLACES: dict[str, tuple[int, int | None]] = {
    "AddmmBackward0": (2, 0),
    "MmBackward0": (1, None),
    "ConvolutionBackward0": (1, 2),
}


def _factor(node: Node, own: set[int], uses: dict[Node, int]) -> Factor | None:
    place, bias_place = _PLACES[node.name()]
    follows = [following for following, _ in node.next_functions]
    weight_node = follows[place]
    weight = _parameter(weight_node, own, uses)
    transposed = weight_node is not None and weight_node.name() == "TBackward0"
    bias_leaf = None if bias_place is None else follows[bias_place]
    bias = None if bias_leaf is None else _parameter(bias_leaf, own, uses)
    if weight is None or (bias_leaf is not None and bias is None):
        return None
    if node.name() == "ConvolutionBackward0":
        if weight.dim() != 4 or node._saved_groups != 1 or node._saved_transposed:  # type: ignore[attr-defined]
            return None
        outputs = node._input_metadata[0].shape  # [B, out, H, W]
        return Factor(node, weight, bias, outputs[0] * outputs[2] * outputs[3], weight.shape[0], True)
    if node.name() == "AddmmBackward0" and not node._saved_alpha == node._saved_beta == 1:  # type: ignore[attr-defined]
        return None
    n, out = node._input_metadata[0].shape
    return Factor(node, weight, bias, n, out, transposed)


def _parameter(node: Node | None, own: set[int], uses: dict[Node, int]) -> nn.Parameter | None:
    """The shared parameter behind a node, if it is used there and nowhere else, and no hook of the user's watches."""
    parameter = None if node is None else leaf_variable(node)
    if node is None or parameter is None or id(parameter) not in own or parameter._backward_hooks:
        return None
    following = node.next_functions[0][0] if node.next_functions else None
    once = uses[node] == 1 and (following is None or uses[following] == 1)
    return parameter if once else None


def leaf_variable(node: Node) -> nn.Parameter | None:
    """The parameter whose gradient arrives at ``node``, as it is or transposed (as `F.linear` has it)."""
    leaf = node.next_functions[0][0] if node.name() == "TBackward0" else node
    return getattr(leaf, "variable", None)


def _pays(factor: Factor, T: int) -> bool:
    """Whether products cost less than rows: multiplications, and numbers moved at their price."""
    n, out, fan_in = factor.n, factor.out, factor.weight.numel() // factor.out
    rows = T * fan_in * out * (n + T + 4 * _MOVED)
    once = 2 * n * n * fan_in + n**3 + n * out * fan_in + 2 * n * fan_in * _MOVED
    return once + T * n * out * (n + T + 4 * _MOVED) < rows
