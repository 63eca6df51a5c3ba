"""The way from losses to gradients: the backward passes of one step, and what is written into ``.grad``.

Why plain ``backward`` calls with ``.grad`` set aside, and not ``torch.autograd.grad``, where a graph has no fork: a
backward pass reaches everything that ``loss.backward()`` reaches (heads, loss parameters, leaves that nobody listed)
and works through re-entrant checkpointing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl.balancing.factors import Factor, find_factors
from mtl.balancing.factors_of_all import agreed_factors, gathered
from mtl.balancing.fork import Leaf, find_fork
from mtl.balancing.gramian import gramian, weighted_sum
from mtl.balancing.method import Answer, Level
from mtl.balancing.passes import backward, gradients, trunk_factors, trunk_rows
from mtl.balancing.rows import Parameters, Rows, accumulate, gradients_set_aside
from mtl.balancing.shards import Shards
from mtl.balancing.stream import streamed_gramian

_NEEDS_A_FORK = (
    "needs losses that reach the shared parameters through features alone: build the model with mtl.MultiTaskModel, or "
    "call mtl.fork between your trunk and heads (uncompiled); a tied or penalised shared weight rules it out"
)


def backward_weighted(losses: Sequence[Tensor], weights: Tensor, inputs: Parameters | None = None) -> None:
    """Add the gradient of sum_t weights[t] losses[t] to ``.grad``, in one backward pass.

    With weights of one this is ``sum(losses).backward()`` to the bit: the same graph, entered with the same ones.
    """
    seeds = [weight.to(loss) for weight, loss in zip(weights, losses, strict=True)]
    backward(list(losses), seeds, inputs=inputs)


class Step:
    """The backward passes of one step for T losses: `rows` or `products` compares the tasks, `write` adds the solution.

    Between the two, ``.grad`` is as it was, so that a caller may fail without a trace. The trunk is passed T times (not
    at all with ``level="features"``), and once more by `write` where neither rows nor factors of all shared parameters
    were kept; `write` alone is one pass, with given weights.

    Args:
        losses: T scalars.
        shared, heads: the parameters that are balanced, and all others of the model.
        buffer: where rows are kept; valid until the next step that uses it.
        level: see `mtl.Balancer`.
        scale: the factor of a gradient scaler: rows and what is written carry it.
        keep: the graph is still needed afterwards.
        shards: how several processes share the rows; the losses are then shares that add up over processes.
    """

    def __init__(
        self,
        losses: Sequence[Tensor],
        shared: Parameters,
        heads: Parameters,
        buffer: Rows,
        *,
        level: Level = "parameters",
        scale: float = 1.0,
        keep: bool = False,
        shards: Shards | None = None,
    ) -> None:
        _refuse_hooks([*shared, *heads])
        self.shards = shards or Shards()
        self.losses, self.shared, self.heads = list(losses), list(shared), list(heads)
        self.level, self.scale, self.keep, self.buffer = level, scale, keep, buffer
        self.fork = find_fork(self.losses, self.shared, self.heads)
        self.head_gradients: list[Tensor | None] | None = None
        self._cotangents: list[dict[Leaf, Tensor]] | None = None
        self._features: list[tuple[Leaf, Tensor]] = []  # leaf and its shape, after `rows` by features
        self._stacked: Tensor | None = None  # the rows by features
        self._rows: Tensor | None = None  # the rows by all shared parameters
        self._factors: list[Factor] = []  # the layers that `products` kept as factors,
        self._signals: list[Tensor] = []  # what it kept of each,
        self._dense: Tensor  # and the rows of all others
        if level == "features" and self.fork is None:
            raise ValueError(f"level='features' {_NEEDS_A_FORK}")

    def rows(
        self, *, columns: Parameters | None = None, places: Sequence[int] | None = None, read: bool = True
    ) -> Tensor:
        """The tasks' gradients [T, N]: by all shared parameters, by ``columns`` of them, or by the features.

        With ``places``, rows are added to those of the open buffer (for accumulation), and the buffer is returned.
        Among several processes N are the columns of `Shards`; ``read``: it matters which of the features they are.
        """
        T = len(self.losses)
        if self.level == "features":
            return self._feature_rows(read)
        wanted = self.shared if columns is None else list(columns)
        if places is None:
            self.buffer.open(T, wanted)
        at = list(range(T) if places is None else places)
        keep = self.keep or columns is not None
        with gradients_set_aside([*self.shared, *self.heads]):
            if self.fork is not None:
                roots, seeds = self._trunk_seeds()
                everything = columns is None
                adds = places is not None
                trunk_rows(roots, seeds, wanted, self.buffer, at, add=adds, all_leaves=everything, keep=keep)
            else:
                self._rows_through_everything(at, wanted, add=places is not None, keep=keep)
        if places is not None:
            return self.buffer[:]  # of this process's; they are added up once they are complete
        found = self.shards.summed(self.buffer[:T])
        self._rows = found if columns is None else None
        return found

    def products(self, *, stream: bool = False) -> Tensor:
        """The Gramian [T, T] of what `rows` gives, without whole rows where a layer allows it.

        With ``stream`` nothing is kept, and `write` passes the trunk once more.
        """
        if stream and self.fork is None:
            raise ValueError(f"stream=True {_NEEDS_A_FORK}")
        T = len(self.losses)
        alone = self.shards.together is None
        if self.fork is None or self.level == "features" or (T == 1 and not stream):
            return self.shards.total(gramian(self.rows(read=False)))
        roots, seeds = self._trunk_seeds()
        if self.shards.together is None:
            factors = find_factors(roots, self.shared, T)
        else:
            factors, sizes = agreed_factors(roots, self.shared, T, self.shards.together)
        if stream:
            if factors is None:
                raise ValueError("stream=True does not pass a re-entrant checkpoint: use use_reentrant=False")
            return streamed_gramian(roots, seeds, self.shared, factors if alone else [], self.shards)
        if not factors:
            return self.shards.total(gramian(self.rows()))
        replaced = {id(p) for factor in factors for p in factor.parameters}
        dense = [p for p in self.shared if id(p) not in replaced]
        self.buffer.open(T, dense, [(f.n, f.out) for f in factors], like=self.shared)
        trunk_factors(roots, seeds, dense, factors, self.buffer, keep=self.keep)
        self._factors, self._signals = factors, self.buffer.extra(T)
        if self.shards.together is not None:
            self._factors, self._signals = gathered(factors, self._signals, sizes, self.shards.together)
        self._dense = self.shards.summed(self.buffer[:T])
        parts = zip(self._factors, self._signals, strict=True)
        return self.shards.total(gramian(self._dense)) + sum(
            self.shards.beside(factor.products(signals)) for factor, signals in parts
        )

    @torch.no_grad()
    def write(
        self, answer: Answer, starts: Sequence[int] = (), *, factor: float = 1.0, weigh_heads: bool = False
    ) -> None:
        """Add the solution to ``.grad``: the answer's for the trunk, and each head its own gradient.

        Weights by group are for the groups of columns that begin at ``starts``. ``factor`` lengthens what the trunk
        gets; with ``weigh_heads`` the heads get the weighted sum as well.
        """
        weights = answer.weights
        direction: Tensor | None = None
        trunk: list[Tensor | None] = [None] * len(self.shared)  # what other processes have a part in
        if self._rows is not None:
            direction = combine_rows(weights, answer.direction, self._rows, starts)
            direction = self.shards.complete(direction, answer)
            direction = factor * direction if factor != 1 else direction
        elif self._factors:
            assert weights is not None
            direction = self.shards.complete(weighted_sum(factor * weights, self._dense), answer)
            for layer, signals in zip(self._factors, self._signals, strict=True):
                found = layer.direction(factor * weights, signals)
                for parameter, gradient in zip(layer.parameters, found, strict=True):
                    accumulate(parameter, gradient.to(parameter.dtype))
        elif self.shards.together is None:
            self._trunk_pass(weights, answer.direction, factor)
        else:
            with gradients_set_aside(self.shared):
                self._trunk_pass(weights, answer.direction, factor)
                trunk = [p.grad for p in self.shared]
        if weigh_heads and weights is not None:
            with gradients_set_aside(self.heads), torch.enable_grad():
                seeds = [(self.scale * w).to(loss) for w, loss in zip(weights, self.losses, strict=True)]
                backward(self.losses, seeds, inputs=self.heads, keep=self.keep)
                self.head_gradients = [p.grad for p in self.heads]
        parts, own = self.heads, self._own_gradients()
        if direction is None:
            parts, own = [*self.shared, *self.heads], [*trunk, *own]
        own, self.buffer.reached = self.shards.gradients(parts, own, self.buffer.reached)
        if direction is not None:
            self.buffer.write(direction)
        for parameter, summed in zip(parts, own, strict=True):
            if summed is not None:
                accumulate(parameter, summed)

    def _own_gradients(self) -> list[Tensor | None]:
        """The heads' gradients, by a pass of their own where none has given them yet."""
        if self.head_gradients is None and self.fork is not None:
            self._split()
        if self.head_gradients is None:
            with gradients_set_aside(self.heads), torch.enable_grad():
                backward(
                    self.losses, [self._seed(loss) for loss in self.losses], inputs=self.heads, keep=self.keep
                )
                self.head_gradients = [p.grad for p in self.heads]
        return self.head_gradients

    def _seed(self, loss: Tensor) -> Tensor:
        return torch.full_like(loss, self.scale)

    def _split(self) -> list[dict[Leaf, Tensor]]:
        """One pass of all losses through the heads: every head's gradient, every task's gradient of the features."""
        if self._cotangents is None:
            assert self.fork is not None
            keys = [(row, leaf) for row, edges in enumerate(self.fork.aliases) for leaf in edges]
            edges = [self.fork.aliases[row][leaf] for row, leaf in keys]
            seeds = [self._seed(loss) for loss in self.losses]
            found = gradients(self.losses, [*edges, *self.heads], seeds, keep=True)
            self._cotangents = [{} for _ in self.losses]
            for (row, leaf), gradient in zip(keys, found[: len(keys)], strict=True):
                if gradient is not None:
                    self._cotangents[row][leaf] = gradient
            self.head_gradients = found[len(keys) :]
        return self._cotangents

    def _trunk_seeds(self) -> tuple[list[torch.autograd.graph.GradientEdge], list[list[Tensor | None]]]:
        assert self.fork is not None
        cotangents = self._split()
        leaves = list(self.fork.trunk)
        return [self.fork.trunk[leaf] for leaf in leaves], [
            [row.get(leaf) for leaf in leaves] for row in cotangents
        ]

    def _feature_rows(self, read: bool) -> Tensor:
        cotangents, T = self._split(), len(self.losses)
        shapes = {leaf: gradient for row in cotangents for leaf, gradient in row.items()}
        self._features = sorted(shapes.items(), key=lambda item: item[0])
        self.buffer.open(
            T,
            [],
            [(1, like.numel()) for _, like in self._features],
            like=[like for _, like in self._features],
        )
        for k, row in enumerate(cotangents):
            parts = [row.get(leaf) for leaf, _ in self._features]
            self.buffer.put(k, [None if part is None else part.reshape(1, -1) for part in parts])
        self._stacked = self.buffer.whole(T)
        return self.shards.features(
            self._stacked, [like.numel() for _, like in self._features], place=read or self.shards.whole
        )

    def _rows_through_everything(self, at: list[int], wanted: Parameters, *, add: bool, keep: bool) -> None:
        """T whole backward passes; the heads' gradients add up on the way."""
        inputs = None if wanted is self.shared else list(wanted)
        with self.buffer.receive(add=add) as into:
            for row, loss in zip(at, self.losses, strict=True):
                with into(row):
                    backward([loss], [self._seed(loss)], inputs=inputs, keep=keep or row != at[-1])
        if inputs is None:
            self.head_gradients = [parameter.grad for parameter in self.heads]

    def _trunk_pass(self, weights: Tensor | None, direction: Tensor | None, factor: float) -> None:
        """One backward pass of the weighted losses, or of a direction in the features, through the trunk."""
        if self.fork is None:
            assert weights is not None
            with torch.enable_grad():
                seeds = [
                    (factor * self.scale * w).to(loss) for w, loss in zip(weights, self.losses, strict=True)
                ]
                backward(self.losses, seeds, inputs=self.shared, keep=True)
            return
        if direction is None and self._stacked is not None and weights is not None:
            direction = weighted_sum(weights, self._stacked)
        elif direction is not None:
            direction = self.shards.of_features(direction)
        if direction is not None:
            parts, at = {}, 0
            for leaf, like in self._features:
                parts[leaf] = direction[at : at + like.numel()].view_as(like).to(like)
                at += like.numel()
        else:
            assert weights is not None
            parts = {}
            for weight, row in zip(weights.tolist(), self._split(), strict=True):
                for leaf, gradient in row.items():
                    parts[leaf] = (
                        gradient * weight if leaf not in parts else parts[leaf].add(gradient, alpha=weight)
                    )
        roots = [self.fork.trunk[leaf] for leaf in parts]
        seeds = [factor * part if factor != 1 else part for part in parts.values()]
        with torch.enable_grad():
            backward(roots, seeds, keep=self.keep)


def _refuse_hooks(parameters: Parameters) -> None:
    """An optimizer that steps inside backward would step once a task, with the gradient of that task alone."""
    if any(getattr(parameter, "_post_accumulate_grad_hooks", None) for parameter in parameters):
        raise ValueError(
            "a parameter has a post-accumulate-grad hook (an optimizer that steps inside backward?); "
            "balancing by gradients would fire it once a task: remove it, or use a balancer that needs only losses"
        )


def last_layer(model: nn.Module, shared: Parameters) -> list[nn.Parameter]:
    """The shared parameters of the last module that owns a shared matrix: the layer that GradNorm looks at."""
    own = {id(p) for p in shared}
    found: list[nn.Parameter] = []
    for module in model.modules():
        mine = [p for p in module.parameters(recurse=False) if id(p) in own]
        if any(p.dim() >= 2 for p in mine):
            found = mine
    return found or [shared[-1]]


def combine_rows(
    weights: Tensor | None, direction: Tensor | None, rows: Tensor, starts: Sequence[int] = ()
) -> Tensor:
    """The direction [P] of an answer: its own, or its weights times the rows.

    Weights are [T], or [G, T] for groups of columns that begin at ``starts`` [G + 1].
    """
    if weights is None:
        return _given(direction, rows)
    if weights.dim() == 1:
        return weighted_sum(weights, rows)
    if weights.shape[0] == 1:
        return weighted_sum(weights[0], rows)
    found = rows.new_empty(rows.shape[1])
    for own, a, b in zip(weights, starts[:-1], starts[1:], strict=True):
        found[a:b] = weighted_sum(own, rows[:, a:b])
    return found


def _given(direction: Tensor | None, rows: Tensor) -> Tensor:
    if direction is None or direction.shape != rows.shape[1:]:
        got = None if direction is None else tuple(direction.shape)
        raise ValueError(
            f"a balancing method must answer weights, or a direction of shape {tuple(rows.shape[1:])}; got {got}"
        )
    return direction.to(rows)
