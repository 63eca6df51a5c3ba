"""The multi-task model: one shared backbone, one head a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from mtl.balancing.fork import fork
from mtl.dense.pyramid import Pyramid
from mtl.distributed.losses import Losses
from mtl.distributed.ranks import ranks
from mtl.heads import Heads, OneHead, head_of
from mtl.names import unknown
from mtl.tasks import Task


class MultiTaskModel(nn.Module):
    """Hard parameter sharing (Caruana 1997): features = backbone(inputs) [B, F], outputs[t] = heads[t](features).

    Args:
        backbone: any module that gives [B, F], or, for dense tasks, a `mtl.Pyramid` of feature maps, whose
            ``channels`` it tells; `mtl.backbone` builds one by name.
        tasks: the tasks, in the order used for the run; names must differ.
        heads: ``"linear"``, ``"mlp"``, a factory ``(features, outputs) -> module``, or {task name: any of these
            or a module}; a task that the mapping leaves out gets a linear head. On a pyramid, dense tasks get
            `mtl.dense_head` in place of a linear one or an mlp; a factory gets the channels as features, and a module
            the `mtl.Pyramid`.
        features: F, where the backbone does not tell it by ``out_features`` or ``num_features``.

    Attributes:
        heads: ``nn.ModuleList``, one head a task, in task order.

    Raises:
        ValueError: no task, two tasks of one name, a head for an unknown task, unknown F, or a dense task on a backbone
            without feature maps.

    >>> import mtl, torch
    >>> tasks = [mtl.Classification("left", classes=10), mtl.Regression("area")]
    >>> model = mtl.MultiTaskModel(mtl.backbone("mlp", in_features=8), tasks)
    >>> {name: tuple(output.shape) for name, output in model(torch.zeros(5, 8)).items()}
    {'left': (5, 10), 'area': (5, 1)}
    """

    def __init__(
        self,
        backbone: nn.Module,
        tasks: Sequence[Task],
        heads: Heads = "linear",
        *,
        features: int | None = None,
    ) -> None:
        super().__init__()
        names = [task.name for task in tasks]
        if not names:
            raise ValueError("MultiTaskModel needs at least one task")
        if len(set(names)) != len(names):
            raise ValueError(f"task names must differ, got {names}")
        if isinstance(heads, nn.Module) and len(names) > 1:
            raise ValueError("one head module cannot serve several tasks; give {task name: module}")
        self.tasks = tuple(tasks)
        self.backbone = backbone
        self.features = _feature_count(backbone) if features is None else features
        self.heads = nn.ModuleList(
            head_of(task, _head_of(task.name, names, heads), backbone, self.features) for task in self.tasks
        )

    def forward(self, *inputs: Tensor, **named: Tensor) -> dict[str, Tensor]:
        """inputs [B, *S] -> {task name: output [B, O], dense [B, O, H, W]} in task order.

        Several inputs go on to the backbone.
        """
        features = self.backbone(*inputs, **named)  # [B, F], or a pyramid's maps
        maps = isinstance(features, Pyramid)
        if not maps and (features.dim() != 2 or features.shape[1] != self.features):
            raise ValueError(
                f"the backbone must give [B, {self.features}], got {list(features.shape)} for inputs "
                f"{_shapes(inputs, named)}; pool and flatten inside it, or pass features="
            )
        own = fork(features, len(self.tasks))  # an alias for each head: balancing then passes the heads once
        return {task.name: head(z) for task, head, z in zip(self.tasks, self.heads, own, strict=True)}

    def losses(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Losses:
        """The mean loss of each task over the labels that are there: {task name: scalar}, in task order.

        A task without a label in this batch (all missing, or absent from ``targets``) is left out. `Losses` is a dict
        that also knows how many labels there are, and, among several processes, keeps the graphs of tasks left out.

        Raises:
            ValueError: targets for an unknown task, of a wrong shape or range, or not one label for any task.
        """
        names = [task.name for task in self.tasks]
        for name in targets:
            if name not in names:
                raise unknown("task", name, names)
        losses, counts, absent, together = {}, {}, {}, ranks()
        for task in self.tasks:
            if task.name in targets:
                total, count = task.loss_sum(outputs[task.name], targets[task.name])
                if count:
                    losses[task.name], counts[task.name] = total / count, count
            if together is not None and task.name not in losses:
                absent[task.name] = outputs[task.name][:0].sum()
        if not losses and together is None:
            raise ValueError(f"this batch has no label for any task of {names}")
        return Losses(losses, counts, absent)

    def shared_parameters(self) -> list[nn.Parameter]:
        """The backbone's trainable parameters, in the backbone's order."""
        return [p for p in self.backbone.parameters() if p.requires_grad]

    def head_parameters(self, task: str) -> list[nn.Parameter]:
        """The trainable parameters of one task's head."""
        names = [t.name for t in self.tasks]
        if task not in names:
            raise unknown("task", task, names)
        return [p for p in self.heads[names.index(task)].parameters() if p.requires_grad]


def _shapes(inputs: Sequence[Tensor], named: Mapping[str, Tensor]) -> str:
    return ", ".join(
        [*(f"{list(x.shape)}" for x in inputs), *(f"{k} {list(x.shape)}" for k, x in named.items())]
    )


def _feature_count(backbone: nn.Module) -> int:
    for attribute in ("out_features", "num_features"):
        count = getattr(backbone, attribute, None)
        if isinstance(count, int):
            return count
    raise ValueError(
        f"{type(backbone).__name__} has no out_features; say how many features it gives: "
        "MultiTaskModel(backbone, tasks, features=...)"
    )


def _head_of(name: str, names: list[str], heads: Heads) -> OneHead:
    if not isinstance(heads, Mapping):
        return heads
    for key in heads:
        if key not in names:
            raise unknown("task", key, names)
    return heads.get(name, "linear")
