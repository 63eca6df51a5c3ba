"""DeepLIFT and DeepLIFT-SHAP: differences from a baseline, passed back through every function exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from explain.baselines import Baseline, BaselineSet, expanded, expanded_set
from explain.batching import stacked
from explain.methods.multipliers import MULTIPLIERS
from explain.rules.intercept import Call, Intercept, Rule, passed
from explain.rules.parts import PARTS
from explain.scorer import Scorer

PASSED = ["shape", "linear", "scale", "add", "batch_norm", "dropout"]
ADVICE = "integrated_gradients or gradient_shap takes any differentiable model"


@dataclass
class _Notes:
    """The operands of the functions that are not linear in one forward pass, to meet those of another."""

    method: str
    operands: list[tuple[str, list[Tensor]]] = field(default_factory=list)
    place: int = 0

    def take(self, call: Call) -> Tensor:
        """A first pass: note the operands, and compute what the function computes."""
        self.operands.append((call.name, [tensor.detach().clone() for tensor in call.active]))
        return call.run()

    def meet(self, rule: Callable[[Call, list[Tensor]], Tensor]) -> Rule:
        """A second pass: the rule of a function, given the operands of the same call in the first."""

        def apply(call: Call) -> Tensor:
            name, others = self.operands[self.place] if self.place < len(self.operands) else ("", [])
            self.place += 1
            if name != call.name or [t.shape for t in others] != [t.shape for t in call.active]:
                raise ValueError(
                    f"{self.method}: the model computes other functions for the baseline than for the input (first "
                    f"{call.name} in {call.module or 'the model'}); choose a baseline that goes the same way"
                )
            return rule(call, others)

        return apply


@dataclass
class _Compared:
    """Stacked copies of the inputs, whose forward pass is noted, to be compared with baselines."""

    method: str
    scorer: Scorer
    inputs: Tensor
    notes: _Notes
    scores: Tensor  # [n B, K]

    @classmethod
    def of(cls, method: str, scorer: Scorer, inputs: Tensor, copies: int) -> _Compared:
        inputs = torch.cat([inputs] * copies)
        notes = _Notes(method)
        rules = {**dict.fromkeys(PASSED, passed), **PARTS, **dict.fromkeys(MULTIPLIERS, notes.take)}
        first = Intercept(method, scorer.model, rules)
        # the graph tells what depends on the input, as in the second pass; nothing goes back through it
        scores = first.columns(scorer, inputs, keep=False)
        return cls(method, scorer, inputs, notes, torch.stack([s.detach() for s in scores], dim=1))

    def contributions(self, baselines: Tensor) -> tuple[list[Tensor], Tensor]:
        """(K maps [n B, *S], change of the scores [n B, K]) from baselines [n B, *S]."""
        self.notes.place = 0
        rules = {**dict.fromkeys(PASSED, passed), **PARTS}
        rules |= {kind: self.notes.meet(rule) for kind, rule in MULTIPLIERS.items()}
        second = Intercept(self.method, self.scorer.model, rules, ADVICE)
        columns = second.columns(self.scorer, baselines)
        multipliers = second.gradients(self.scorer, columns)
        change = self.scores - torch.stack([c.detach() for c in columns], dim=1)
        return [m * (self.inputs - baselines) for m in multipliers], change


def check_sums(
    method: str, scorer: Scorer, maps: list[Tensor], change: Tensor, scores: Tensor, tolerance: float
) -> None:
    """Raise if a map [B, *S] does not add up to its task's change of score, a column of [B, K]."""
    before = scores - change
    rounding = 8 * torch.finfo(scores.dtype).eps * scores.abs().clamp(min=1)
    # not of the map's size alone: a map of huge values that cancel each other would pass
    scale = torch.maximum(torch.maximum(scores.abs(), before.abs()), change.abs())
    for k, (task, attribution) in enumerate(zip(scorer.tasks, maps, strict=True)):
        total, size = attribution.flatten(1).sum(1), attribution.flatten(1).abs().sum(1)
        gap = (total - change[:, k]).abs()
        allowed = tolerance * torch.minimum(size, scale[:, k]) + rounding[:, k]
        bad = ~(
            gap <= allowed.nan_to_num(torch.inf)
        )  # a gap of NaN is bad, a tolerance of inf times zero is not
        if bad.any():
            worst = int(torch.where(bad, gap.nan_to_num(torch.inf), -1).argmax())
            raise ValueError(
                f"{method}: a map of task '{task}' adds up to {float(total[worst]):.4g}, but the score changes by "
                f"{float(change[worst, k]):.4g} from the baseline, with a tolerance of {tolerance:.2%}; its absolute "
                f"values add up to {float(size[worst]):.4g}: where that is far more, explain model.double() at "
                "inputs.double() or choose another baseline; tolerance=float('inf') gives the map all the same"
            )


@dataclass(frozen=True, kw_only=True)
class DeepLift:
    """The change of the score from a baseline, shared among the inputs by multipliers that replace the gradient.

    A function of single elements passes (change of output) / (change of input), the Rescale rule; max pooling gives
    the change to the place that wins; a product of two activations shares it evenly, and softmax, normalisation and
    attention are taken apart into these (`explain.methods.multipliers`). So the map adds up to score(x) -
    score(baseline) for any network of them, which is checked. Source: Shrikumar et al. 2017, equations 1 and 8 and
    section 3.5.1. Equal to Captum's ``DeepLift`` where that adds up: ReLU and pooling as modules, used once and not
    next to each other. Cost: two forwards, one backward a task.

    Args:
        baseline: a number; a tensor [*S] or [B, *S]; ``"zero"``, ``"mean"`` or ``"blur"``.
        tolerance: the largest gap |sum of the map - (score(x) - score(baseline))|, as a fraction of the sum of the
            map's absolute values, and of the largest of |score(x)|, |score(baseline)| and their difference.
    """

    baseline: Baseline = 0.0
    tolerance: float = 0.001

    def __post_init__(self) -> None:
        if not self.tolerance > 0:
            raise ValueError(f"deeplift: tolerance must be > 0, got {self.tolerance}")

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del first, seed
        baseline = expanded("deeplift", self.baseline, inputs, scorer)
        compared = _Compared.of("deeplift", scorer, inputs, 1)
        maps, change = compared.contributions(baseline)
        check_sums("deeplift", scorer, maps, change, compared.scores, self.tolerance)
        return maps


@dataclass(frozen=True, kw_only=True)
class DeepLiftShap:
    """The mean of DeepLIFT over a set of baselines: an approximation of SHAP values.

    Every example is compared with every baseline. The map adds up to score(x) - mean score(baseline), which is checked.
    Source: Lundberg and Lee 2017, section 4.2. Equal to Captum's ``DeepLiftShap`` where its ``DeepLift`` is right.
    Cost: N + 1 forwards, N backwards a task (an example alone takes several baselines in one pass).

    Args:
        baselines: [N, *S]; or a number, for one; for several inputs also a tuple or dict of [N, *S].
        tolerance: as for `DeepLift`.
    """

    baselines: BaselineSet = 0.0
    tolerance: float = 0.001

    def __post_init__(self) -> None:
        if not self.tolerance > 0:
            raise ValueError(f"deeplift_shap: tolerance must be > 0, got {self.tolerance}")

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del first, seed
        baselines = expanded_set("deeplift_shap", self.baselines, inputs, scorer)
        with torch.no_grad():
            scores = scorer(inputs)  # "predicted" means the prediction for one copy of the inputs
        maps = [torch.zeros_like(inputs) for _ in scorer.tasks]
        change = torch.zeros_like(scores)
        compared: _Compared | None = None
        for which in scorer.steps(stacked(len(baselines), inputs)):
            copies, size = len(which), [len(which), len(inputs)]
            if compared is None or len(compared.inputs) != copies * len(inputs):
                compared = _Compared.of("deeplift_shap", scorer, inputs, copies)
            found, changed = compared.contributions(
                baselines[which.start : which.stop].repeat_interleave(len(inputs), dim=0)
            )
            maps = [m + f.unflatten(0, size).sum(0) for m, f in zip(maps, found, strict=True)]
            change += changed.unflatten(0, size).sum(0)
        maps = [m / len(baselines) for m in maps]
        check_sums("deeplift_shap", scorer, maps, change / len(baselines), scores, self.tolerance)
        return maps
