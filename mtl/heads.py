"""Task heads: from features [B, F] to one task's output [B, O]."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import nn

from mtl.names import lookup

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
