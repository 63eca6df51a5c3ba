"""Task heads: from features [B, F] to one task's output [B, O]; on a pyramid also to [B, O, H, W]."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import nn

from mtl.dense.heads import DenseHead, Pooled
from mtl.dense.tasks import is_dense
from mtl.names import lookup
from mtl.tasks import Task

HeadFactory = Callable[[int, int], nn.Module]
OneHead = str | HeadFactory | nn.Module
Heads = OneHead | Mapping[str, OneHead]


def linear_head(features: int, outputs: int) -> nn.Module:
    """One linear layer.

    >>> linear_head(84, 10)
    Linear(in_features=84, out_features=10, bias=True)
    """
    return nn.Linear(features, outputs)


def mlp_head(
    features: int, outputs: int, *, hidden: Sequence[int] = (64,), dropout: float = 0.0
) -> nn.Module:
    """Hidden layers with ReLU (and dropout), then a linear layer. Other sizes: ``functools.partial``.

    >>> from functools import partial
    >>> partial(mlp_head, hidden=(32, 16))(84, 10)[-1]
    Linear(in_features=16, out_features=10, bias=True)
    """
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(features, width), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        features = width
    return nn.Sequential(*layers, nn.Linear(features, outputs))


def dense_head(channels: Sequence[int], outputs: int, *, width: int = 32) -> nn.Module:
    """The decoder of dense tasks on a pyramid; see `mtl.dense.heads.DenseHead`."""
    return DenseHead(channels, outputs, width)


HEADS: dict[str, HeadFactory] = {"linear": linear_head, "mlp": mlp_head}


def build_head(spec: OneHead, features: int, outputs: int) -> nn.Module:
    """A head from its name in `HEADS`, a factory ``(features, outputs) -> module``, or a module as it is."""
    if isinstance(spec, nn.Module):
        return spec
    if isinstance(spec, str):
        return lookup("head", spec, HEADS)(features, outputs)
    if not callable(spec):
        raise TypeError(f"a head must be a name, a factory or an nn.Module, got {type(spec).__name__}")
    return spec(features, outputs)


def head_of(task: Task, spec: OneHead, backbone: nn.Module, features: int) -> nn.Module:
    """The head of one task: on features [B, F], or on the maps of a pyramid (a backbone with ``channels``).

    There a dense task gets a `dense_head`, or what a factory ``(channels, outputs) -> module`` makes, and any other
    task the head that it would get elsewhere, on the pooled coarsest map. A module is taken as it is.

    Raises:
        ValueError: a dense task on a backbone without feature maps.
    """
    channels = getattr(backbone, "channels", None)
    if isinstance(spec, nn.Module) or (channels is None and not is_dense(task)):
        return build_head(spec, features, task.output_size)
    if channels is None:
        raise ValueError(
            f"task '{task.name}' is dense and needs feature maps, but {type(backbone).__name__} gives one vector an "
            "example; use a pyramid, e.g. mtl.backbone('pyramid/timm/resnet18')"
        )
    if not is_dense(task):
        return Pooled(build_head(spec, features, task.output_size), int(getattr(backbone, "pool", 1)))
    if isinstance(spec, str):
        lookup("head", spec, HEADS)  # "linear" and "mlp" are for the tasks beside it
        return dense_head(channels, task.output_size)
    return spec(channels, task.output_size)
