"""Example-based explanation: which training examples speak for or against what a task predicts (TracIn)."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.utils._pytree import tree_leaves, tree_map
from tqdm import tqdm

from explain.batching import micro_batches
from explain.guard import untouched
from explain.influence.checkpoints import Checkpoint, states
from explain.influence.losses import Labels, Loss, by_task, labelled, losses_of, predicted
from explain.names import unknown
from explain.outputs import named_outputs, unwrap

Batch = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
Targets = Any  # labels of a lone task, or {task: labels}; labels are a tensor, or a pair (tensor, bool mask)
LARGEST = 32  # examples a pass
NUMBERS = 2**25  # of per-example gradients held at a time on either side: 128 MiB in float32
COLUMNS = ["task", "source", "example", "kind", "rank", "train_example", "influence"]


def influential(
    model: nn.Module,
    train_inputs: Batch,
    train_targets: Targets,
    inputs: Batch,
    targets: Targets | None = None,
    *,
    checkpoints: Sequence[Checkpoint] | None = None,
    task: str | None = None,
    k: int = 5,
    losses: Loss | Mapping[str, Loss] | None = None,
    sources: str = "own",
    parameters: Sequence[str] | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """The training examples that lower ("for") and raise ("against") a task's loss on each input the most.

    The arguments are those of `influence_scores`, and ``k``, how many of each kind an input. Only positive influence
    speaks for a prediction and only negative against it, so that there may be fewer than ``k`` of a kind. Training
    examples without a label for the source are never listed.

    Returns:
        One row a training example listed: task (whose loss on the input), source (through whose label of the training
        example; the task itself unless ``sources="all"``), example, kind ("for", "against"), rank (1 is the strongest),
        train_example, influence.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> x, y = torch.tensor([[1.0], [2.0], [-1.0]]), torch.tensor([10.0, 20.0, 10.0])
    >>> influential(model, x, y, x[:1], y[:1])[["kind", "train_example"]].values.tolist()
    [['for', 1], ['for', 0], ['against', 2]]
    """
    if not isinstance(k, int) or k < 1:
        raise ValueError(f"k must be an integer >= 1, got {k!r}")
    scores = influence_scores(
        model,
        train_inputs,
        train_targets,
        inputs,
        targets,
        checkpoints=checkpoints,
        task=task,
        losses=losses,
        sources=sources,
        parameters=parameters,
        progress=progress,
    )
    found = []
    for key, matrix in scores.items():
        own, source = key if isinstance(key, tuple) else (key, key)
        for example, row in enumerate(matrix.double().cpu()):
            for kind, sign in (("for", 1.0), ("against", -1.0)):
                strength = (sign * row).nan_to_num(nan=-torch.inf)
                order = strength.argsort(descending=True, stable=True)[:k]
                found += [
                    (own, source, example, kind, rank, int(index), float(row[index]))
                    for rank, index in enumerate(order, start=1)
                    if strength[index] > 0
                ]
    return pd.DataFrame(found, columns=COLUMNS)


def influence_scores(
    model: nn.Module,
    train_inputs: Batch,
    train_targets: Targets,
    inputs: Batch,
    targets: Targets | None = None,
    *,
    checkpoints: Sequence[Checkpoint] | None = None,
    task: str | None = None,
    losses: Loss | Mapping[str, Loss] | None = None,
    sources: str = "own",
    parameters: Sequence[str] | None = None,
    progress: bool = False,
) -> dict[Any, Tensor]:
    """TracIn: over checkpoints, the learning rate x the inner product of two gradients: of a loss here and in training.

    To first order, what the loss of a task on an input fell by in the steps of gradient descent that took that training
    example. All tasks come from the same forward passes. The gradients are those of single examples: batch norm and
    dropout are in eval mode, with the statistics of the checkpoint. The model is never changed: weights of a checkpoint
    are put in for the call alone.

    Source: Pruthi et al. 2020, equation of TracInCP in section 3.2; ``parameters=`` of the last layer is their section
    3.4. Equal to Captum's ``TracInCP`` and ``TracInCPFast`` task by task. Cost: for each checkpoint, one forward and a
    backward a task for each training example and input; training examples are passed again for every 128 MiB of
    gradients of inputs.

    Args:
        model: as for `saliency`.
        train_inputs: N training examples: a tensor [N, *S], a tuple for ``model(*inputs)`` or a dict for
            ``model(**inputs)``; also token ids.
        train_targets: {task: labels} or the labels of a lone task: int classes [N, ...] with -1 where missing, or float
            values with NaN where missing, or a pair (labels, bool mask of those that are there). A training example
            whose label is missing has no influence on that task.
        inputs: M examples to explain.
        targets: their labels, alike; None, or a task left out: the class that the model predicts.
        checkpoints: what the training went through: each a state dict, a path (``.safetensors``, a folder that holds
            ``model.safetensors``, or what ``torch.load`` reads with ``weights_only=True``) or a function that gives a
            state dict; or a pair (one of these, learning rate). Learning rates are 1 where none is given. None: the
            model as it is.
        task: one task; None: all that ``train_targets`` names.
        losses: "cross_entropy" (int labels), "squared", "absolute" or "binary" (float labels, summed over the values of
            an example), or a callable ``(output, labels) -> [n]``; or {task: one of these}. None: cross entropy for int
            labels, squared error for float ones.
        sources: "own": the label of the same task. "all": every pair (task whose loss it is, task through whose label
            the training example acts); their sum over sources is the influence of a step on the plain sum of losses.
        parameters: names of parameters or modules whose gradients count; None: all that are trainable.
        progress: a bar on standard error.

    Returns:
        {task: [M, N]}, or {(task, source): [M, N]}: positive where the training example lowers the loss. NaN where one
        of the two has no label.

    Raises:
        ValueError: unknown names, labels out of range, checkpoints of another model, gradients that are not finite.
        TypeError: labels or checkpoints of another kind.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.ones_(model.weight)
    >>> x, y = torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, float("nan")])
    >>> here, target = torch.tensor([[2.0]]), torch.tensor([0.0])
    >>> influence_scores(model, x, y, here, target, losses="squared")["output"]   # (2 w x x) (2 w x' x')
    tensor([[16., nan]])
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    if sources not in ("own", "all"):
        raise unknown("sources", sources, ["own", "all"])
    model = unwrap(model)
    train_inputs, inputs = _checked("train_inputs", train_inputs), _checked("inputs", inputs)
    with untouched(model, tree_leaves(inputs)[0].device):
        train, here = _labels(model, train_inputs, train_targets, inputs, targets, losses, task)
        names = _trainable(model, parameters)
        total = _zeros(train, here, sources)
        sizes = sum(parameter.numel() for name, parameter in model.named_parameters() if name in names)
        step = max(1, min(LARGEST, NUMBERS // (sizes * len(train))))
        for number, (state, rate) in enumerate(states(model, checkpoints)):
            gradients = _PerExample(model, state, names, number)
            for mine in micro_batches(_count(inputs), step):
                left = gradients(inputs, here, mine)
                for theirs in _bar(micro_batches(_count(train_inputs), step), number, progress):
                    right = gradients(train_inputs, train, theirs)
                    for (own, source), matrix in total.items():
                        matrix[mine, theirs] += rate * _products(left[own], right[source]).to(matrix)
    for (own, source), matrix in total.items():
        matrix[~here[own].present] = torch.nan
        matrix[:, ~train[source].present] = torch.nan
    return {own if sources == "own" else (own, source): matrix for (own, source), matrix in total.items()}


def _labels(
    model: nn.Module,
    train_inputs: Any,
    train_targets: Targets,
    inputs: Any,
    targets: Targets | None,
    losses: Loss | Mapping[str, Loss] | None,
    task: str | None,
) -> tuple[dict[str, Labels], dict[str, Labels]]:
    """The labels of the training examples and of the inputs, by task in the model's order."""
    given = by_task(train_targets)
    own = {} if targets is None else by_task(targets)
    pieces: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for rows in micro_batches(_count(inputs), LARGEST):
            for name, output in _outputs(model, "inputs", _rows(inputs, rows)).items():
                pieces.setdefault(name, []).append(output)
        _outputs(model, "train_inputs", _rows(train_inputs, slice(0, 1)))
    outputs = {name: torch.cat(found) for name, found in pieces.items()}
    for name in own:
        if name not in given:
            raise unknown("task of train_targets", name, given)
    if task is not None:
        if task not in given:
            raise unknown("task of train_targets", task, given)
        given = {task: given[task]}
    kinds = losses_of(losses, given, outputs)
    train, here = {}, {}
    for name, output in outputs.items():
        if name in given:
            train[name] = labelled(name, given[name], kinds[name], output, _count(train_inputs))
            labels = own[name] if name in own else predicted(name, kinds[name], output)
            here[name] = labelled(name, labels, kinds[name], output, _count(inputs))
    return train, here


def _zeros(
    train: Mapping[str, Labels], here: Mapping[str, Labels], sources: str
) -> dict[tuple[str, str], Tensor]:
    pairs = [(own, source) for own in here for source in train if sources == "all" or own == source]
    total = {}
    for own, source in pairs:
        there = here[own].present
        dtype = torch.promote_types(here[own].dtype, torch.float32)
        total[own, source] = torch.zeros(
            len(there), len(train[source].present), device=there.device, dtype=dtype
        )
    return total


class _PerExample:
    """The gradients of each example's losses at one checkpoint: {task: [n, *p] for each parameter}."""

    def __init__(
        self, model: nn.Module, state: Mapping[str, Tensor], names: Sequence[str], number: int
    ) -> None:
        self.model, self.number = model, number
        self.parameters = {name: state[name] for name in names}
        self.rest = {name: tensor for name, tensor in state.items() if name not in self.parameters}
        self.together: bool | None = None  # whether the model runs under vmap; not known yet

    def __call__(self, inputs: Any, labels: Mapping[str, Labels], rows: slice) -> dict[str, list[Tensor]]:
        batch = (
            _rows(inputs, rows),
            {task: (own.values[rows], own.there[rows]) for task, own in labels.items()},
        )

        def losses(parameters: dict[str, Tensor], example: Any, targets: Any) -> Tensor:
            one = tree_map(lambda tensor: tensor[None], example)
            outputs = named_outputs(_call(self.model, one, parameters | self.rest))
            return torch.stack([labels[task].of_one(outputs[task], *targets[task]) for task in labels])

        found = self._jacobians(losses, batch)
        for k, task in enumerate(labels):
            if not all(torch.isfinite(values[:, k]).all() for values in found.values()):
                raise ValueError(
                    f"checkpoint {self.number}: the gradients of task '{task}' hold NaN or infinite values; "
                    "are the weights and the losses finite?"
                )
        return {task: [values[:, k] for values in found.values()] for k, task in enumerate(labels)}

    def _jacobians(self, losses: Callable[..., Tensor], batch: Any) -> dict[str, Tensor]:
        """{parameter: [n, K, *p]}; example by example where the model has operations that vmap does not know."""
        if self.together is not False:
            try:
                with warnings.catch_warnings():  # of a slow batching rule, which is right all the same
                    warnings.filterwarnings("ignore", "There is a performance drop")
                    found = vmap(jacrev(losses), in_dims=(None, 0, 0))(self.parameters, *batch)
                self.together = True
                return found
            except RuntimeError:
                if self.together:
                    raise
                self.together = False
        singles = []
        for row in range(len(tree_leaves(batch)[0])):
            leaves = {name: value.clone().requires_grad_() for name, value in self.parameters.items()}
            column = losses(leaves, *tree_map(lambda tensor, row=row: tensor[row], batch))
            singles.append([_gradient(loss, list(leaves.values())) for loss in column])
        names = list(self.parameters)
        return {
            name: torch.stack([torch.stack([of_task[i] for of_task in single]) for single in singles])
            for i, name in enumerate(names)
        }


def _gradient(loss: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    if not loss.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    found = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, leaves, strict=True)]


def _products(left: list[Tensor], right: list[Tensor]) -> Tensor:
    """The inner products [m, n] of gradients, over all parameters."""
    terms = []
    for a, b in zip(left, right, strict=True):
        dtype = torch.promote_types(a.dtype, torch.float32)
        terms.append(a.flatten(1).to(dtype) @ b.flatten(1).to(dtype).T)
    return torch.stack(terms).sum(0)


def _trainable(model: nn.Module, parameters: Sequence[str] | None) -> list[str]:
    """The names of the parameters whose gradients count."""
    free = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not free:
        raise ValueError("no parameter of the model requires a gradient, so no training example moved it")
    if parameters is None:
        return free
    if isinstance(parameters, str):
        parameters = [parameters]
    for asked in parameters:
        if not any(name == asked or name.startswith(f"{asked}.") for name in free):
            raise unknown("trainable parameter or module", asked, free)
    return [name for name in free if any(name == a or name.startswith(f"{a}.") for a in parameters)]


def _outputs(model: nn.Module, name: str, batch: Any) -> dict[str, Tensor]:
    try:
        outputs = named_outputs(_call(model, batch))
    except RuntimeError as error:
        shapes = [list(part.shape) for part in tree_leaves(batch)]
        raise ValueError(f"the model cannot take {name} {shapes}: {str(error).splitlines()[0]}") from error
    for task, output in outputs.items():
        if output.dim() == 0 or len(output) != _count(batch):
            raise ValueError(
                f"task '{task}' gives {list(output.shape)} for {_count(batch)} examples; expected [B, ...]"
            )
    return outputs


def _call(model: nn.Module, batch: Any, state: Mapping[str, Tensor] | None = None) -> Any:
    args, kwargs = (
        ((), batch) if isinstance(batch, dict) else (batch if isinstance(batch, tuple) else (batch,), {})
    )
    if state is not None:
        return functional_call(model, dict(state), args, kwargs)
    return model(*args, **kwargs)


def _checked(name: str, batch: Any) -> Any:
    """A tensor, tuple or dict of tensors with the same number of examples."""
    if isinstance(batch, Mapping):
        batch = dict(batch)
    elif isinstance(batch, list | tuple):
        batch = tuple(batch)
    parts = (
        list(batch.values()) if isinstance(batch, dict) else batch if isinstance(batch, tuple) else (batch,)
    )
    if not parts or not all(isinstance(part, Tensor) and part.dim() for part in parts):
        got = [type(part).__name__ for part in parts]
        raise TypeError(f"{name} must be a tensor [N, ...], or a tuple or dict of tensors, got {got}")
    if len({len(part) for part in parts}) != 1 or not len(parts[0]):
        raise ValueError(
            f"{name} must hold the same number of examples, at least one, got {[len(p) for p in parts]}"
        )
    return tree_map(lambda tensor: tensor.detach(), batch)


def _count(batch: Any) -> int:
    return len(tree_leaves(batch)[0])


def _rows(batch: Any, rows: slice) -> Any:
    return tree_map(lambda tensor: tensor[rows].clone(), batch)


def _bar(blocks: Iterator[slice], number: int, progress: bool) -> Iterable[slice]:
    if not progress:
        return blocks
    return tqdm(list(blocks), desc=f"checkpoint {number}", unit="batch", file=sys.stderr, leave=False)
