"""Layer-wise relevance propagation: the score is handed back from layer to layer, and none of it is lost unseen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from explain.methods.lrp_flow import Flow
from explain.methods.lrp_rules import CONVOLUTIONS, Layer, LayerRule, alpha_beta, box, flat, gamma, plain
from explain.names import unknown
from explain.rules.intercept import Intercept
from explain.scorer import Scorer


@dataclass(frozen=True)
class Composite:
    """Which rule which layer gets: the first that sees the input, convolutions, all others."""

    first: LayerRule | None
    convolution: LayerRule
    dense: LayerRule

    def rule(self, layer: Layer, first: bool) -> LayerRule:
        if first and self.first is not None:
            return self.first
        return self.convolution if layer.name in CONVOLUTIONS else self.dense


COMPOSITES: dict[str, Callable[[Lrp], Composite]] = {
    "epsilon": lambda _: Composite(None, plain, plain),
    "epsilon-plus": lambda _: Composite(None, alpha_beta(1), plain),
    "epsilon-plus-flat": lambda _: Composite(flat, alpha_beta(1), plain),
    "epsilon-alpha2-beta1": lambda _: Composite(None, alpha_beta(2), plain),
    "epsilon-alpha2-beta1-flat": lambda _: Composite(flat, alpha_beta(2), plain),
    "epsilon-gamma-box": lambda o: Composite(box(o.low, o.high), gamma(o.gamma), plain),
    "gamma": lambda o: Composite(None, gamma(o.gamma), gamma(o.gamma)),
}


@dataclass(frozen=True, kw_only=True)
class Lrp:
    """Layer-wise relevance propagation: the score is shared among the inputs, layer by layer.

    Layers share by the rules of a composite. Activations, normalisation layers, pooling and layers that move values
    pass relevance on; batch norm after a convolution or linear layer is folded into it; a sum (a residual connection)
    shares in proportion to its summands; in a product with a gate (a sigmoid, attention's softmax) the other factor
    takes all (Arras et al. 2017; Ali et al. 2022), in any other product both get half (Achtibat et al. 2024). What
    biases and epsilon keep is counted; that map and count add up to the score is checked over each micro-batch.
    Source: Bach et al. 2015; composites: Montavon et al. 2019, Kohlbrenner et al. 2020. With ``"epsilon"`` equal to
    Captum's ``LRP`` with its ``EpsilonRule`` on chains of linear layers, convolutions, ReLU and pooling; on a ReLU
    network without biases also to input x gradient. Cost: one forward; for each task a backward, with each layer
    computed again once (gamma and alpha-beta: up to four times).

    Args:
        composite: a name in `COMPOSITES`: ``"epsilon"``, ``"epsilon-plus"`` (z+ for convolutions),
            ``"epsilon-plus-flat"`` (and evenly in the first layer), ``"epsilon-alpha2-beta1"``,
            ``"epsilon-alpha2-beta1-flat"``, ``"epsilon-gamma-box"`` (gamma for convolutions, z^B in the first layer),
            ``"gamma"``.
        epsilon: what keeps denominators from zero, in units of the layers' outputs.
        gamma: how much more terms of the output's sign count.
        low, high: bounds of the first layer's inputs, for z^B; None: each example's minimum and maximum there.
        tolerance: the largest |sum of the map + what was kept - score|, as a fraction of the map's absolute sum and the
            score's.
    """

    composite: str = "epsilon-plus-flat"
    epsilon: float = 1e-6
    gamma: float = 0.25
    low: float | None = None
    high: float | None = None
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        if self.composite.replace("_", "-") not in COMPOSITES:
            raise unknown("composite of lrp", self.composite, COMPOSITES)
        for name in ("epsilon", "gamma"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"lrp: {name} must be >= 0 and finite, got {getattr(self, name)}")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"lrp: low must be below high, got {self.low} and {self.high}")
        if not self.tolerance > 0:
            raise ValueError(f"lrp: tolerance must be > 0, got {self.tolerance}")

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del first, seed
        composite = COMPOSITES[self.composite.replace("_", "-")](self)
        flow = Flow(composite.rule, self.epsilon)
        intercept = Intercept(
            "lrp", scorer.model, flow.rules(), "gradient methods take any differentiable model"
        )
        columns = intercept.columns(scorer, inputs)
        flow.current = lambda: intercept.task
        scores = [column.detach() for column in columns]
        for column, score in zip(columns, scores, strict=True):
            if column.requires_grad:  # the relevance of a score is the score
                column.register_hook(lambda gradient, score=score: gradient * score)
        maps = intercept.gradients(scorer, columns)
        self._check(scorer, maps, scores, flow, intercept.dependent)
        return maps

    def _check(
        self, scorer: Scorer, maps: list[Tensor], scores: list[Tensor], flow: Flow, dependent: set[str]
    ) -> None:
        for task, attribution, score in zip(scorer.tasks, maps, scores, strict=True):
            if task not in dependent:
                continue
            total, kept = float(attribution.double().sum()), float(flow.kept.get(task, 0.0))
            size = float(attribution.double().abs().sum() + score.double().abs().sum()) + abs(kept)
            gap = abs(total + kept - float(score.double().sum()))
            if not gap <= self.tolerance * size:
                raise ValueError(
                    f"lrp: relevance of task '{task}' is not conserved: the maps hold {total:.4g} and biases keep "
                    f"{kept:.4g} of scores of {float(score.sum()):.4g} (gap {gap / size:.2%}, tolerance "
                    f"{self.tolerance:.2%}); a larger epsilon, another composite, or tolerance=float('inf') to have "
                    "the map all the same"
                )
